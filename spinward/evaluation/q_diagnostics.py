"""The state of a Q-learner at a log point, from the newest steps of its replay."""

import functools
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Metrics, Replayed, TrainState, Transition, replace
from spinward.experience import stored
from spinward.loop import Parts
from spinward.program import compiled
from spinward.targets.diagnostics import PEAK, bound, effective_rank, followed

SAMPLES = 256  # steps that are looked at
FEWEST = 16  # of them with a known return, or none is reported
HORIZON = 3.0  # rows searched for known returns, in units of 1 / (1 - gamma); e^-3 is 5 %
ROWS = (64, 2000)  # their least and their most
POINTS = 20  # of a run at which the network is looked at


def measure(
    parts: Parts, state: TrainState, metrics: Metrics, network: bool = True
) -> dict[str, list[float | None]]:
    """What a Q-learner's run reports beside its own metrics [seed, iteration]; nothing for others.

    Peaks are of the whole interval; what needs the `network` is left out without. None where too
    few returns are known yet, or no reward came.
    """
    if "max_abs_q" not in metrics:
        return {}
    names = [name for name in metrics if name.startswith(PEAK)]
    found = {name: np.asarray(metrics[name], float).max(1) for name in names}
    limit = bound(found.pop("max_reward"), float(getattr(parts.algorithm, "gamma", 0.0)))
    found["q_bound"] = np.where(limit > 0, limit, np.nan)
    over = found["max_abs_q"] > limit
    found["soft_divergence"] = np.where(limit > 0, over, np.nan)
    if network and hasattr(parts.algorithm, "look") and isinstance(parts.source, Replayed):
        seen = jax.device_get(looked(parts, state))
        found["effective_rank"] = effective_rank(seen.pop("features"))
        found |= seen
    return {name: in_json(values) for name, values in found.items()}


def in_json(values: np.ndarray) -> list[float | None]:
    return [float(x) if np.isfinite(x) else None for x in values]


def looked(parts: Parts, state: TrainState) -> Metrics:
    """The instruments that need the network, [seed] each; compiled once for all log points."""
    replay: Any = parts.source
    gamma = float(getattr(parts.algorithm, "gamma", 0.0))
    rows = int(np.clip(2 * HORIZON / max(1.0 - gamma, 1e-3), *ROWS))
    rows = min(rows, stored.capacity(state.source))
    run = compiled(of_seeds(rows, getattr(replay, "stack", 1)), 0)
    ring = replace(state.source, source=())
    return run(parts.algorithm, parts.reward, state.agent, state.reward, ring)


@functools.cache
def of_seeds(rows: int, stack: int) -> Callable[..., Metrics]:
    """`of_one` over seeds; the same function for the same sizes, so that it compiles once."""

    def run(algorithm: Any, reward: Any, *states: Any) -> Metrics:
        return jax.vmap(partial(of_one, rows, stack, algorithm, reward))(*states)

    return run


def of_one(
    rows: int, stack: int, algorithm: Any, reward: Any, agent: Any, judge: Any, ring: Any
) -> Metrics:
    number = ring.rows - rows + jnp.arange(rows)  # below 0 where nothing was written yet
    envs = ring.data.reward.shape[1]
    env = jnp.broadcast_to(jnp.arange(envs), (rows, envs))
    steps = stored.steps_at(ring, jnp.broadcast_to(number[:, None], (rows, envs)), env, stack)
    steps = replace(steps, weight=jnp.where(number[:, None] >= 0, steps.weight, 0.0))
    _, steps, _ = reward.label(judge, steps, jax.random.PRNGKey(0))
    returns, known = followed(steps, algorithm.gamma)
    count = known.sum()
    at = evenly(jnp.where(count >= FEWEST, known, steps.weight > 0).reshape(-1))
    batch: Transition = stored.steps_at(ring, number[at // envs], at % envs, stack)
    look = algorithm.look(agent, batch)
    excess = (look.value - returns.reshape(-1)[at]).mean()
    return {
        "q_overestimation": jnp.where(count >= FEWEST, excess, jnp.nan),
        "target_lag": jnp.abs(look.q - look.lagged).mean(),
        "features": look.features,
    }


def evenly(mask: Array) -> Array:
    """`SAMPLES` places where `mask` holds, evenly spread among them."""
    count = jnp.cumsum(mask)
    wanted = 1 + jnp.arange(SAMPLES) * jnp.maximum(count[-1], 1) // SAMPLES
    return jnp.minimum(jnp.searchsorted(count, wanted), mask.size - 1)
