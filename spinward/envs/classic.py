"""Gymnasium's classic control and MuJoCo tasks in this process, which takes less time than asking a
worker. MuJoCo lets go of Python's lock while it steps, so that threads step several at once."""

import importlib.util
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import gymnasium
import numpy as np

from spinward.core import Obs, Step
from spinward.envs import actions
from spinward.envs.guards import Watchdog, require_finite
from spinward.envs.pool import SEEDS
from spinward.errors import SettingsError

CONTROL = "gymnasium.envs.classic_control"
MUJOCO = "gymnasium.envs.mujoco"
CART_POLE = "gymnasium.envs.classic_control.cartpole:CartPoleVectorEnv"
FEW = 8  # CartPoles below which one by one they take less time than their batch


def is_classic(name: str) -> bool:
    """Whether `name` is one of Gymnasium's own, which neither hang nor die."""
    spec = gymnasium.registry.get(name)
    return spec is not None and str(spec.entry_point).startswith(CONTROL)


def is_mujoco(name: str, kwargs: dict[str, Any]) -> bool:
    """Whether `name` is one of Gymnasium's own MuJoCo tasks, with its own model of a robot."""
    spec = gymnasium.registry.get(name)
    own = spec is not None and str(spec.entry_point).startswith(MUJOCO)
    return own and "xml_file" not in kwargs and importlib.util.find_spec("mujoco") is not None


def open_classic(
    name: str,
    kwargs: dict[str, Any],
    form: dict[str, Any],
    envs: int,
    timeout_s: float,
    threads: int = 1,
) -> "Singles | CartPoles":
    """So many of them side by side, in so many threads."""
    batched = gymnasium.spec(name).vector_entry_point == CART_POLE
    try:
        if batched and envs >= FEW:
            return CartPoles(name, kwargs, envs, timeout_s)
        return Singles(name, kwargs, form, envs, timeout_s, threads)
    except TypeError as error:
        raise SettingsError(f"kwargs={kwargs} do not suit {name}: {error}") from error


class Singles:
    """Environments one after another in each thread, without the wrappers that Gymnasium puts
    around them."""

    def __init__(
        self,
        name: str,
        kwargs: dict[str, Any],
        form: dict[str, Any],
        envs: int,
        timeout_s: float,
        threads: int = 1,
    ) -> None:
        made = [gymnasium.make(name, disable_env_checker=True, **kwargs) for _ in range(envs)]
        self.name, self.envs = name, [env.unwrapped for env in made]
        self.discrete, self.decode = form["kind"] == "Discrete", actions.decoder(form)
        self.limit = made[0].spec.max_episode_steps if made[0].spec else None
        self.watchdog = Watchdog(name, timeout_s)
        self.shape = (envs, *(made[0].observation_space.shape or ()))
        self.lengths = [0] * envs
        self.weight = np.ones(envs, np.float32)
        self.steps = 0
        shares = np.array_split(np.arange(envs), min(threads, envs))
        self.shares: list[list[int]] = [share.tolist() for share in shares]
        several = len(self.shares) > 1
        self.threads = ThreadPoolExecutor(len(self.shares) - 1) if several else None

    def reset(self, seeds: np.ndarray) -> Obs:
        self.lengths = [0] * len(self.envs)
        starts = zip(self.envs, seeds, strict=True)
        return np.array([env.reset(seed=int(seed) & SEEDS)[0] for env, seed in starts], np.float32)

    def step(self, action: np.ndarray) -> Step:
        self.steps += 1
        step = self.watchdog.run(self._step, action)
        require_finite(self.name, step.next_obs, step.reward, lambda env: self.steps)
        return step

    def close(self) -> None:
        self.watchdog.close()
        if self.threads is not None:
            self.threads.shutdown()
        for env in self.envs:
            env.close()

    def _step(self, action: np.ndarray) -> Step:
        decoded = action.tolist() if self.discrete else [self.decode(row) for row in action]
        next_obs, reward = np.empty(self.shape, np.float32), np.empty(len(self.envs), np.float32)
        terminated, truncated = np.zeros((2, len(self.envs)), bool)
        work = partial(self._step_share, decoded, next_obs, reward, terminated, truncated)
        others = self.threads.map(work, self.shares[1:]) if self.threads is not None else ()
        ended = work(self.shares[0])
        for more in others:
            ended += more
        obs = next_obs.copy() if ended else next_obs
        for i in ended:
            obs[i], self.lengths[i] = self.envs[i].reset()[0], 0
        return Step(obs, reward, terminated, truncated, next_obs, self.weight)

    def _step_share(
        self,
        decoded: list[Any],
        next_obs: np.ndarray,
        reward: np.ndarray,
        terminated: np.ndarray,
        truncated: np.ndarray,
        share: Iterable[int],
    ) -> list[int]:
        """Steps the environments of a share; returns those whose episode ended."""
        ended = []
        for i in share:
            next_obs[i], reward[i], over, *_ = self.envs[i].step(decoded[i])
            self.lengths[i] += 1
            if over or self.lengths[i] == self.limit:
                (terminated if over else truncated)[i] = True
                ended.append(i)
        return ended


class CartPoles:
    """Gymnasium's batch of CartPoles, in this process.

    It would spend a step on each reset. Here an episode that ends is reset at once, and from a
    seed of its own, which makes each row what a single CartPole with this seed would be.
    """

    def __init__(self, name: str, kwargs: dict[str, Any], envs: int, timeout_s: float) -> None:
        self.name, self.envs = name, envs
        made = gymnasium.make_vec(name, envs, vectorization_mode="vector_entry_point", **kwargs)
        self.batch: Any = made.unwrapped
        self.watchdog = Watchdog(name, timeout_s)
        self.weight = np.ones(envs, np.float32)
        self.steps = 0

    def reset(self, seeds: np.ndarray) -> Obs:
        self.batch.reset()
        self.random = [np.random.Generator(np.random.PCG64(int(seed) & SEEDS)) for seed in seeds]
        self._start(np.arange(self.envs))
        return self._obs()

    def step(self, action: np.ndarray) -> Step:
        batch = self.batch
        self.steps += 1
        answer = self.watchdog.run(batch.step, action)
        next_obs, reward, terminated, truncated, _ = answer
        obs = next_obs = np.ascontiguousarray(next_obs)
        done = batch.prev_done
        if done.any():
            truncated &= ~terminated
            self._start(np.flatnonzero(done))
            obs = self._obs()
        require_finite(self.name, next_obs, reward, lambda env: self.steps)
        return Step(obs, reward, terminated, truncated, next_obs, self.weight)

    def close(self) -> None:
        self.watchdog.close()
        self.batch.close()

    def _start(self, envs: np.ndarray) -> None:
        batch = self.batch
        for env in envs:
            batch.state[:, env] = self.random[env].uniform(batch.low, batch.high, 4)
        batch.steps[envs] = 0
        batch.prev_done[:] = False

    def _obs(self) -> np.ndarray:
        return np.ascontiguousarray(self.batch.state.T, np.float32)
