"""Environments of Gymnasium (Towers and others, 2024) as host environments."""

import difflib
import functools
import os
import sys
from typing import Any

import gymnasium
import numpy as np

from spinward.core import (
    Box,
    Dict,
    Discrete,
    Hybrid,
    MultiDiscrete,
    Obs,
    Spec,
    Stepper,
    config,
    replace,
)
from spinward.envs import actions, encoding, given, opening, workers
from spinward.envs.classic import is_classic, is_mujoco, open_classic
from spinward.envs.encoding import IMAGE, VECTOR, Leaf
from spinward.envs.pool import Pool
from spinward.envs.processes import ask
from spinward.errors import SettingsError


@config
class Gymnasium:
    """Environments called `id`: a registered id, `module:Class` or `path.py:Class`.

    They live in worker processes, but for classic control and Gymnasium's own MuJoCo tasks, which
    are quicker in this one.
    """

    id: str  # a registered id, module:Class or path.py:Class
    kwargs: tuple[tuple[str, object], ...] = ()  # of the environment, as pairs
    processes: int = 0  # 0: one for each core, none for classic control, threads for MuJoCo
    timeout_s: int = 60  # after which a step or a reset counts as hung
    restarts: int = 10  # of lost workers, in all of a run
    matrices: str = VECTOR  # how observations with two axes are read: vector or image
    stack: int = 1  # newest values of an observation that an agent sees side by side

    def check(self) -> None:
        if self.matrices not in (VECTOR, IMAGE) or self.stack < 1:
            raise SettingsError(
                f"matrices={self.matrices!r} must be {VECTOR} or {IMAGE}, and stack={self.stack} "
                "at least 1"
            )
        if self.processes < 0 or self.restarts < 0 or self.timeout_s <= 0:
            raise SettingsError(
                f"processes={self.processes}, restarts={self.restarts} and "
                f"timeout_s={self.timeout_s} must be at least 0, 0 and 1"
            )

    @property
    def spec(self) -> Spec:
        description = self._description()
        return spec_of([Leaf.of(part) for part in description["parts"]], description["form"])

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what an agent sees otherwise than the environment gives it."""
        return tuple(self._description()["notes"])

    @property
    def limit(self) -> int:
        """Steps after which an episode is truncated; 0 if never, or if it does not say."""
        return int(self._description()["limit"])

    def open(self, envs: int) -> Stepper:
        """`envs` environments in parallel.

        Raises:
            SettingsError: the environment is unknown, or has spaces that cannot be used.
        """
        self.check()
        description = self._description()
        own, cores = dict(self.kwargs), self.processes or os.cpu_count() or 1
        here = (self.id, own, description["form"], envs, self.timeout_s)
        if self.processes == 0 and self.stack == 1 and is_classic(self.id):
            return open_classic(*here)
        if self.stack == 1 and is_mujoco(self.id, own):
            return open_classic(*here, threads=cores)
        settings = self.settings | description
        return Pool(settings, envs, cores, self.timeout_s, self.restarts)

    def on_one_core(self) -> "Gymnasium":
        """The same environment, limited to one core for a process among others."""
        return self if self.processes or is_classic(self.id) else replace(self, processes=1)

    def open_one(self) -> "Shown":
        """One environment in this process that can be drawn."""
        mode = {"render_mode": "rgb_array"}
        description = self._description()
        made = opening.make(self.id, dict(self.kwargs) | mode, registered(self.id))
        return Shown(
            made, tuple(Leaf.of(part) for part in description["parts"]), description["form"]
        )

    @property
    def settings(self) -> dict[str, Any]:
        """What a worker process is told of it."""
        name = self.id, dict(self.kwargs), registered(self.id)
        return {"name": name, "reading": (self.matrices, self.stack)}

    def _description(self) -> dict[str, Any]:
        self.check()
        try:
            return _described(replace(self, processes=0, restarts=0))
        except TypeError as error:
            raise SettingsError(
                f"kwargs={self.kwargs} must be pairs that {self.id} takes: {error}"
            ) from error


class Shown:
    """One environment in this process, with observations and actions as an agent has them."""

    def __init__(self, env: Any, parts: tuple[Leaf, ...], form: dict[str, Any]) -> None:
        self.env, self.encoder, self.decode = env, encoding.Encoder(parts), actions.decoder(form)

    def reset(self, seed: int | None = None) -> Obs:
        rows = self.encoder.first(*encoding.two(self.env.reset(seed=seed)))
        return rows.get("", rows)

    def step(self, action: np.ndarray) -> tuple[Obs, float, bool, bool]:
        """The observation, the reward, and whether the episode terminated or was truncated."""
        obs, reward, terminated, truncated, info = encoding.five(self.env.step(self.decode(action)))
        rows = self.encoder(obs, info)
        ended = encoding.flag(terminated, "terminated")
        cut = encoding.flag(truncated, "truncated") and not ended
        return rows.get("", rows), encoding.number(reward), ended, cut

    def render(self) -> Any:
        return self.env.render()

    def close(self) -> None:
        self.env.close()


@functools.lru_cache(maxsize=64)
def _described(env: Gymnasium) -> dict[str, Any]:
    settings = env.settings | {"task": "describe"}
    # What neither hangs nor dies need not be asked for by a process of its own.
    here = is_classic(env.id) or (not env.kwargs and is_mujoco(env.id, {}))
    return workers.describe(settings) if here else ask(env.id, settings, env.timeout_s)


def registered(name: str) -> dict[str, Any] | None:
    """How a registered id is made, for a process that may not know it.

    Raises:
        SettingsError: there is no such id.
    """
    if name.startswith(f"{given.PREFIX}:"):
        return {"packed": given.packed(name)}
    if ":" in name or name.startswith("ALE/"):
        return None
    spec = gymnasium.registry.get(name)
    if spec is None:
        near = difflib.get_close_matches(name, gymnasium.registry, 3)
        hint = f"; the nearest are {', '.join(near)}" if near else ""
        raise SettingsError(f"there is no environment {name!r} in Gymnasium{hint}")
    entry: Any = spec.entry_point
    if not isinstance(entry, str):
        if "<" in entry.__qualname__:
            raise SettingsError(
                f"{name} is registered with a function inside a function, which a worker process "
                "cannot find: give its entry_point as 'module:Class'"
            )
        module = entry.__module__
        if module == "__main__":
            module = str(getattr(sys.modules["__main__"], "__file__", "__main__"))
        entry = f"{module}:{entry.__qualname__}"
    return {
        "entry_point": entry,
        "max_episode_steps": spec.max_episode_steps,
        "kwargs": spec.kwargs,
        "additional_wrappers": spec.additional_wrappers,
    }


def spec_of(parts: list[Leaf], form: dict[str, Any]) -> Spec:
    """The spec of an agent for observations of these parts and this form of actions."""
    boxes = [(p.name, Box(p.shape, p.low, p.high, p.dtype)) for p in parts]
    obs = boxes[0][1] if boxes[0][0] == "" else Dict(tuple(boxes))
    (shape, _), sizes = actions.array_of(form), tuple(actions.sizes_of(form))
    low, high = (encoding.bounds(side) for side in actions.limits_of(form))
    low, high = (tuple(b) if isinstance(b, list) else b for b in (low, high))
    if not sizes:
        return Spec(obs, Box(shape, low, high))
    if shape == ():
        return Spec(obs, Discrete(*sizes))
    numbers = shape[0] - len(sizes)
    hybrid = Hybrid(sizes, Box((numbers,), low, high)) if numbers else None
    return Spec(obs, hybrid or MultiDiscrete(sizes))
