"""Finite decision processes as environments, so that learning can be compared with exact values."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Box, Discrete, Key, Spec, config, struct
from spinward.targets.dynamic_programming import MDP

NAMES = {
    "Finite-Chain": "chain",
    "Finite-Grid": "grid",
    "Finite-Garnet": "garnet",
}


@struct
class State:
    at: Array  # which of the states
    time: Array  # steps since the reset


@config
class Finite:
    """Walks through `mdp`, and sees which state it is in: a vector that is 1 there and 0 elsewhere.

    The reward is the expected one of the state and action.
    """

    mdp: Any  # an MDP
    limit: int = 100  # steps after which an episode is truncated

    @property
    def spec(self) -> Spec:
        states, actions = self.mdp.reward.shape
        return Spec(Box((states,), 0.0, 1.0), Discrete(actions))

    def obs(self, at: Array) -> Array:
        return jax.nn.one_hot(at, self.mdp.reward.shape[0])

    def reset(self, key: Key) -> tuple[State, Array]:
        at = jax.random.categorical(key, jnp.log(self.mdp.start))
        return State(at, jnp.int32(0)), self.obs(at)

    def step(
        self, state: State, action: Array, key: Key
    ) -> tuple[State, Array, Array, Array, Array]:
        reward = self.mdp.reward[state.at, action]
        at = jax.random.categorical(key, jnp.log(self.mdp.transition[state.at, action]))
        time = state.time + 1
        terminated = self.mdp.terminal[at]
        truncated = (time >= self.limit) & ~terminated
        return State(at, time), self.obs(at), reward, terminated, truncated


def mdp_of(transition: Any, reward: Any, start: Any, terminal: Any) -> MDP:
    """An MDP of these arrays, whose terminal states lead to themselves and earn nothing."""
    over = np.asarray(terminal, bool)
    stay = np.eye(len(over), dtype=np.float32)[:, None]
    moves = np.where(over[:, None, None], stay, np.asarray(transition, np.float32))
    earned = np.where(over[:, None], np.float32(0), np.asarray(reward, np.float32))
    first = np.asarray(start, np.float32)
    return MDP(*map(jnp.asarray, (moves, earned, first, over)))


def chain(states: int = 10, slip: float = 0.1) -> Finite:
    """Left or right along a row, and the other way by `slip`; 1 for reaching its right end."""
    moves, reward = np.zeros((states, 2, states)), np.zeros((states, 2))
    for at in range(states):
        for action, way in enumerate((-1, 1)):
            for chance, step in ((1 - slip, way), (slip, -way)):
                to = min(max(at + step, 0), states - 1)
                moves[at, action, to] += chance
                reward[at, action] += chance * (to == states - 1)
    return Finite(mdp_of(moves, reward, np.eye(states)[0], np.arange(states) == states - 1))


def grid(side: int = 6, slip: float = 0.2) -> Finite:
    """Up, right, down or left on a square; any of them by `slip`. It costs 1 for each step until
    the corner opposite to the first is reached."""
    states = side * side
    moves = np.zeros((states, 4, states))
    for at in range(states):
        row, column = divmod(at, side)
        to = []
        for down, right in ((-1, 0), (0, 1), (1, 0), (0, -1)):
            r, c = (min(max(x, 0), side - 1) for x in (row + down, column + right))
            to.append(r * side + c)
        for action in range(4):
            moves[at, action, to[action]] += 1 - slip
            for other in to:
                moves[at, action, other] += slip / 4
    reward = -np.ones((states, 4))
    return Finite(mdp_of(moves, reward, np.eye(states)[0], np.arange(states) == states - 1))


def garnet(states: int = 20, actions: int = 4, branches: int = 3, seed: int = 0) -> Finite:
    """A random process without end (Archibald, McKinnon and Thomas, 1995): each action leads to one
    of so many `branches`, and rewards are uniform in [0, 1)."""
    random = np.random.default_rng(seed)
    moves = np.zeros((states, actions, states))
    for at, action in np.ndindex(states, actions):
        to = random.choice(states, branches, replace=False)
        moves[at, action, to] = random.dirichlet(np.ones(branches))
    reward = random.random((states, actions))
    start = np.full(states, 1 / states)
    return Finite(mdp_of(moves, reward, start, np.zeros(states, bool)))
