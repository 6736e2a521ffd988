"""Experience from host environments, stepped in batches: all environments of all seeds at once.

Every array has a leading axis of seeds: observations are [seed, env, ...], batches
[seed, time, env, ...]. Acting is compiled; the rest is NumPy.
"""

import dataclasses
from functools import cached_property, partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from spinward.core import (
    Box,
    HostEnv,
    Key,
    Memory,
    Metrics,
    Obs,
    Policy,
    Spec,
    Stepper,
    Transition,
    replace,
    struct,
)
from spinward.experience.rollout import where


@struct
class VectorState:
    obs: Obs  # [seed, env, ...]
    memory: Memory
    total: Any  # [seed, env] reward of the episode under way
    length: Any  # [seed, env] its steps


class Handle:
    """The open environments of a `Vector`, and of its copies."""

    stepper: Stepper | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Vector:
    """Steps `envs` host environments for each seed `steps` times; a resource, to be closed."""

    env: HostEnv
    envs: int
    steps: int
    handle: Handle = dataclasses.field(default_factory=Handle)
    on_device: ClassVar[bool] = False

    @cached_property
    def spec(self) -> Spec:
        return replace(self.env.spec, envs=self.envs)

    @property
    def stride(self) -> int:
        return self.envs * self.steps

    def init(self, key: Key, memory: Memory) -> VectorState:
        """All environments of `key` [seed], opened and reset."""
        self.close()
        seeds = np.asarray(jax.vmap(lambda k: jax.random.bits(k, (self.envs,)))(key)) >> 1
        self.handle.stepper = self.env.open(seeds.size)
        obs = self.handle.stepper.reset(seeds.reshape(-1).astype(np.int64))
        shape = seeds.shape
        obs = by_seed(obs, shape)
        return VectorState(obs, memory, np.zeros(shape, np.float32), np.zeros(shape, np.int32))

    def reopen(self, saved: VectorState, fresh: VectorState) -> VectorState:
        """The fresh one: these environments cannot be brought back into an episode."""
        return fresh

    def close(self) -> None:
        if self.handle.stepper is not None:
            self.handle.stepper.close()
            self.handle.stepper = None

    def collect(
        self, state: VectorState, policy: Policy, key: Key
    ) -> tuple[VectorState, Transition, Metrics]:
        assert self.handle.stepper is not None, "init comes before collect"
        shape = state.total.shape
        keys: Any = np.asarray(act_keys(key, self.steps))
        obs, memory, rows = state.obs, state.memory, []
        spec, stepper = self.spec, self.handle.stepper
        total, length = state.total.copy(), state.length.copy()
        ended = np.zeros((3, shape[0]))  # per seed: episodes, and sums of their returns and lengths
        for t in range(self.steps):
            chosen, after, extras = policy.act(obs, memory, keys[:, t])
            action = np.asarray(chosen)
            step = stepper.step(in_env_units(spec, action))
            following, next_obs = by_seed(step.obs, shape), by_seed(step.next_obs, shape)
            reward, terminated, truncated, weight = (
                x.reshape(shape)
                for x in (step.reward, step.terminated, step.truncated, step.weight)
            )
            rows.append((obs, action, reward, terminated, truncated, next_obs, weight, extras))
            total += reward
            length += weight > 0
            done = terminated | truncated
            if done.any():
                whole = done & (weight > 0)
                ended += [np.where(whole, x, 0).sum(1) for x in (1, total, length)]
                total[done], length[done] = 0.0, 0
                after = begin_again(done, policy, self.envs, after)
            obs, memory = following, after
        batch = Transition(*jax.tree.map(lambda *x: np.stack(x, 1), *rows))
        return VectorState(obs, memory, total, length), batch, summarise(*ended)


def by_seed(x: Any, shape: tuple[int, ...]) -> Any:
    if isinstance(x, dict):
        return {name: by_seed(part, shape) for name, part in x.items()}
    return x.reshape(*shape, *x.shape[1:])


def in_env_units(spec: Spec, action: np.ndarray) -> np.ndarray:
    """One action for each environment, those of all seeds in a row."""
    action = action.reshape(-1, *action.shape[2:])
    return spec.action.from_unit(action) if isinstance(spec.action, Box) else action


def begin_again(done: np.ndarray, policy: Policy, envs: int, after: Memory) -> Memory:
    """`after`, but as it is when an episode starts where one does."""
    if not jax.tree.leaves(after):
        return after
    return where(jnp.asarray(done), policy.memory(envs), after)


def summarise(episodes: np.ndarray, total: np.ndarray, length: np.ndarray) -> Metrics:
    share = 1.0 / np.maximum(episodes, 1)
    metrics = {"episodes": episodes, "episode_return": total * share}
    return {**metrics, "episode_length": length * share}


@partial(jax.jit, static_argnums=1)
def act_keys(key: Key, steps: int) -> Key:
    """The keys [seed, time] with which `Rollout` would act."""
    return jax.vmap(lambda k: jax.random.split(jax.random.split(k)[0], (steps, 2))[:, 0])(key)
