"""A tiny film: `Clock`, seen as the newest three of its images, in JAX and on the host.

It is no test file; tests import it by name.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from twin import clock_ends

from spinward.core import Box, Discrete, Spec, Step, config, struct

STACK = 3
SPEC = Spec(Box((2, 2, STACK), 0, 255, "uint8"), Discrete(2))
FIRST = np.arange(40, 40 + 4 * STACK, dtype=np.uint8).reshape(2, 2, STACK)  # of every episode


def following(film, time, action, xp):
    """The images [..., 2, 2, 3] after a step: the newest has the time, the action, and what became
    of all pixels before."""
    time, action = xp.asarray(time), xp.asarray(action)
    trace = (film[..., 1, 1, -1] * 31 + 7 * action + time) % 251
    image = xp.stack([time, action, time * 0 + 9, trace], -1).astype(np.uint8)
    image = image.reshape(*image.shape[:-1], 2, 2, 1)
    return xp.concatenate([film[..., 1:], image], -1)


@struct
class FilmState:
    time: jax.Array
    film: jax.Array


@config
class Film:
    @property
    def spec(self):
        return SPEC

    def reset(self, key):
        return FilmState(jnp.int32(0), jnp.asarray(FIRST)), jnp.asarray(FIRST)

    def step(self, state, action, key):
        time = state.time + 1
        film = following(state.film.astype(jnp.int32), time, action, jnp).astype(jnp.uint8)
        return FilmState(time, film), film, time + 0.5 * action, *clock_ends(time, action)


@dataclasses.dataclass(frozen=True)
class HostFilm:
    broken: bool = False  # its images are no history

    @property
    def spec(self):
        return SPEC

    def open(self, envs):
        return FilmStepper(np.zeros(envs, np.int32), np.stack([FIRST] * envs), self.broken)


class FilmStepper:
    def __init__(self, time, film, broken):
        self.time, self.film, self.broken = time, film, broken

    def reset(self, seeds):
        self.time[:], self.film[:] = 0, FIRST
        return self.film.copy()

    def step(self, action):
        time = self.time + 1
        next_obs = following(self.film.astype(np.int32), time, action, np).astype(np.uint8)
        if self.broken:
            next_obs = next_obs[..., ::-1].copy()
        terminated, truncated = clock_ends(time, action)
        done = terminated | truncated
        self.time = np.where(done, 0, time)
        self.film = np.where(done[:, None, None, None], FIRST, next_obs)
        reward = (time + 0.5 * action).astype(np.float32)
        weight = np.ones(len(time), np.float32)
        return Step(self.film.copy(), reward, terminated, truncated, next_obs, weight)

    def close(self):
        pass
