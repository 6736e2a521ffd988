"""Experience from host environments that a compiled program steps: it calls them, step by step.

One program holds acting, storing and learning, where `Vector` needs a call of JAX for each, with
arrays to hand over and back. Over seeds a step is one call for the environments of all.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import (
    Box,
    HostEnv,
    Key,
    Memory,
    Metrics,
    Obs,
    Policy,
    Spec,
    Step,
    Stepper,
    Transition,
    config,
)
from spinward.experience.ffi import SERVER, Answer, call
from spinward.experience.rollout import Episodes, count, sound, summarise, with_last_reward
from spinward.experience.vector import ActKeys, VectorState
from spinward.trees import where

RESET, STEP = "reset", "step"


@config
class CallbackSource:
    """The steps of a `Vector`, for one seed of a program that `Host.run` runs."""

    spec: Spec
    steps: int

    @property
    def stride(self) -> int:
        return self.spec.envs * self.steps

    def init(self, key: Key, memory: Memory) -> VectorState:
        envs = self.spec.envs
        seeds = jax.random.bits(key, (envs,)) >> 1
        obs = self.seen(call(RESET, self.shapes(), seeds.astype(jnp.int32)))
        return VectorState(obs, memory, jnp.zeros(envs), jnp.zeros(envs, jnp.int32))

    def reopen(self, saved: VectorState, fresh: VectorState) -> VectorState:
        """The fresh one: these environments cannot be brought back into an episode."""
        return fresh

    def collect(
        self, state: VectorState, policy: Policy, key: Key
    ) -> tuple[VectorState, Transition, Metrics]:
        initial = policy.memory(self.spec.envs)

        def step(state: VectorState, key: Key) -> tuple[VectorState, Any]:
            action, memory, extras = policy.act(state.obs, state.memory, key)
            found, fine = self.step(action, state.total)
            ends = found.terminated, found.truncated
            batch = Transition(
                state.obs, action, found.reward, *ends, found.next_obs, found.weight, extras
            )
            memory = where(batch.done, initial, with_last_reward(memory, found.reward))
            episodes = Episodes(state.total, state.length)
            episodes, ended = count(episodes, found.reward, batch.done, found.weight)
            after = VectorState(found.obs, memory, episodes.total, episodes.length)
            return after, (batch, ended, fine)

        state, (batch, ended, fine) = jax.lax.scan(step, state, ActKeys(self.steps)(key))
        return state, batch, {**summarise(*ended), "finite": sound(batch) & fine.all()}

    def step(self, action: Array, seeds: Array) -> tuple[Any, Array]:
        """The `Step` of the environments of all seeds, which is one also where the same `action` is
        that of all: `seeds` is an array that each has an own one of. And whether all went well."""
        envs, shapes = self.spec.envs, self.shapes()
        number, flag = (jax.ShapeDtypeStruct((envs,), kind) for kind in (np.float32, bool))
        results = [flag, number, flag, flag, number, *shapes, *shapes]
        found: Any = call(STEP, results, action, seeds)
        (fine, reward, terminated, truncated, weight), seen = found[:5], found[5:]
        next_obs, obs = self.seen(seen[: len(shapes)]), self.seen(seen[len(shapes) :])
        return Step(obs, reward, terminated, truncated, next_obs, weight), fine

    def shapes(self) -> list[jax.ShapeDtypeStruct]:
        """Of the parts of observations [env, ...]."""
        zeros = jax.tree.leaves(self.spec.zeros(self.spec.envs))
        return [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in zeros]

    def seen(self, parts: list[Array]) -> Obs:
        """The observation of these parts."""
        return jax.tree.unflatten(jax.tree.structure(self.spec.zeros(1)), parts)


class Host:
    """Open environments that answer the calls of programs: a resource, to be closed."""

    def __init__(self, env: HostEnv) -> None:
        self.env, self.spec = env, env.spec
        self.stepper: Stepper | None = None
        self.error: BaseException | None = None
        self.answers: dict[str, Answer] = {RESET: self.reset, STEP: self.step}

    def open(self, envs: int) -> None:
        """So many of them, in the thread of who calls it."""
        self.close()
        self.stepper = self.env.open(envs)

    def run(self, program: Any, *args: Any) -> Any:
        """What `program` returns. It is told of an `error` of the environments, after which steps
        do not happen: they are of weight 0, like those of a lost environment."""
        self.error = None
        return SERVER.run(self.answers, program, *args)

    def checked(self, program: Any, *args: Any) -> Any:
        """What `program` returns, or what the environments raised."""
        found = self.run(program, *args)
        if self.error:
            raise self.error
        return found

    def reset(self, args: list[np.ndarray], results: list[np.ndarray]) -> None:
        try:
            assert self.stepper is not None, "open comes before run"
            put(parts(self.stepper.reset(args[0].reshape(-1).astype(np.int64))), results)
        except BaseException as error:
            self.error = error

    def step(self, args: list[np.ndarray], results: list[np.ndarray]) -> None:
        if self.error is None:
            try:
                assert self.stepper is not None, "open comes before run"
                found = self.stepper.step(self.in_env_units(args[0]))
                numbers = found.reward, found.terminated, found.truncated, found.weight
                put([*numbers, *parts(found.next_obs), *parts(found.obs)], results[1:])
                results[0][...] = True
            except BaseException as error:
                self.error = error
        if self.error is not None:
            for result in results:
                result[...] = 0
            results[3][...] = True  # truncated

    def in_env_units(self, action: np.ndarray) -> np.ndarray:
        """A copy, one action for each environment, those of all seeds in a row."""
        space = self.spec.action
        action = action.reshape(-1, *space.shape).copy()
        return space.from_unit(action) if isinstance(space, Box) else action

    def close(self) -> None:
        if self.stepper is not None:
            self.stepper.close()
            self.stepper = None


def parts(obs: Obs) -> list[np.ndarray]:
    """Those of an observation, in the order of a tree's leaves."""
    return [obs[name] for name in sorted(obs)] if isinstance(obs, dict) else [obs]


def put(values: list[np.ndarray], results: list[np.ndarray]) -> None:
    for value, result in zip(values, results, strict=True):
        result.reshape(value.shape)[...] = value
