"""Plans in a language model of trajectories: the model that beam search tries actions in (Janner et
al., 2021, arXiv:2106.02039, section 3.2)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Key
from spinward.networks.decoder import Cache
from spinward.networks.discretiser import Discretiser
from spinward.networks.trajectory_model import TrajectoryModel, selected
from spinward.search.beam import likeliest

State = tuple[Array, Cache]  # the hidden state [plans, width] after the last token, and the cache


class TokenPlans(NamedTuple):
    """Actions are sampled, observations are the likeliest, and rewards and values are expectations.
    Only tokens that the data have are generated."""

    model: TrajectoryModel
    discretiser: Discretiser
    cut_share: float | Array  # of the probability of an action's token: the least likely are cut

    def select(self, state: State, index: Array) -> State:
        hidden, cache = state
        return hidden[index], selected(cache, index)

    def act(self, state: State, key: Key) -> tuple[State, Array, Array, Array]:
        first, last = self.model.observed, self.model.entries - 2

        def sample(logits: Array, key: Key) -> Array:
            return jax.random.categorical(key, likeliest(logits, self.cut_share))

        state, action = self.generated(state, first, last, key, sample)
        state, reward = self.expected(state, last)
        state, value = self.expected(state, last + 1)
        return state, action, reward, value

    def observe(self, state: State, key: Key) -> State:
        def greedy(logits: Array, key: Key) -> Array:
            return logits.argmax(-1)

        return self.generated(state, 0, self.model.observed, key, greedy)[0]

    def generated(
        self, state: State, first: int, last: int, key: Key, choose: Any
    ) -> tuple[State, Array]:
        """The state after the tokens of the entries from `first` to before `last`, and the tokens
        [plans, entries]."""

        def one(state: State, x: tuple[Array, Key]) -> tuple[State, Array]:
            entry, key = x
            token = choose(self.logits(state, entry), key)
            return self.extended(state, token, entry), token

        entries = jnp.arange(first, last)
        state, tokens = jax.lax.scan(one, state, (entries, jax.random.split(key, last - first)))
        return state, tokens.T.astype(jnp.int32)

    def expected(self, state: State, entry: int) -> tuple[State, Array]:
        """The state after the likeliest token of an entry, and the mean [plans] of its value."""
        logits = self.logits(state, entry)
        mean = jax.nn.softmax(logits) @ self.discretiser.middles()[entry]
        return self.extended(state, logits.argmax(-1), entry), mean

    def logits(self, state: State, entry: Any) -> Array:
        logits = self.model.next_logits(state[0], entry)
        return jnp.where(self.discretiser.used[entry], logits, -jnp.inf)

    def extended(self, state: State, token: Array, entry: Any) -> State:
        tokens = token[:, None].astype(jnp.int32)
        return self.model.extend(tokens, jnp.ones_like(tokens, bool), entry, state[1])
