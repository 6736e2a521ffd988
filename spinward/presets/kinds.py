"""Kinds of tasks, by which presets are chosen: observations, actions, and where steps are taken."""

from typing import Any, NamedTuple

from spinward.core import Box, HostEnv, Hybrid
from spinward.envs import ids
from spinward.envs.limits import limit_of
from spinward.spaces import Dict, Spec

VECTOR, TABLE, PARTS, TEXT = "vector", "table", "parts", "text"
SMALL_IMAGE, IMAGE, ATARI = "small image", "image", "Atari"
IMAGES = SMALL_IMAGE, IMAGE, ATARI
NO_IMAGES = VECTOR, TABLE, PARTS
DISCRETE, CONTINUOUS = "discrete", "continuous"
JAX, HOST = "JAX", "host"
SMALL = 36  # rows of pixels: an image with fewer keeps its size in the first convolution


class Task(NamedTuple):
    """What a preset may depend on."""

    name: str  # of the environment, without the library that it is from
    obs: str  # vector, table, parts, text, small image, image or Atari
    action: str  # discrete or continuous
    where: str  # JAX or host
    limit: int = 0  # steps after which an episode is truncated; 0: never, or nobody knows


def task_of(name: str, env: Any = None) -> Task:
    """The kind of the environment called `name`, which is made unless it is given.

    Raises:
        SettingsError: there is no such environment.
    """
    env = ids.make(name) if env is None else env
    action = CONTINUOUS if isinstance(env.spec.action, Box | Hybrid) else DISCRETE
    where = HOST if is_host(env) else JAX
    return Task(bare(name), seen(name, env.spec), action, where, limit_of(env))


def is_host(env: Any) -> bool:
    return isinstance(env, HostEnv)


def bare(name: str) -> str:
    """A task's name without its library's: `gymnasium:Pendulum-v1` is the task `Pendulum-v1`."""
    prefix, _, rest = name.partition(":")
    return rest if prefix in ids.PREFIXES else name


def seen(name: str, spec: Spec) -> str:
    """The kind of the observations."""
    if isinstance(spec.obs, Dict):
        return PARTS
    shape, whole = spec.obs.shape, spec.obs.dtype == "int32"
    if len(shape) == 3:
        if shape[0] < SMALL:
            return SMALL_IMAGE
        stacked = bare(name).startswith("ALE/") or name.startswith("envpool:")
        return ATARI if stacked and shape == (84, 84, 4) else IMAGE
    if whole and shape == ():
        return TEXT
    return TABLE if whole and shape == (1,) else VECTOR
