"""Environments of Gymnasium (Towers and others, 2024) as host environments."""

import difflib
import functools
import os
import sys
from typing import Any

import gymnasium

from spinward.core import (
    Box,
    Dict,
    Discrete,
    MultiDiscrete,
    Spec,
    Stepper,
    config,
    replace,
)
from spinward.envs import encoding, given, opening, workers
from spinward.envs.classic import is_classic, open_classic
from spinward.envs.pool import Pool
from spinward.envs.processes import ask
from spinward.errors import SettingsError


@config
class Gymnasium:
    """Environments called `id`: a registered id, `module:Class` or `path.py:Class`.

    They live in worker processes, but for classic control, which is quicker in this one.
    """

    id: str  # a registered id, module:Class or path.py:Class
    kwargs: tuple[tuple[str, object], ...] = ()  # of the environment, as pairs
    processes: int = 0  # 0: one for each core, or none for classic control
    timeout_s: int = 60  # after which a step or a reset counts as hung
    restarts: int = 10  # of lost workers, in all of a run

    def check(self) -> None:
        if self.processes < 0 or self.restarts < 0 or self.timeout_s <= 0:
            raise SettingsError(
                f"processes={self.processes}, restarts={self.restarts} and "
                f"timeout_s={self.timeout_s} must be at least 0, 0 and 1"
            )

    @property
    def spec(self) -> Spec:
        description = self._description()
        return spec_of(
            [encoding.Leaf.of(part) for part in description["parts"]], description["form"]
        )

    def open(self, envs: int) -> Stepper:
        """`envs` environments in parallel.

        Raises:
            SettingsError: the environment is unknown, or has spaces that cannot be used.
        """
        self.check()
        description = self._description()
        if self.processes == 0 and is_classic(self.id):
            return open_classic(
                self.id, dict(self.kwargs), description["form"], envs, self.timeout_s
            )
        settings = self._settings() | description
        processes = self.processes or os.cpu_count() or 1
        return Pool(settings, envs, processes, self.timeout_s, self.restarts)

    def on_one_core(self) -> "Gymnasium":
        """The same environment, limited to one core for a process among others."""
        return self if self.processes or is_classic(self.id) else replace(self, processes=1)

    def open_one(self, render: bool = False) -> gymnasium.Env:
        """One environment in this process, with the spaces that Gymnasium gives it."""
        mode = {"render_mode": "rgb_array"} if render else {}
        return opening.make(self.id, dict(self.kwargs) | mode, registered(self.id))

    def _settings(self) -> dict[str, Any]:
        return {"name": (self.id, dict(self.kwargs), registered(self.id))}

    def _description(self) -> dict[str, Any]:
        try:
            return _described(self.id, self.kwargs, self.timeout_s)
        except TypeError as error:
            raise SettingsError(
                f"kwargs={self.kwargs} must be pairs that {self.id} takes: {error}"
            ) from error


@functools.lru_cache(maxsize=64)
def _described(name: str, kwargs: tuple[tuple[str, object], ...], timeout_s: int) -> dict[str, Any]:
    settings = {"task": "describe", "name": (name, dict(kwargs), registered(name))}
    # What neither hangs nor dies need not be asked for by a process of its own.
    return workers.describe(settings) if is_classic(name) else ask(name, settings, timeout_s)


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


def spec_of(parts: list[encoding.Leaf], form: dict[str, Any]) -> Spec:
    """The spec of an agent for observations of these parts and this form of actions."""
    boxes = [(p.name, Box(p.shape, p.low, p.high, p.dtype)) for p in parts]
    obs = boxes[0][1] if boxes[0][0] == "" else Dict(tuple(boxes))
    if form["kind"] == "Box":
        low, high = (tuple(b) if isinstance(b, list) else b for b in (form["low"], form["high"]))
        return Spec(obs, Box(tuple(form["shape"]), low, high))
    if form["kind"] == "Discrete":
        return Spec(obs, Discrete(form["n"]))
    return Spec(obs, MultiDiscrete(tuple(form["sizes"])))
