"""The chain on which value expansion with a poor model diverges (Buckman et al., 2018,
arXiv:1807.01675, section 4.1): tabular values of 101 states in a row, whose true values are their
numbers."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Key
from spinward.targets.expansion import candidates, uncertainty_weights

STATES, MEMBERS, HORIZON = 101, 8, 5  # of the chain; of critics and of models; imagined steps
END = STATES
JUMPS = 0.1  # share of the noisy model's steps that lead anywhere
UPDATES = 3_000
WEIGHTS: dict[str, Callable[[Array], Array]] = {
    "q": lambda variance: jnp.eye(HORIZON + 1)[0],
    "mve": lambda variance: jnp.eye(HORIZON + 1)[-1],
    "steve": uncertainty_weights,
}


def exact(key: Key, state: Array) -> tuple[Array, Array]:
    """The next state and the reward: -1 for each step to the right, and 100 for the last one."""
    after = jnp.minimum(state + 1, END)
    return after, jnp.where(state == END, 0.0, jnp.where(after == END, 100.0, -1.0))


def noisy(key: Key, state: Array) -> tuple[Array, Array]:
    """The same, but every tenth step leads to any state."""
    k_jump, k_where = jax.random.split(key)
    after, reward = exact(key, state)
    jump = (jax.random.uniform(k_jump, state.shape) < JUMPS) & (state != END)
    return jnp.where(jump, jax.random.randint(k_where, state.shape, 0, STATES), after), reward


MODELS = {"exact": exact, "noisy": noisy}


def errors(key: Key, model: str, blend: str) -> Array:
    """The mean square error [updates] of the critics' mean, after each update of all of them."""

    def step(q: Array, key: Key) -> tuple[Array, Array]:
        keys = jax.random.split(key, MEMBERS)
        one = partial(with_one_more, MODELS[model], WEIGHTS[blend])
        q, _ = jax.lax.scan(one, q, (jnp.arange(MEMBERS), keys))
        return q, jnp.square(q.mean(0)[:-1] - jnp.arange(STATES)).mean()

    k_init, k_run = jax.random.split(key)
    q = jax.random.randint(k_init, (MEMBERS, STATES + 1), 0, STATES).astype(jnp.float32)
    return jax.lax.scan(step, q.at[:, END].set(0.0), jax.random.split(k_run, UPDATES))[1]


def with_one_more(
    model: Callable[[Key, Array], tuple[Array, Array]],
    weigh: Callable[[Array], Array],
    q: Array,
    x: tuple[Array, Key],
) -> tuple[Array, None]:
    """The values after one critic's value of a random state became its target."""
    member, key = x
    k_state, k_steps = jax.random.split(key)
    state = jax.random.randint(k_state, (), 0, STATES)
    after, reward = exact(key, state)
    start = jnp.full(MEMBERS, after)

    def imagine(states: Array, key: Key) -> tuple[Array, tuple[Array, Array]]:
        later, reward = model(key, states)
        return later, (later, reward)

    _, (states, rewards) = jax.lax.scan(imagine, start, jax.random.split(k_steps, HORIZON))
    states = jnp.concatenate([start[None], states])
    rewards = jnp.concatenate([jnp.full((1, MEMBERS), reward), rewards])[..., None]
    targets = candidates(rewards, jnp.ones_like(rewards), q[:, states].transpose(1, 2, 0))
    means, variance = targets.mean((1, 2)), targets.var((1, 2))
    return q.at[member, state].set((weigh(variance) * means).sum()), None
