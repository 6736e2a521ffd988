"""Frame stacks: an agent sees the newest observations side by side, in the last axis."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import MASK, Box, Dict, Env, Key, Obs, Renders, Spec, config, replace, struct
from spinward.envs.action_names import names_of
from spinward.errors import SettingsError


@struct
class State:
    env: Any
    obs: Obs  # the stacks


@config
class Stacked:
    """An environment in JAX whose observations are the newest `stack` ones, the oldest first. The
    first of an episode stands for those before it. Masks are not stacked."""

    env: Any  # an Env
    stack: int  # newest observations that an agent sees

    @property
    def spec(self) -> Spec:
        spec: Spec = self.env.spec
        if isinstance(spec.obs, Dict):
            items = ((n, box if n == MASK else wider(box, self.stack)) for n, box in spec.obs.items)
            return replace(spec, obs=Dict(tuple(items)))
        return replace(spec, obs=wider(spec.obs, self.stack))

    @property
    def action_names(self) -> tuple[str, ...]:
        return names_of(self.env)

    def reset(self, key: Key) -> tuple[State, Obs]:
        state, obs = self.env.reset(key)
        obs = self.each(lambda x: jnp.concatenate([x] * self.stack, -1), obs)
        return State(state, obs), obs

    def step(self, state: State, action: Array, key: Key) -> tuple[State, Obs, Array, Array, Array]:
        after, obs, *rest = self.env.step(state.env, action, key)
        obs = self.each(
            lambda x, old: jnp.concatenate([old[..., x.shape[-1] :], x], -1), obs, state.obs
        )
        return State(after, obs), obs, *rest  # type: ignore[return-value]

    def each(self, change: Any, obs: Obs, *others: Obs) -> Obs:
        """`change` of each part of observations, with a number as a vector of one."""
        if not isinstance(obs, dict):
            return change(jnp.atleast_1d(obs), *others)
        parts = {n: (x, *(other[n] for other in others)) for n, x in obs.items()}
        return {
            name: x[0] if name == MASK else change(jnp.atleast_1d(x[0]), *x[1:])
            for name, x in parts.items()
        }

    def render(self, state: State) -> np.ndarray:
        if not isinstance(self.env, Renders):
            raise SettingsError(f"{type(self.env).__name__} has no method render(state)")
        return self.env.render(state.env)


def wider(box: Box, stack: int) -> Box:
    """The box of a stack of values."""
    one = box.shape or (1,)
    low, high = (
        tuple(np.concatenate([np.reshape(x, one)] * stack, -1).reshape(-1).tolist())
        if isinstance(x, tuple)
        else x
        for x in (box.low, box.high)
    )
    return Box((*one[:-1], one[-1] * stack), low, high, box.dtype)


def wrapped(name: str, env: Any, stack: Any) -> Any:
    """`env` with its newest `stack` observations side by side.

    Raises:
        SettingsError: it has no such setting, or `stack` is no number of observations.
    """
    if type(stack) is not int or stack < 1:
        raise SettingsError(f"stack={stack!r} must be a whole number, at least 1")
    if dataclasses.is_dataclass(env) and "stack" in {f.name for f in dataclasses.fields(env)}:
        return dataclasses.replace(env, stack=stack)  # type: ignore[type-var]
    if stack == 1:
        return env
    if not isinstance(env, Env) or env.spec.players > 1:
        raise SettingsError(f"{name} has no setting 'stack'")
    return Stacked(env, stack)
