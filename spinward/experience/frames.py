"""Stores each image once, where an observation is a stack of the newest `stack` images.

Each env has a ring of images. A step adds the newest image of its true successor. The first step of
an episode first adds all images of its observation. So the images of a step are consecutive, and
the images of its successor are the same ones, shifted by one.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Transition, replace, struct
from spinward.errors import SettingsError

SLACK = 16  # room for the first images of episodes: one image more for each 16 steps


@struct
class Frames:
    ring: Array  # [slots, env, height, width, channels]
    count: Array  # [env] images ever added; the next goes to `count % slots`
    begins: Array  # [env] whether the next step is the first of an episode

    @classmethod
    def init(cls, obs: Array, capacity: int, stack: int, steps: int) -> "Frames":
        """For observations like `obs` [time, env, height, width, stack * channels]."""
        _, envs, height, width, channels = obs.shape
        shape = (slots(capacity, stack, steps), envs, height, width, channels // stack)
        return cls(jnp.zeros(shape, obs.dtype), jnp.zeros(envs, jnp.int32), jnp.ones(envs, bool))

    def add(self, batch: Transition, stack: int) -> tuple["Frames", Array]:
        """The ring with the images of `batch` [time, env], and the number [time, env] of the newest
        image of each step's observation."""
        time, envs = batch.done.shape
        over = batch.done | (batch.weight == 0.0)  # a lost environment starts a new episode
        begins = jnp.concatenate([self.begins[None], over[:-1]])
        added = 1 + stack * begins
        newest = self.count + jnp.cumsum(added, 0) - 2
        images = jnp.concatenate([split(batch.obs, stack), split(batch.next_obs, stack)[-1:]])
        number = newest + jnp.arange(1 - stack, 2)[:, None, None]  # [stack + 1, time, env]
        new = jnp.concatenate(
            [jnp.broadcast_to(begins, (stack, time, envs)), jnp.ones((1, time, envs), bool)]
        )
        size = self.ring.shape[0]
        slot = jnp.where(new, number % size, size)
        ring = self.ring.at[slot, jnp.arange(envs)].set(images, mode="drop")
        return Frames(ring, self.count + added.sum(0), over[-1]), newest

    def stacked(self, newest: Array, env: Array, stack: int) -> tuple[Array, Array]:
        """The observation and its successor of steps [...] of `env` [...]."""
        number = newest[..., None] + jnp.arange(1 - stack, 2)
        images = self.ring[number % self.ring.shape[0], env[..., None]]
        return join(images[..., :-1, :, :, :]), join(images[..., 1:, :, :, :])

    def alive(self, newest: Array, env: Array, stack: int, steps: int) -> Array:
        """Whether the images of steps [...] are still stored after `steps` more are added."""
        oldest = self.count[env] + steps * (stack + 1) - self.ring.shape[0]
        return newest - (stack - 1) >= oldest


def slots(capacity: int, stack: int, steps: int) -> int:
    """How many images are kept for each env, for `capacity` steps, `steps` of them added at
    once."""
    return capacity + capacity // SLACK + (steps + 1) * (stack + 1)


def split(obs: Array, stack: int) -> Array:
    """[..., height, width, stack * channels] to [stack, ..., height, width, channels]."""
    return jnp.moveaxis(obs.reshape(*obs.shape[:-1], stack, -1), -2, 0)


def join(images: Array) -> Array:
    """[..., stack, height, width, channels] to [..., height, width, stack * channels]."""
    images = jnp.moveaxis(images, -4, -2)
    return images.reshape(*images.shape[:-2], -1)


def require_history(batch: Transition, stack: int) -> None:
    """Raises SettingsError unless each observation has all but the oldest image of the one before.

    `batch` comes from a host: NumPy arrays [..., time, env, ...].
    """
    obs, next_obs = np.asarray(batch.obs), np.asarray(batch.next_obs)
    one = obs.shape[-1] // stack
    if not np.array_equal(obs[..., one:], next_obs[..., :-one]):
        raise SettingsError(
            f"stack={stack} stores the newest of {stack} images alone, but the last axis of these "
            "observations is not a history of images: leave stack at 1, or have them stacked with "
            f"--env.stack {stack}"
        )


def without_images(batch: Transition, newest: Array) -> Transition:
    nothing: Any = ()
    return replace(batch, obs=newest, next_obs=nothing)
