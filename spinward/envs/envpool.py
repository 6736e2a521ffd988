"""Environments of EnvPool (Weng and others, 2022) as host environments: threads in C++."""

import difflib
import functools
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from spinward.core import Obs, Spec, Step, Stepper, config, replace
from spinward.envs import actions, encoding
from spinward.envs.guards import Watchdog, require_finite
from spinward.envs.gymnasium import spec_of
from spinward.envs.pool import SEEDS
from spinward.errors import SettingsError

INSTALL = "envpool is not installed; install it with: pip install -e '.[envpool]'"
# Machado and others (2018): sticky actions, no life loss, the reward as it is.
ATARI = {
    "repeat_action_probability": 0.25,
    "episodic_life": False,
    "frame_skip": 4,
    "stack_num": 4,
    "noop_max": 1,
    "reward_clip": False,
    "full_action_space": False,
    "use_fire_reset": False,
}


@config
class EnvPool:
    """EnvPool's environments called `id`. A crash of one is a crash of this process."""

    id: str  # the environment's name in EnvPool
    kwargs: tuple[tuple[str, object], ...] = ()  # of the environment, as pairs
    threads: int = 0  # 0: one for each core
    timeout_s: int = 60  # after which a step counts as hung, and the process ends

    @property
    def spec(self) -> Spec:
        parts, form = self._form()
        return spec_of(list(parts), form)

    @property
    def limit(self) -> int:
        """Steps after which an episode is truncated."""
        return _limit(self.id, self.kwargs)

    def open(self, envs: int) -> Stepper:
        """`envs` environments in parallel.

        Raises:
            SettingsError: EnvPool is missing, does not know the id, or has unusable spaces.
        """
        threads = min(self.threads or os.cpu_count() or 1, envs)
        options = {"num_envs": envs, "num_threads": threads, **dict(self.kwargs)}
        return EnvPoolStepper(self.id, options, *self._form(), timeout_s=self.timeout_s)

    def on_one_core(self) -> "EnvPool":
        """The same environment, limited to one core for a process among others."""
        return replace(self, threads=self.threads or 1)

    def _form(self) -> tuple[tuple[encoding.Leaf, ...], dict[str, Any]]:
        return _form(self.id, self.kwargs)


@functools.lru_cache(maxsize=64)
def _form(
    name: str, kwargs: tuple[tuple[str, object], ...]
) -> tuple[tuple[encoding.Leaf, ...], dict[str, Any]]:
    pool = made(name, {"num_envs": 1, **dict(kwargs)})
    try:
        return encoding.leaves(pool.observation_space, {}), actions.action_form(pool.action_space)
    except encoding.Unsupported as error:
        raise SettingsError(f"{name}: {error}") from error
    finally:
        pool.close()


@functools.lru_cache(maxsize=64)
def _limit(name: str, kwargs: tuple[tuple[str, object], ...]) -> int:
    pool = made(name, {"num_envs": 1, **dict(kwargs)})
    try:
        return int(pool.spec.config.max_episode_steps)
    finally:
        pool.close()


def made(name: str, options: dict[str, Any]) -> Any:
    """EnvPool's batch of environments.

    Raises:
        SettingsError: EnvPool is missing, or does not know the id or an option.
    """
    try:
        import envpool
    except ImportError as missing:
        raise SettingsError(INSTALL) from missing
    known = envpool.list_all_envs()
    if name not in known:
        near = difflib.get_close_matches(name, known, 3)
        hint = f"; the nearest are {', '.join(near)}" if near else ""
        raise SettingsError(f"there is no environment {name!r} in EnvPool{hint}")
    spec = envpool.make_spec(name)
    defaults = ATARI if "repeat_action_probability" in spec.config._fields else {}
    unknown = [option for option in options if option not in (*spec.config._fields, "seed")]
    if unknown:
        raise SettingsError(f"{name} of EnvPool has no setting {unknown[0]!r}")
    return envpool.make(name, env_type="gymnasium", **(defaults | options))


def quick_step(pool: Any, envs: int) -> Callable[[np.ndarray], Any]:
    """What `pool.step` answers without its info, by its own C++ calls: it would spend as long on
    dicts and on its settings as it takes to step one MuJoCo environment. Where a pool has other
    actions or observations than one array of each, its `step` is what is returned."""
    acts, sees = getattr(pool, "_action_keys", ()), getattr(pool, "_state_keys", ())
    if set(acts) != {"env_id", "players.env_id", "action"} or "obs" not in sees:
        return pool.step
    ids, dtype = np.arange(envs, dtype=np.int32), pool.spec.action_array_spec["action"].dtype
    reads = [sees.index(name) for name in ("obs", "reward", "done", "trunc")]

    def step(action: np.ndarray) -> tuple[np.ndarray, ...]:
        whole = np.ascontiguousarray(action, dtype)
        sent = {"env_id": ids, "players.env_id": ids, "action": whole}
        pool._send([sent[name] for name in acts])
        arrays = pool._recv()
        obs, reward, done, truncated = (arrays[i] for i in reads)
        return obs, reward, done & ~truncated, truncated

    return step


class EnvPoolStepper:
    """A batch of EnvPool's, whose environments are reset in the step in which they end.

    EnvPool has seeds at its making only, so `reset` makes the batch. It calls an episode that
    ends by itself in the last step before its time limit truncated.
    """

    def __init__(
        self,
        name: str,
        options: dict[str, Any],
        parts: tuple[encoding.Leaf, ...],
        form: dict[str, Any],
        timeout_s: float,
    ) -> None:
        self.name, self.options, self.parts, self.form = name, options, parts, form
        self.watchdog = Watchdog(name, timeout_s)
        self.pool: Any = None
        self.weight = np.ones(options["num_envs"], np.float32)
        self.steps = 0

    def reset(self, seeds: np.ndarray) -> Obs:
        if self.pool is not None:
            self.pool.close()
        # The largest 32-bit number is the one that EnvPool refuses.
        own = [int(seed) for seed in (np.asarray(seeds, np.int64) & SEEDS) % SEEDS]
        self.pool = made(self.name, self.options | {"seed": own})
        self.quick = quick_step(self.pool, len(own))
        return self._seen(self.watchdog.run(self.pool.reset)[0])

    def step(self, action: np.ndarray) -> Step:
        self.steps += 1
        action = np.asarray(action) + self.form.get("start", 0)
        answer = self.watchdog.run(self.quick, action)
        raw, reward, terminated, truncated, *_ = answer
        obs = next_obs = self._seen(raw)
        reward = np.asarray(reward, np.float32)
        done = terminated | truncated
        if done.any():
            obs = self._begin(np.flatnonzero(done).astype(np.int32), next_obs)
        require_finite(self.name, next_obs, reward, lambda env: self.steps)
        return Step(obs, reward, terminated, truncated, next_obs, self.weight)

    def close(self) -> None:
        self.watchdog.close()
        if self.pool is not None:
            self.pool.close()
            self.pool = None

    def _begin(self, envs: np.ndarray, final: Obs) -> Obs:
        """The observations to act on next, of which those of `envs` are first ones."""
        raw, info = self.watchdog.run(self.pool.reset, envs)
        first, rows = self._seen(raw), info["env_id"]
        if not isinstance(final, dict):
            final, first = {"": final}, {"": first}
        obs = {name: value.copy() for name, value in final.items()}
        for name, value in first.items():
            obs[name][rows] = value
        return obs.get("", obs)

    def _seen(self, raw: Any) -> Obs:
        parts = {}
        for part in self.parts:
            value = encoding.at(raw, part.path)
            if part.channels_first:
                parts[part.name] = np.empty(
                    (len(value), *value.shape[2:], value.shape[1]), part.dtype
                )
                for channel in range(value.shape[1]):  # a third of the time of one transposed copy
                    parts[part.name][..., channel] = value[:, channel]
            else:
                whole = np.array(value, part.dtype, order="C")
                parts[part.name] = whole.reshape(len(value), *part.shape)
        return parts.get("", parts)
