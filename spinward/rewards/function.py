"""A reward that is a function of one step, written by the user in JAX."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import (
    ROLLOUT,
    Box,
    Context,
    Key,
    Metrics,
    Spec,
    Transition,
    config,
    replace,
)
from spinward.errors import SettingsError

PARAMETERS = ("obs", "action", "next_obs", "reward", "terminated", "truncated")


@config
class Function:
    """`function(obs, action, next_obs)` of one step returns a number. It takes any of `obs`,
    `action`, `next_obs`, `reward`, `terminated` and `truncated`, by these names."""

    function: Callable[..., Any] | None = None  # of one step; actions in the environment's units

    def check(self, spec: Spec) -> None:
        """Calls the function with one step of an environment.

        Raises:
            SettingsError: there is none, it fails, or it returns no number.
        """
        if self.function is None:
            raise SettingsError("this reward needs a function: reward=my_function")
        name = named(self.function)
        if not self.takes_a_step:
            raise SettingsError(
                f"reward {name} takes {', '.join(parameters(self.function))}; expected "
                f"parameters among {', '.join(PARAMETERS)}"
            )
        obs = jax.tree.map(lambda x: x[0], spec.zeros(1))
        dtype = jnp.float32 if isinstance(spec.action, Box) else jnp.int32
        action = jnp.zeros(spec.action.shape, dtype)
        step = {"obs": obs, "next_obs": obs, "action": action, "reward": jnp.float32(0.0)}
        step |= {"terminated": jnp.bool_(False), "truncated": jnp.bool_(False)}
        try:
            result = jax.eval_shape(lambda **one: jnp.float32(self.of(one)), **step)
        except Exception as error:
            line = (str(error).strip().splitlines() or [""])[0]
            raise SettingsError(
                f"reward {name} failed on one step: {type(error).__name__}: {line:.200}; it is "
                "compiled, so it is written in jax.numpy, without `if` on what it is given"
            ) from error
        if result.shape:
            raise SettingsError(
                f"reward {name} returned an array of shape {result.shape} for one step; expected a "
                "number"
            )

    @property
    def takes_a_step(self) -> bool:
        """Whether all parameters of the function are names of what a step has."""
        names = parameters(self.function) if self.function else []
        return bool(names) and set(names) <= set(PARAMETERS)

    def of(self, step: dict[str, Any]) -> Any:
        assert self.function is not None
        return self.function(**{name: step[name] for name in parameters(self.function)})

    def init(self, key: Key, spec: Spec) -> dict[str, Array]:
        """The bounds of actions, which a batch has in the policy's scale."""
        if not (isinstance(spec.action, Box) and spec.action.bounded):
            return {}
        ends = (spec.action.from_unit(jnp.full(spec.action.shape, x)) for x in (-1.0, 1.0))
        return dict(zip(("low", "high"), ends, strict=True))

    def label(
        self, state: dict[str, Array], batch: Transition, key: Key, context: Context = ROLLOUT
    ) -> tuple[dict[str, Array], Transition, Metrics]:
        action = batch.action
        if state:
            low, high = state["low"], state["high"]
            action = low + (jnp.clip(action, -1.0, 1.0) + 1.0) * (high - low) / 2.0
        steps = {n: getattr(batch, n) for n in PARAMETERS} | {"action": action}
        shape = batch.reward.shape
        rows = jax.tree.map(lambda x: x.reshape(-1, *x.shape[len(shape) :]), steps)
        reward = jax.vmap(lambda step: jnp.float32(self.of(step)))(rows).reshape(shape)
        return state, replace(batch, reward=reward), {"reward": reward.mean()}


def parameters(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


def named(function: Callable[..., Any]) -> str:
    return f"{function.__name__}()"
