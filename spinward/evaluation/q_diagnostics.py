"""The state of a Q-learner at a log point, from the newest steps of its replay."""

import functools
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Context, Metrics, QLearner, TrainState, Transition, replace
from spinward.experience import stored
from spinward.experience.logged import LoggedSteps
from spinward.loop import Parts
from spinward.programs.seeds import compiled
from spinward.targets.diagnostics import bound, effective_rank, followed

SAMPLES = 256  # steps that are looked at
FEWEST = 16  # of them with a known return, or none is reported
HORIZON = 3.0  # rows searched for known returns, in units of 1 / (1 - gamma); e^-3 is 5 %
ROWS = (64, 2000)  # their least and their most
POINTS = 20  # of a run at which the network is looked at


def measure(
    parts: Parts, state: TrainState, running_max: dict[str, np.ndarray], network: bool = True
) -> dict[str, list[float | None]]:
    """The diagnostics of a Q-learner's run, besides its metrics; empty for other algorithms.

    `running_max` are the largest values [seed] of some metrics since the last log point. What needs
    the `network` is left out without. None where too few returns are known yet, or no reward came.
    """
    algorithm = parts.algorithm
    if "max_abs_q" not in running_max or not isinstance(algorithm, QLearner):
        return {}
    diagnostics = dict(running_max)
    limit = bound(diagnostics.pop("max_reward"), float(algorithm.gamma))
    diagnostics["q_bound"] = np.where(limit > 0, limit, np.nan)
    over = diagnostics["max_abs_q"] > limit
    diagnostics["soft_divergence"] = np.where(limit > 0, over, np.nan)
    if network and (ring := stored.ring(parts.source, state.source)) is not None:
        probed = jax.device_get(looked(parts, state, ring))
        diagnostics["effective_rank"] = effective_rank(probed.pop("features"))
        diagnostics |= probed
    return {name: in_json(values) for name, values in diagnostics.items()}


def in_json(values: np.ndarray) -> list[float | None]:
    return [float(x) if np.isfinite(x) else None for x in values]


def looked(parts: Parts, state: TrainState, ring: Any) -> Metrics:
    """The instruments that need the network, [seed] each; compiled once for all log points."""
    algorithm: Any = parts.algorithm
    shared = isinstance(parts.source, LoggedSteps)  # data, which all seeds learn from
    rows = int(np.clip(2 * HORIZON / max(1.0 - float(algorithm.gamma), 1e-3), *ROWS))
    rows = min(rows, ring.data.reward.shape[0 if shared else 1])
    stack = parts.source.layout.stack  # type: ignore[attr-defined]
    run = compiled(of_seeds(rows, stack, shared), 0)
    return run(algorithm, parts.reward, state.agent, state.reward, ring)


@functools.cache
def of_seeds(rows: int, stack: int, shared: bool) -> Callable[..., Metrics]:
    """`of_one` over seeds; the same function for the same sizes, so that it compiles once."""

    def run(algorithm: Any, reward: Any, *states: Any) -> Metrics:
        one = partial(of_one, rows, stack, algorithm, reward)
        return jax.vmap(one, (0, 0, None if shared else 0))(*states)

    return run


def of_one(
    rows: int, stack: int, algorithm: Any, reward: Any, agent: Any, reward_state: Any, ring: Any
) -> Metrics:
    number = ring.rows - rows + jnp.arange(rows)  # below 0 where the ring is empty
    envs = ring.data.reward.shape[1]
    env = jnp.broadcast_to(jnp.arange(envs), (rows, envs))
    steps = stored.steps_at(ring, jnp.broadcast_to(number[:, None], (rows, envs)), env, stack)
    steps = replace(steps, weight=jnp.where(number[:, None] >= 0, steps.weight, 0.0))
    _, steps, _ = reward.label(reward_state, steps, jax.random.PRNGKey(0), Context(replayed=True))
    returns, known = followed(steps, algorithm.gamma)
    count = known.sum()
    at = evenly(jnp.where(count >= FEWEST, known, steps.weight > 0).reshape(-1))
    batch: Transition = stored.steps_at(ring, number[at // envs], at % envs, stack)
    probed = algorithm.probe(agent, batch)
    excess = (probed.value - returns.reshape(-1)[at]).mean()
    return {
        "q_overestimation": jnp.where(count >= FEWEST, excess, jnp.nan),
        "target_lag": jnp.abs(probed.q - probed.lagged).mean(),
        "features": probed.features,
    }


def evenly(mask: Array) -> Array:
    """`SAMPLES` places where `mask` holds, evenly spread."""
    count = jnp.cumsum(mask)
    wanted = 1 + jnp.arange(SAMPLES) * jnp.maximum(count[-1], 1) // SAMPLES
    return jnp.minimum(jnp.searchsorted(count, wanted), mask.size - 1)
