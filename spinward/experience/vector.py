"""Experience from host environments: each step is one batch of all environments of all seeds.

Every array has a leading axis of seeds: observations are [seed, env, ...], batches
[seed, time, env, ...]. Acting is compiled; the rest is NumPy.
"""

import dataclasses
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spinward.core import (
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
from spinward.experience.rollout import with_last_reward
from spinward.trees import where


@struct
class VectorState:
    obs: Obs  # [seed, env, ...]
    memory: Memory
    total: Any  # [seed, env] reward of the current episode
    length: Any  # [seed, env] steps of the current episode


class Handle:
    """The open environments that a `Vector` shares with its copies."""

    stepper: Stepper | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Vector:
    """Steps `envs` host environments for each seed `steps` times: a resource that must be
    closed."""

    env: HostEnv
    envs: int
    steps: int
    handle: Handle = dataclasses.field(default_factory=Handle)

    @cached_property
    def spec(self) -> Spec:
        return replace(self.env.spec, envs=self.envs)

    @property
    def stride(self) -> int:
        return self.envs * self.steps

    @property
    def keys(self) -> "ActKeys":
        return ActKeys(self.steps)

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
        """The fresh state: a host environment cannot resume an episode."""
        return fresh

    def close(self) -> None:
        if self.handle.stepper is not None:
            self.handle.stepper.close()
            self.handle.stepper = None

    def collect(
        self, state: VectorState, policy: Policy, key: Key
    ) -> tuple[VectorState, Transition, Metrics]:
        """Steps with a `key` [seed], or with the keys [seed, time] that `keys` made of it."""
        assert self.handle.stepper is not None, "init comes before collect"
        steps: Any = np.asarray(key if key.ndim == 3 else act_keys(key, self.keys))
        obs, memory, rows = state.obs, state.memory, []
        act, step, spec, shape = policy.act, self.handle.stepper.step, self.spec, state.total.shape
        has_memory = bool(jax.tree.leaves(memory))
        for t in range(self.steps):
            device_action, memory, extras = act(obs, memory, steps[:, t])
            action = np.asarray(device_action)
            answer = step(in_env_units(spec, action))
            rows.append((obs, action, answer, extras))
            if has_memory:
                memory = with_last_reward(memory, answer.reward.reshape(shape))
                done = (answer.terminated | answer.truncated).reshape(shape)
                memory = begin_again(done, policy, self.envs, memory) if done.any() else memory
            obs = by_seed(answer.obs, shape)
        batch = transition(*zip(*rows, strict=True))
        total, length, ended = tally(batch, state.total, state.length)
        return VectorState(obs, memory, total, length), batch, summarise(*ended)


def tally(batch: Transition, total: Any, length: Any) -> tuple[Any, Any, np.ndarray]:
    """The return and length so far of the current episodes [seed, env] after a batch [seed, time,
    env]; before the batch, they were `total` and `length`. And for each seed, the number of ended
    episodes and the sums of their returns and lengths."""
    done = np.asarray(batch.done)
    ended, start = np.zeros((3, len(total))), 0
    counts = batch.weight > 0

    def upto(end: int) -> tuple[Any, Any]:
        rewards = np.concatenate([total[:, None], batch.reward[:, start:end]], 1)
        return rewards.sum(1), length + counts[:, start:end].sum(1, dtype=np.int32)

    for t in np.flatnonzero(done.any((0, 2))).tolist():
        total, length = upto(t + 1)
        whole = done[:, t] & counts[:, t]
        ended += [np.where(whole, x, 0).sum(1) for x in (1, total, length)]
        total, length = (np.where(done[:, t], x.dtype.type(0), x) for x in (total, length))
        start = t + 1
    return *upto(done.shape[1]), ended


def transition(obs: Any, action: Any, answers: Any, extras: Any) -> Transition:
    """Steps [seed, time, env, ...] from lists with one entry for each step."""
    seeds, envs = action[0].shape[:2]

    def split(parts: Any) -> Any:
        if isinstance(parts[0], dict):
            return {name: split([part[name] for part in parts]) for name in parts[0]}
        whole = np.array(parts)
        return whole.reshape(-1, seeds, envs, *whole.shape[2:]).swapaxes(0, 1)

    _, reward, terminated, truncated, next_obs, weight = map(split, zip(*answers, strict=True))
    before = stacked(obs), stacked(action)
    return Transition(*before, reward, terminated, truncated, next_obs, weight, stacked(extras))


def by_seed(x: Any, shape: tuple[int, ...]) -> Any:
    if isinstance(x, dict):
        return {name: by_seed(part, shape) for name, part in x.items()}
    return x.reshape(*shape, *x.shape[1:])


def stacked(rows: Any) -> Any:
    """Rows [seed, env, ...] of every step as arrays [seed, time, env, ...]."""
    if isinstance(rows[0], np.ndarray):
        return np.array(rows).swapaxes(0, 1)
    return jax.tree.map(lambda *x: np.array([np.asarray(y) for y in x]).swapaxes(0, 1), *rows)


def in_env_units(spec: Spec, action: np.ndarray) -> np.ndarray:
    """One action for each environment of all seeds."""
    return np.asarray(spec.action.from_unit(action.reshape(-1, *action.shape[2:])))


def begin_again(done: np.ndarray, policy: Policy, envs: int, after: Memory) -> Memory:
    """`after`, but with the initial memory where an episode starts."""
    return where(jnp.asarray(done), policy.memory(envs), after)


def summarise(episodes: np.ndarray, total: np.ndarray, length: np.ndarray) -> Metrics:
    share = 1.0 / np.maximum(episodes, 1)
    metrics = {"episodes": episodes, "episode_return": total * share}
    return {**metrics, "episode_length": length * share}


class ActKeys(NamedTuple):
    """Turns a seed's key into the keys [time] that `Rollout` acts with. It is hashable."""

    steps: int

    def __call__(self, key: Key) -> Key:
        return jax.random.split(jax.random.split(key)[0], (self.steps, 2))[:, 0]


@partial(jax.jit, static_argnums=1)
def act_keys(key: Key, keys: ActKeys) -> Key:
    return jax.vmap(keys.__call__)(key)
