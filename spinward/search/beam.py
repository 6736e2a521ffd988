"""Beam search for plans with a high return (Janner et al., 2021, arXiv:2106.02039, section 3.2)."""

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Key


class PlanningModel(Protocol):
    """A model that plans are tried in. States have a leading axis of plans."""

    def select(self, state: Any, index: Array) -> Any: ...  # the states with these numbers
    def act(self, state: Any, key: Key) -> tuple[Any, Array, Array, Array]:
        """The states after an action, the actions, their rewards, and the returns after them."""
        ...

    def observe(self, state: Any, key: Key) -> Any: ...  # the states with what is seen next


class Plans(NamedTuple):
    """The plans that are left, the best first."""

    actions: Array  # [plans, horizon, ...]
    score: Array  # [plans] its estimated return; -inf where it repeats another
    rewards: Array  # [plans] the discounted sum of its rewards alone


def search(
    model: PlanningModel,
    state: Any,
    key: Key,
    width: int,
    expand: int,
    horizon: int,
    gamma: float | Array,
) -> Plans:
    """Plans of `horizon` actions from one state [1, ...]. In each step every plan is continued in
    `expand` ways, and the `width` best are kept by their discounted rewards so far and the value
    after them: sum_(j <= h) gamma^j r_j + gamma^(h + 1) V_h. Of plans with the same actions, one
    counts."""

    def grown(state: Any, plans: Plans, copies: int, at: Array, key: Key) -> tuple[Any, Plans]:
        """The best plans that continue those in `plans` by an action at the time `at`."""
        index = jnp.repeat(jnp.arange(len(plans.score)), copies)
        state, action, reward, value = model.act(model.select(state, index), key)
        discount = jnp.float32(gamma) ** at
        total = plans.rewards[index] + discount * reward
        actions = plans.actions[index].at[:, at].set(action)
        score = jnp.where(repeated(actions), -jnp.inf, total + discount * gamma * value)
        score, kept = jax.lax.top_k(score, width)
        return model.select(state, kept), Plans(actions[kept], score, total[kept])

    def step(carry: tuple[Any, Plans], x: tuple[Array, Key]) -> tuple[tuple[Any, Plans], None]:
        at, key = x
        k_observe, k_act = jax.random.split(key)
        state, plans = carry
        return grown(model.observe(state, k_observe), plans, expand, at, k_act), None

    keys = jax.random.split(key, horizon)
    shape = jax.eval_shape(model.act, state, key)[1]
    empty = jnp.zeros((1, horizon, *shape.shape[1:]), shape.dtype)
    start = Plans(empty, jnp.zeros(1), jnp.zeros(1))
    carry = grown(state, start, width * expand, jnp.int32(0), keys[0])
    return jax.lax.scan(step, carry, (jnp.arange(1, horizon), keys[1:]))[0][1]


def repeated(actions: Array) -> Array:
    """Whether each of `actions` [plans, ...] is equal to an earlier one."""
    flat = actions.reshape(len(actions), -1)
    equal = (flat[:, None] == flat).all(-1)
    return jnp.tril(equal, -1).any(-1)


def likeliest(logits: Array, share: float | Array) -> Array:
    """Logits [..., tokens] without the least likely tokens, which together have less than `share`
    of the probability; the likeliest token always stays."""
    probability = jax.nn.softmax(logits)
    ascending = jnp.sort(probability, -1)
    below = jnp.cumsum(ascending, -1) < share
    cutoff = jnp.where(below, ascending, -1.0).max(-1, keepdims=True)
    kept = (probability > cutoff) | (probability == probability.max(-1, keepdims=True))
    return jnp.where(kept, logits, -jnp.inf)
