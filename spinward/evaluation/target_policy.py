"""What a trained policy does in logged states: the probabilities of its choices, or some of its
actions and their densities."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Algorithm, Discrete, Key, Likelihood, Obs, Spec, Transition
from spinward.errors import SettingsError
from spinward.networks.noise import Noise
from spinward.programs.seeds import compiled

ROWS = 4096  # states that are evaluated at once
SAMPLES = 8  # actions of a policy with chance, in each state


class Target(NamedTuple):
    """A policy to evaluate."""

    algorithm: Algorithm
    agent: Any  # of one seed
    spec: Spec
    explore: bool = False  # as in training, with the policy's own chance
    epsilon: float = 0.0  # share of random actions besides, where there is a choice

    @property
    def certain(self) -> bool:
        """Whether a continuous action has no density."""
        return not self.explore and not isinstance(self.spec.action, Discrete)

    def check(self) -> None:
        """Raises SettingsError where the policy has no probabilities, or needs what came before."""
        name = type(self.algorithm).__name__
        if self.explore and not isinstance(self.algorithm, Likelihood):
            raise SettingsError(
                f"{name} gives no probabilities of its actions: leave out --explore"
                + (
                    ", and name a share of random actions with --epsilon"
                    if self.epsilon == 0
                    else ""
                )
            )
        if self.epsilon and not isinstance(self.spec.action, Discrete):
            raise SettingsError(f"epsilon={self.epsilon} is for one discrete action")
        if not 0.0 <= self.epsilon < 1.0:
            raise SettingsError(f"epsilon={self.epsilon} must be at least 0 and below 1")
        shapes = jax.eval_shape(lambda a: self.algorithm.memory(a, 1), self.agent)
        parts = jax.tree.leaves(shapes, is_leaf=lambda x: isinstance(x, Noise))
        if not all(isinstance(part, Noise) for part in parts):
            raise SettingsError(
                f"{name} has a memory: single logged states do not tell what it does"
            )

    def does(self, obs: Obs, seed: int = 0) -> np.ndarray:
        """The probabilities [row, actions] of its choices, or its actions [row, samples, ...]."""
        if isinstance(self.spec.action, Discrete):
            run = compiled(choices if self.explore else choice, 0, ("count",))
            count = self.spec.action.n
            probs = in_parts(
                lambda o, _: run(self.algorithm, self.agent, o, count=count), obs, seed
            )
            return np.asarray((1.0 - self.epsilon) * probs + self.epsilon / count)
        run = compiled(acted, 0, ("samples", "explore"))
        more = {"samples": SAMPLES if self.explore else 1, "explore": self.explore}
        return in_parts(lambda o, k: run(self.algorithm, self.agent, o, k, **more), obs, seed)

    def log_prob(self, steps: Transition) -> np.ndarray:
        """The log-probabilities [row] of the logged actions, or their log-densities."""
        if isinstance(self.spec.action, Discrete):
            rows = np.arange(len(steps.reward))
            with np.errstate(divide="ignore"):
                return np.log(self.does(steps.obs)[rows, np.asarray(steps.action)])
        run = compiled(likelihood, 0)
        logged = (steps.obs, steps.action)
        return in_parts(lambda x, _: run(self.algorithm, self.agent, *x), logged, 0)


def in_parts(function: Callable[[Any, Key], Array], rows: Any, seed: int) -> np.ndarray:
    """`function(part, key)` of `rows` [row, ...], a part after another; all parts have one size."""
    count = len(jax.tree.leaves(rows)[0])
    pieces = []
    for start in range(0, count, ROWS):
        at = np.minimum(np.arange(start, start + ROWS), count - 1)
        part = jax.tree.map(lambda x, at=at: jnp.asarray(np.asarray(x)[at]), rows)
        pieces.append(np.asarray(function(part, jax.random.PRNGKey(seed + start))))
    return np.concatenate(pieces)[:count]


def choice(algorithm: Any, agent: Any, obs: Obs, count: int) -> Array:
    """Probability 1 for the greedy choice."""
    action = acted(algorithm, agent, obs, jax.random.PRNGKey(0), 1, False)[:, 0]
    return jax.nn.one_hot(action, count)


def choices(algorithm: Any, agent: Any, obs: Obs, count: int) -> Array:
    """The probabilities [row, count] of a policy's choices."""
    one = lambda action: likelihood(algorithm, agent, obs, action)  # noqa: E731
    rows = jax.tree.leaves(obs)[0].shape[0]
    logs = [one(jnp.full(rows, action, jnp.int32)) for action in range(count)]
    return jax.nn.softmax(jnp.stack(logs, -1))


def acted(algorithm: Any, agent: Any, obs: Obs, key: Key, samples: int, explore: bool) -> Array:
    """Actions [row, samples, ...] of a policy."""
    memory = algorithm.memory(agent, jax.tree.leaves(obs)[0].shape[0])
    act = lambda k: algorithm.act(agent, obs, memory, k, explore)[0]  # noqa: E731
    return jax.vmap(act, out_axes=1)(jax.random.split(key, samples))


def likelihood(algorithm: Any, agent: Any, obs: Obs, action: Array) -> Array:
    """The policy's log-probabilities [row] of actions."""
    rows = action.shape[0]
    nothing, no = jnp.zeros((1, rows)), jnp.zeros((1, rows), bool)
    obs, action = jax.tree.map(lambda x: x[None], (obs, action))
    batch = Transition(obs, action, nothing, no, no, obs, nothing + 1.0, {})
    return algorithm.log_prob(agent, batch)[0]  # type: ignore[no-any-return]
