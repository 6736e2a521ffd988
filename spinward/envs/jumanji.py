"""Environments of Jumanji (Bonnet and others, 2024, arXiv:2306.09884) as JAX environments of ours.

Where a mask says which joint choices are legal, as in Tetris, an action is one choice among all of
them. The reward of several agents is their sum.
"""

import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import MASK, Box, Dict, Discrete, Key, MultiDiscrete, Obs, Spec, config
from spinward.envs.encoding import IMAGE, VECTOR
from spinward.envs.foreign import making
from spinward.errors import SettingsError
from spinward.spaces import ActionSpace

MOST = 256  # choices that are seen as a vector with one 1; more are a number


class SeenPart(NamedTuple):
    """A part of an observation."""

    path: tuple[str, ...]
    box: Box  # as an agent sees it
    choices: int  # of which one is seen as a vector with one 1; 0 where it is no choice


class Made(NamedTuple):
    """An environment of Jumanji, and how its observations and actions are read."""

    env: Any
    parts: dict[str, SeenPart]
    action: ActionSpace
    joint: tuple[int, ...]  # sizes of choices that an action joins
    dtype: Any  # of an action


@config
class Jumanji:
    """The environment that Jumanji calls `id`."""

    id: str  # the environment's name in Jumanji
    kwargs: tuple[tuple[str, object], ...] = ()  # of the environment, as pairs
    matrices: str = VECTOR  # how observations with two axes are read: vector or image

    @property
    def made(self) -> Made:
        if self.matrices not in (VECTOR, IMAGE):
            raise SettingsError(f"matrices={self.matrices!r} must be {VECTOR} or {IMAGE}")
        return made(self.id, self.kwargs, self.matrices)

    @property
    def spec(self) -> Spec:
        obs = Dict(tuple((name, part.box) for name, part in self.made.parts.items()))
        return Spec(obs, self.made.action)

    def reset(self, key: Key) -> tuple[Any, Obs]:
        state, step = self.made.env.reset(key)
        return state, self.seen(step.observation)

    def step(self, state: Any, action: Array, key: Key) -> tuple[Any, Obs, Array, Array, Array]:
        if self.made.joint:
            action = jnp.stack(jnp.unravel_index(action, self.made.joint), -1)
        state, step = self.made.env.step(state, action.astype(self.made.dtype))
        dead = jnp.all(step.discount == 0.0)  # of all agents
        reward = jnp.sum(jnp.asarray(step.reward, jnp.float32))
        return state, self.seen(step.observation), reward, step.last() & dead, step.last() & ~dead

    def seen(self, obs: Any) -> Obs:
        return {name: read(part, obs) for name, part in self.made.parts.items()}


def read(part: SeenPart, obs: Any) -> Array:
    """A part of an observation as an agent sees it."""
    for name in part.path:
        obs = getattr(obs, name)
    if part.choices:
        return jax.nn.one_hot(obs, part.choices)
    return jnp.asarray(obs, part.box.dtype).reshape(part.box.shape)


@functools.lru_cache(maxsize=64)
def made(name: str, kwargs: tuple[tuple[str, object], ...], matrices: str) -> Made:
    """Jumanji's environment.

    Raises:
        SettingsError: Jumanji is missing, does not know the id or a setting, or the actions of the
            environment are of another kind.
    """
    with making("jumanji") as jumanji:
        try:
            env = jumanji.make(name, **dict(kwargs))
        except Exception as error:  # some fetch levels when they are made
            line = (str(error).strip().splitlines() or [""])[0]
            raise SettingsError(f"Jumanji does not make {name!r}: {line:.200}") from error
        ends = leaves(env.observation_spec, ())
        parts = {".".join(path) or "obs": part_of(path, end, matrices) for path, end in ends}
        masked = dict(leaves(env.observation_spec, ())).get((MASK,))
        sizes = sizes_of(env.action_spec)
        joint = sizes if masked is not None and len(sizes) > 1 and masked.shape == sizes else ()
        action = Discrete(math.prod(joint)) if joint else space_of(name, env.action_spec, sizes)
        return Made(env, parts, action, joint, env.action_spec.dtype)


def leaves(spec: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The parts of an observation that have no parts, with their paths."""
    from jumanji.specs import Spec as Theirs

    inner = {name: part for name, part in vars(spec).items() if isinstance(part, Theirs)}
    if not inner:
        yield path, spec
    for name, part in inner.items():
        yield from leaves(part, (*path, name))


def part_of(path: tuple[str, ...], leaf: Any, matrices: str) -> SeenPart:
    """How a part of an observation is seen."""
    if path == (MASK,):
        return SeenPart(path, Box((math.prod(leaf.shape),), 0.0, 1.0, "uint8"), 0)
    if sizes_of(leaf) and leaf.shape == () and sizes_of(leaf)[0] <= MOST:
        (choices,) = sizes_of(leaf)
        return SeenPart(path, Box((choices,), 0.0, 1.0), choices)
    axes, shape = len(leaf.shape), tuple(leaf.shape)
    if axes == 2 and matrices == IMAGE:
        shape = (*shape, 1)
    elif axes not in (0, 3):
        shape = (math.prod(shape),)
    return SeenPart(path, Box(shape, *limits(leaf)), 0)


def limits(leaf: Any) -> list[Any]:
    """The lower and the upper bounds of an array, where it has some."""
    bounds = []
    for side, none in (("minimum", -math.inf), ("maximum", math.inf)):
        bound = np.broadcast_to(np.asarray(vars(leaf).get(f"_{side}", none), float), leaf.shape)
        flat = bound.reshape(-1).tolist()
        bounds.append(flat[0] if len(set(flat)) == 1 else tuple(flat))
    return bounds


def sizes_of(leaf: Any) -> tuple[int, ...]:
    """The sizes of choices that are counted from 0; empty where it has none."""
    kind = type(leaf).__name__
    if kind in ("DiscreteArray", "MultiDiscreteArray"):
        return tuple(int(n) for n in np.reshape(leaf.num_values, -1))
    whole = (
        kind == "BoundedArray" and np.issubdtype(leaf.dtype, np.integer) and len(leaf.shape) == 1
    )
    if not whole or np.any(leaf.minimum):
        return ()
    return tuple(int(n) + 1 for n in np.broadcast_to(leaf.maximum, leaf.shape))


def space_of(name: str, action: Any, sizes: tuple[int, ...]) -> ActionSpace:
    """The space of actions that join no choices."""
    if sizes:
        return Discrete(*sizes) if action.shape == () else MultiDiscrete(sizes)
    if np.issubdtype(action.dtype, np.floating):
        return Box(tuple(action.shape), *limits(action))
    raise SettingsError(f"the actions of Jumanji's {name}, {action}, are not supported")
