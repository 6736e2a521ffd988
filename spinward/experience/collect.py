"""The source that fits an environment: on device, on a host, or logged."""

from collections.abc import Callable
from functools import partial
from typing import Any

from spinward.core import HostEnv, Source, replace
from spinward.envs.text import Text
from spinward.experience.dataset import Dataset
from spinward.experience.generation import Generation
from spinward.experience.rollout import Rollout
from spinward.experience.texts import Texts
from spinward.experience.vector import Vector


def collector(env: Any) -> Callable[[int, int], Source]:
    """What makes a source of so many envs and steps, or of a data set's batches and updates."""
    if isinstance(env, Dataset):
        return lambda batch, updates: Dataset(env.data, env.spec, updates, batch)
    if isinstance(env, Texts):
        return lambda batch, updates: replace(env, batch=batch, updates=updates)
    if isinstance(env, Text):
        return partial(Generation, env)
    return partial(Vector if isinstance(env, HostEnv) else Rollout, env)
