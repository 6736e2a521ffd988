"""Probe environments: each fails for one kind of mistake in an agent, and all are tiny.

An agent that fails the first of them in the order of this file has the fault that it probes:
the value loss, backpropagation, the discount, the policy, or the policy's use of what it sees.
"""

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Box, Discrete, Key, Spec, config, struct

NAMES = {
    "Probe-Value": "ProbeValue",
    "Probe-Backprop": "ProbeBackprop",
    "Probe-Discount": "ProbeDiscount",
    "Probe-Action": "ProbeAction",
    "Probe-Both": "ProbeBoth",
    "Probe-ActionContinuous": "ProbeActionContinuous",
    "Probe-Truncated": "ProbeTruncated",
    "Probe-BothContinuous": "ProbeBothContinuous",
}

OBS = Box((1,), -1.0, 1.0)
PUSH = Box((1,), -1.0, 1.0)
Result = tuple["State", Array, Array, Array, Array]


@struct
class State:
    obs: Array  # [1]
    time: Array  # steps since the reset


def initial(obs: Array) -> tuple[State, Array]:
    return State(obs, jnp.int32(0)), obs


def end(state: State, reward: Array) -> Result:
    """The only step of an episode that ends with it."""
    time = state.time + 1
    return State(state.obs, time), state.obs, reward, jnp.bool_(True), jnp.bool_(False)


def nothing() -> Array:
    return jnp.zeros(1, jnp.float32)


def coin(key: Key) -> Array:
    return jax.random.rademacher(key, (1,), jnp.float32)


@config
class ProbeValue:
    """Reward 1, always: is the value 1? If not, the value loss is wrong."""

    @property
    def spec(self) -> Spec:
        return Spec(OBS, Discrete(1))

    def reset(self, key: Key) -> tuple[State, Array]:
        return initial(nothing())

    def step(self, state: State, action: Array, key: Key) -> Result:
        return end(state, jnp.float32(1.0))


@config
class ProbeBackprop:
    """The reward is what is seen: is the value too? If not, gradients do not reach the input."""

    @property
    def spec(self) -> Spec:
        return Spec(OBS, Discrete(1))

    def reset(self, key: Key) -> tuple[State, Array]:
        return initial(coin(key))

    def step(self, state: State, action: Array, key: Key) -> Result:
        return end(state, state.obs[0])


@config
class ProbeDiscount:
    """Sees 0, then 1, then earns 1: is the value of 0 gamma, and that of 1 one?"""

    @property
    def spec(self) -> Spec:
        return Spec(OBS, Discrete(1))

    def reset(self, key: Key) -> tuple[State, Array]:
        return initial(nothing())

    def step(self, state: State, action: Array, key: Key) -> Result:
        time = state.time + 1
        last = time >= 2
        obs = jnp.ones(1, jnp.float32)
        return State(obs, time), obs, last.astype(jnp.float32), last, jnp.bool_(False)


@config
class ProbeAction:
    """Action 1 earns 1 and action 0 loses 1: does the policy learn to choose?"""

    @property
    def spec(self) -> Spec:
        return Spec(OBS, Discrete(2))

    def reset(self, key: Key) -> tuple[State, Array]:
        return initial(nothing())

    def step(self, state: State, action: Array, key: Key) -> Result:
        return end(state, jnp.where(action == 1, 1.0, -1.0))


@config
class ProbeBoth:
    """Earns 1 by action 1 at a positive sight and 0 at a negative: do policy and value look?"""

    @property
    def spec(self) -> Spec:
        return Spec(OBS, Discrete(2))

    def reset(self, key: Key) -> tuple[State, Array]:
        return initial(coin(key))

    def step(self, state: State, action: Array, key: Key) -> Result:
        return end(state, jnp.where((action == 1) == (state.obs[0] > 0), 1.0, -1.0))


@config
class ProbeActionContinuous:
    """`ProbeAction` for pushes: the best one is 0.5, and earns 0."""

    @property
    def spec(self) -> Spec:
        return Spec(OBS, PUSH)

    def reset(self, key: Key) -> tuple[State, Array]:
        return initial(nothing())

    def step(self, state: State, action: Array, key: Key) -> Result:
        return end(state, -((action[0] - 0.5) ** 2))


@config
class ProbeBothContinuous:
    """`ProbeBoth` for pushes: the best one is half of what is seen, and earns 0."""

    @property
    def spec(self) -> Spec:
        return Spec(OBS, PUSH)

    def reset(self, key: Key) -> tuple[State, Array]:
        return initial(coin(key))

    def step(self, state: State, action: Array, key: Key) -> Result:
        return end(state, -((action[0] - 0.5 * state.obs[0]) ** 2))


@config
class ProbeTruncated:
    """Reward 1 for ever, cut off after `limit` steps, which nobody sees coming: is the value
    1 / (1 - gamma)? That is 10.0 for 0.9. If it is less, a truncation was taken for the end."""

    limit: int = 10  # steps after which an episode is truncated

    @property
    def spec(self) -> Spec:
        return Spec(OBS, Discrete(1))

    def reset(self, key: Key) -> tuple[State, Array]:
        return initial(nothing())

    def step(self, state: State, action: Array, key: Key) -> Result:
        time = state.time + 1
        state = State(state.obs, time)
        return state, state.obs, jnp.float32(1.0), jnp.bool_(False), time >= self.limit
