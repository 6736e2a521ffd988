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
    Hybrid,
    Key,
    Metrics,
    Spec,
    Transition,
    config,
    replace,
)
from spinward.errors import SettingsError
from spinward.spaces import Scale

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
        dtype = jnp.float32 if isinstance(spec.action, Box | Hybrid) else jnp.int32
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
        """The scale of actions, which a batch has in the policy's."""
        if not isinstance(spec.action, Box | Hybrid):
            return {}
        return {name: jnp.asarray(x) for name, x in spec.action.scale._asdict().items()}

    def label(
        self, state: dict[str, Array], batch: Transition, key: Key, context: Context = ROLLOUT
    ) -> tuple[dict[str, Array], Transition, Metrics]:
        action = Scale(**state)(batch.action) if state else batch.action  # type: ignore[arg-type]
        steps = {n: getattr(batch, n) for n in PARAMETERS} | {"action": action}
        shape = batch.reward.shape
        rows = jax.tree.map(lambda x: x.reshape(-1, *x.shape[len(shape) :]), steps)
        reward = jax.vmap(lambda step: jnp.float32(self.of(step)))(rows).reshape(shape)
        return state, replace(batch, reward=reward), {"reward": reward.mean()}


def parameters(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


def named(function: Callable[..., Any]) -> str:
    return f"{function.__name__}()"
