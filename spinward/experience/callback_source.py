"""Experience from host environments that a compiled program calls at each step.

One program holds acting, storing and learning. `Vector` needs a call of JAX for each of them, and
copies arrays in and out. With several seeds, a step is one call for the environments of all seeds.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import (
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
from spinward.experience.rollout import EpisodeSums, count, sound, summarise, with_last_reward
from spinward.experience.vector import ActKeys, VectorState
from spinward.trees import where

RESET, STEP = "reset", "step"


@config
class CallbackSource:
    """The source of one seed in a compiled program that `Host.run` runs; the twin of `Vector`."""

    spec: Spec
    steps: int

    @property
    def stride(self) -> int:
        return self.spec.envs * self.steps

    def init(self, key: Key, memory: Memory) -> VectorState:
        envs = self.spec.envs
        seeds = jax.random.bits(key, (envs,)) >> 1
        obs = self.obs_of(call(RESET, self.shapes(), seeds.astype(jnp.int32)))
        return VectorState(obs, memory, jnp.zeros(envs), jnp.zeros(envs, jnp.int32))

    def reopen(self, saved: VectorState, fresh: VectorState) -> VectorState:
        """The fresh state: a host environment cannot resume an episode."""
        return fresh

    def collect(
        self, state: VectorState, policy: Policy, key: Key
    ) -> tuple[VectorState, Transition, Metrics]:
        initial = policy.memory(self.spec.envs)

        def step(state: VectorState, key: Key) -> tuple[VectorState, Any]:
            action, memory, extras = policy.act(state.obs, state.memory, key)
            result, fine = self.step(action, state.total)
            ends = result.terminated, result.truncated
            batch = Transition(
                state.obs, action, result.reward, *ends, result.next_obs, result.weight, extras
            )
            memory = where(batch.done, initial, with_last_reward(memory, result.reward))
            episodes = EpisodeSums(state.total, state.length)
            episodes, ended = count(episodes, result.reward, batch.done, result.weight)
            after = VectorState(result.obs, memory, episodes.total, episodes.length)
            return after, (batch, ended, fine)

        state, (batch, ended, fine) = jax.lax.scan(step, state, ActKeys(self.steps)(key))
        return state, batch, {**summarise(*ended), "finite": sound(batch) & fine.all()}

    def step(self, action: Array, seeds: Array) -> tuple[Any, Array]:
        """The `Step` of the environments, and whether all of them are well.

        Over seeds this is one call. `seeds` is any array that differs between seeds: with it, JAX
        makes the call for each seed even where all seeds share one `action`."""
        envs, shapes = self.spec.envs, self.shapes()
        number, flag = (jax.ShapeDtypeStruct((envs,), kind) for kind in (np.float32, bool))
        results = [flag, number, flag, flag, number, *shapes, *shapes]
        arrays: Any = call(STEP, results, action, seeds)
        (fine, reward, terminated, truncated, weight), leaves = arrays[:5], arrays[5:]
        next_obs, obs = self.obs_of(leaves[: len(shapes)]), self.obs_of(leaves[len(shapes) :])
        return Step(obs, reward, terminated, truncated, next_obs, weight), fine

    def shapes(self) -> list[jax.ShapeDtypeStruct]:
        """The shapes of the leaves of observations [env, ...]."""
        zeros = jax.tree.leaves(self.spec.zeros(self.spec.envs))
        return [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in zeros]

    def obs_of(self, leaves: list[Array]) -> Obs:
        """The observation with these leaves."""
        return jax.tree.unflatten(jax.tree.structure(self.spec.zeros(1)), leaves)


class Host:
    """Open environments that answer the calls of programs: a resource that must be closed."""

    def __init__(self, env: HostEnv) -> None:
        self.env, self.spec = env, env.spec
        self.stepper: Stepper | None = None
        self.error: BaseException | None = None
        self.answers: dict[str, Answer] = {RESET: self.reset, STEP: self.step}

    def open(self, envs: int) -> None:
        """Opens so many environments, in the caller's thread."""
        self.close()
        self.stepper = self.env.open(envs)

    def run(self, program: Any, *args: Any) -> Any:
        """The result of `program`. After an `error` of an environment, steps have weight 0, like
        the steps of a lost environment, and a flag tells the program."""
        self.error = None
        return SERVER.run(self.answers, program, *args)

    def checked(self, program: Any, *args: Any) -> Any:
        """The result of `program`.

        Raises:
            the error of an environment, if there was one.
        """
        result = self.run(program, *args)
        if self.error:
            raise self.error
        return result

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
                answer = self.stepper.step(self.in_env_units(args[0]))
                numbers = answer.reward, answer.terminated, answer.truncated, answer.weight
                put([*numbers, *parts(answer.next_obs), *parts(answer.obs)], results[1:])
                results[0][...] = True
            except BaseException as error:
                self.error = error
        if self.error is not None:
            for result in results:
                result[...] = 0
            results[3][...] = True  # truncated

    def in_env_units(self, action: np.ndarray) -> np.ndarray:
        """A copy with one action for each environment of all seeds."""
        space = self.spec.action
        return np.asarray(space.from_unit(action.reshape(-1, *space.shape).copy()))

    def close(self) -> None:
        if self.stepper is not None:
            self.stepper.close()
            self.stepper = None


def parts(obs: Obs) -> list[np.ndarray]:
    """The leaves of an observation, in JAX's order."""
    return [obs[name] for name in sorted(obs)] if isinstance(obs, dict) else [obs]


def put(values: list[np.ndarray], results: list[np.ndarray]) -> None:
    for value, result in zip(values, results, strict=True):
        result.reshape(value.shape)[...] = value
