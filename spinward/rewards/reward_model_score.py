"""A reward model's score of each completion, at its last token (Ziegler et al., 2019,
arXiv:1909.08593, section 2.1; Stiennon et al., 2020, arXiv:2009.01325)."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import (
    ROLLOUT,
    Context,
    Key,
    Metrics,
    Reader,
    Spec,
    Transition,
    config,
    replace,
    struct,
)
from spinward.errors import DamagedFileError, SettingsError
from spinward.networks.language_policy import scores


@struct
class Scale:
    """What scores were like when the policy began."""

    texts: Array  # of which it was found
    mean: Array
    deviation: Array


@config
class Judge:
    """Scores that had mean 0 and deviation 1 on the first completions of the policy, so that one
    price of a nat means the same for every reward model."""

    run: str = ""  # the run of a reward model
    unfinished: float = -1.0  # for a completion that ran out of room, in place of its score
    texts: int = 256  # completions to find the scale with, before any is learned from
    model: Any = None  # what was learned in `run`

    def opened(self, reader: Reader) -> "Judge":
        """With its model read.

        Raises:
            SettingsError: there is no run, or what it trained has no score.
            DamagedFileError: the model's parameters are not finite, as its scores would not be.
        """
        if not self.run:
            raise SettingsError("run='': name the run of a reward model with --reward-model")
        model = reader.trained(self.run)
        if model.head is None:
            raise SettingsError(f"run={self.run!r} trained a policy; expected a reward model")
        if not all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(model)):
            raise DamagedFileError(f"{self.run}: parameters of the reward model are not finite")
        return replace(self, model=model)

    def init(self, key: Key, spec: Spec) -> Scale:
        return Scale(jnp.float32(0.0), jnp.float32(0.0), jnp.float32(0.0))

    def label(
        self, state: Scale, batch: Transition, key: Key, context: Context = ROLLOUT
    ) -> tuple[Scale, Transition, Metrics]:
        found = jax.lax.stop_gradient(scores(self.model, batch))
        state = self.scale(state, found)
        score = (found - state.mean) / jnp.maximum(state.deviation, 1e-6)
        score = jnp.where(batch.terminated.any(0), score, self.unfinished)
        reward = jnp.where(batch.done, score, 0.0)
        return state, replace(batch, reward=reward), {"judged": score.mean()}

    def scale(self, state: Scale, found: Array) -> Scale:
        """With so many more scores [env], until there are enough (Chan et al., 1979)."""
        count, size = state.texts, found.size
        total = count + size
        change = found.mean() - state.mean
        squares = state.deviation**2 * count + found.var() * size + change**2 * count * size / total
        more = Scale(total, state.mean + change * size / total, jnp.sqrt(squares / total))
        return jax.tree.map(lambda a, b: jnp.where(count < self.texts, a, b), more, state)
