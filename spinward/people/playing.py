"""One environment that a person plays, and the data set of the episodes that are kept."""

from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from spinward.core import Box, Env, HostEnv, Renders, Spec, replace
from spinward.data import card
from spinward.data.card import Card
from spinward.data.layout import layout_of
from spinward.data.statistics import measured
from spinward.data.store import opened
from spinward.data.writer import Fields, Writer, created
from spinward.errors import SettingsError
from spinward.people.filming import opened_to_draw, undrawn
from spinward.programs.seeds import compiled
from spinward.store import files

KINDS = {True: np.float32, False: np.int32}  # of actions: numbers or choices
FIELDS = ("obs", "action", "reward", "terminated", "truncated", "next_obs")


class Playable(Protocol):
    """One open environment that can be drawn; `step` takes an action in its own units."""

    def reset(self, seed: int | None = None) -> Any: ...
    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool]: ...
    def render(self) -> Any: ...
    def close(self) -> None: ...


class Simulated:
    """One environment in JAX, as `Playable`."""

    def __init__(self, env: Any) -> None:
        self.env, self.key, self.state = env, jax.random.PRNGKey(0), None
        self.resets, self.steps = compiled(first, 0), compiled(after, 0)

    def reset(self, seed: int | None = None) -> Any:
        if seed is not None:
            self.key = jax.random.PRNGKey(seed)
        self.key, k_reset = jax.random.split(self.key)
        self.state, obs = self.resets(self.env, k_reset)
        return self.seen(obs)

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool]:
        self.key, k_step = jax.random.split(self.key)
        self.state, obs, *rest = self.steps(self.env, self.state, action, k_step)
        reward, terminated, truncated = (np.asarray(x)[()] for x in rest)
        return self.seen(obs), float(reward), bool(terminated), bool(truncated)

    def seen(self, obs: Any) -> Any:
        zeros = self.env.spec.zeros()
        return jax.tree.map(lambda x, zero: np.asarray(x, zero.dtype), obs, zeros)

    def render(self) -> Any:
        return self.env.render(self.state)

    def close(self) -> None:
        self.state = None


def first(env: Any, key: Any) -> Any:
    return env.reset(key)


def after(env: Any, state: Any, action: Any, key: Any) -> Any:
    return env.step(state, action, key)


def check_players(env: Any, name: str) -> None:
    """Raises SettingsError for a game for two."""
    if env.spec.players > 1:
        raise SettingsError(f"{name} is a game for two: name an opponent, as --env.opponent random")


def opened_to_play(env: Any, name: str) -> Playable:
    """An environment that one person can play.

    Raises:
        SettingsError: it cannot be drawn.
    """
    if isinstance(env, HostEnv):
        playable: Playable = opened_to_draw(env, name, "")
        return playable
    if not isinstance(env, Env) or not isinstance(env, Renders):
        raise undrawn(name, "it has no method render(state)", "")
    playable = Simulated(env)
    playable.reset(0)
    space = env.spec.action
    playable.step(np.asarray(space.from_unit(np.zeros(space.shape, KINDS[isinstance(space, Box)]))))
    return playable


class KeptSteps(NamedTuple):
    """What of an episode or of a session is in the data set."""

    episodes: int
    steps: int


class EpisodeLog:
    """A data set that gets whole episodes. Each is on the disk before the next one begins; the
    folder is made with the first."""

    def __init__(self, path: Path, about: Card) -> None:
        files.check_new(path)
        self.path, self.about = path, about
        self.layout = layout_of(about.spec, {})
        self.writer: Writer | None = None
        self.ends = [0]  # the rows after each episode

    @property
    def kept(self) -> KeptSteps:
        return KeptSteps(len(self.ends) - 1, self.ends[-1])

    def keep(self, fields: Fields) -> None:
        """Adds the steps [rows] of one episode."""
        if self.writer is None:
            with created(self.path) as folder:
                card.write(folder, self.about)
                writer = Writer(folder, self.layout)
                self.append(writer, fields)
            writer.folder, self.writer = self.path, writer
        else:
            try:
                self.append(self.writer, fields)
            except OSError:  # as where the disk is full: nothing of the episode stays
                self.cut()
                raise
        self.ends.append(self.writer.rows)

    def append(self, writer: Writer, fields: Fields) -> None:
        before, rows = self.ends[-1], len(fields["reward"])
        writer.add(fields, np.array([rows - 1]), 0, np.array([before]), before + rows)

    def drop_last(self) -> None:
        """Removes the last episode."""
        self.ends.pop()
        self.cut()

    def cut(self) -> None:
        """Cuts the files after the episodes that are kept."""
        if self.ends[-1] == 0:
            files.discard(self.path)
            self.writer = None
        else:
            self.writer = Writer.reopened(self.path, self.layout, (0, 1), self.ends[-1])

    def finish(self) -> None:
        """Completes the card."""
        if self.writer is not None:
            card.write(self.path, replace(self.about, statistics=measured(opened(self.path))))


class Episode:
    """The steps of the episode that is played."""

    def __init__(self, obs: Any) -> None:
        self.obs = obs
        self.rows: list[tuple[Any, ...]] = []
        self.score = 0.0
        self.terminated = self.truncated = False

    @property
    def over(self) -> bool:
        return self.terminated or self.truncated

    def add(self, action: np.ndarray, result: tuple[Any, float, bool, bool]) -> None:
        """Adds a step, whose successor is the true one."""
        obs, reward, self.terminated, truncated = result
        self.truncated = truncated and not self.terminated
        row = self.obs, action, np.float32(reward), self.terminated, self.truncated, obs
        self.rows.append(row)
        self.obs, self.score = obs, self.score + reward

    def fields(self, cut: bool = False) -> Fields:
        """The steps as columns; of an episode that was left half-way, `cut` says that its last step
        is truncated."""
        stacked = jax.tree.map(lambda *x: np.stack(x), *self.rows)
        fields = dict(zip(FIELDS, stacked, strict=True))
        fields["truncated"] = fields["truncated"].copy()
        fields["truncated"][-1] |= cut and not fields["terminated"][-1]
        return fields


def about_person(spec: Spec, env: str, player: str, licence: str) -> Card:
    """The card of what a person played."""
    source = f"a person, {player}" if player else "a person"
    return Card(spec.obs, spec.action, source, env, licence, "data record --human")
