"""What a critic that learns from logged data alone thinks of fixed steps: of steps that it learns
from, and of steps of episodes that are held out.

The metrics of a run are means over the batches that it happens to draw, and their noise hides a
slow fall of the values. Here the steps are the same at each look. `evaluation/diagnosis.py` reads
the curves (Kumar et al., 2021, arXiv:2109.10813).
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import (
    Context,
    Discrete,
    Likelihood,
    Metrics,
    Obs,
    QLearner,
    TrainState,
    Transition,
    replace,
    struct,
)
from spinward.evaluation.target_policy import acted, likelihood
from spinward.experience import stored
from spinward.experience.logged import LoggedSteps
from spinward.experience.streamed import StreamedSteps
from spinward.loop import Parts
from spinward.losses.offline import conservative, conservative_sampled, uniform_log_density
from spinward.networks.distributions import pick
from spinward.programs.seeds import compiled
from spinward.targets.diagnostics import FORBIDDEN, followed

ROWS = 4096  # steps of each kind that are looked at
BYTES = 2**26  # of their observations at most
FEW = 512  # of them, where several actions of each state are valued
ACTIONS = 10  # in each such state
POINTS = 100  # of a run at which they are looked at
PREFIX, HELD = "probe_", "probe_held_"  # of the metrics: of what is learned from, and held out


@struct
class Fixed:
    """The steps that are looked at."""

    training: Transition  # [row]
    held_out: Any  # the same of other episodes, or ()
    start: Obs  # [row] first observations of episodes


class OfflineProbes:
    """The instrument of one run on logged data; for other runs it measures nothing."""

    def __init__(self, parts: Parts, state: TrainState):
        self.fixed: Fixed | None = None
        self.facts: dict[str, float] = {}
        algorithm = parts.algorithm
        logged = isinstance(parts.source, LoggedSteps | StreamedSteps)
        if logged and isinstance(algorithm, QLearner):
            self.fixed = fixed(parts.source)
            first = jax.tree.map(lambda x: np.asarray(x)[0], state.reward)
            steps, gamma = every_step(parts.source), float(algorithm.gamma)
            known = compiled(returns, 0)(parts.reward, first, steps, gamma)
            self.facts = facts(*map(np.asarray, known))

    def measure(self, parts: Parts, state: TrainState) -> dict[str, list[float | None]]:
        """The metrics [seed] of the present agents, and the same facts on the data each time."""
        if self.fixed is None:
            return {}
        discrete = isinstance(parts.source.spec.action, Discrete)
        run = compiled(of_seeds(discrete, isinstance(parts.algorithm, Likelihood)), 1)
        metrics = run(parts.algorithm, parts.reward, state.agent, state.reward, self.fixed)
        metrics = {name: np.asarray(x, np.float64) for name, x in jax.device_get(metrics).items()}
        seeds = len(metrics[f"{PREFIX}q_data"])
        constant = {f"{PREFIX}{name}": np.full(seeds, x) for name, x in self.facts.items()}
        return {
            name: [float(x) if np.isfinite(x) else None for x in values]
            for name, values in (metrics | constant).items()
        }


def every_step(source: Any) -> Transition:
    """All steps [rows, 1] of logged data, or some from all parts of data on the disk; only their
    rewards and ends are used."""
    return source.ring.data if isinstance(source, LoggedSteps) else source.pieces()


def returns(
    reward: Any, rewarding: Any, steps: Transition, gamma: Array
) -> tuple[Array, Array, Array]:
    """The rewards of steps [rows, 1], the returns that followed, and whether those are known."""
    _, steps, _ = reward.label(rewarding, steps, jax.random.PRNGKey(0), Context(replayed=True))
    return steps.reward, *followed(steps, gamma)


def facts(reward: np.ndarray, returns: np.ndarray, known: np.ndarray) -> dict[str, float]:
    """What is known of the data: its rewards, and the returns that followed its steps."""
    metrics = {"reward_min": float(reward.min()), "reward_max": float(reward.max())}
    returns = returns[known]
    if len(returns):
        metrics |= {
            "return_mean": float(returns.mean()),
            "return_std": float(returns.std()),
            "return_max": float(returns.max()),
        }
    return metrics


def fixed(source: Any) -> Fixed:
    """The steps to look at, evenly spread over the data."""
    if isinstance(source, StreamedSteps):
        rows = spread(source.reader.rows, source.spec)
        steps = jax.tree.map(jnp.asarray, source.reader.steps(rows, ()))
        return Fixed(steps, (), steps.obs)
    training = looked_at(source.ring, source)
    done = np.asarray(source.ring.data.done)[:, 0]
    begins = np.flatnonzero(np.concatenate([[True], done[:-1]]))
    start = at(source.ring, begins[spread(len(begins), source.spec)], source.layout.stack)
    held = () if isinstance(source.held_out, tuple) else looked_at(source.held_out, source)
    return Fixed(training, held, start.obs)


def looked_at(ring: Any, source: LoggedSteps) -> Transition:
    return at(ring, spread(ring.data.reward.shape[0], source.spec), source.layout.stack)


def at(ring: Any, rows: np.ndarray, stack: int) -> Transition:
    run = compiled(stored.steps_at, 0, ("stack",))
    steps: Transition = run(ring, rows, np.zeros_like(rows), stack=stack)
    return replace(steps, extras={})


def spread(count: int, spec: Any) -> np.ndarray:
    """Numbers below `count`, evenly spaced, as many as are looked at."""
    size = sum(4 * x.size for x in jax.tree.leaves(spec.zeros(1)))
    rows = min(count, ROWS, max(FEW, BYTES // max(size, 1)))
    return (np.arange(rows) * count // rows).astype(np.int32)


@cache
def of_seeds(discrete: bool, likely: bool) -> Callable[..., Metrics]:
    """`of_one` over seeds; the same function for the same kind, so that it compiles once."""

    def one(algorithm: Any, reward: Any, agent: Any, rewarding: Any, fixed: Fixed) -> Metrics:
        metrics: Metrics = {}
        for prefix, steps in ((PREFIX, fixed.training), (HELD, fixed.held_out)):
            if isinstance(steps, tuple):
                continue
            _, steps, _ = reward.label(
                rewarding, steps, jax.random.PRNGKey(0), Context(replayed=True)
            )
            each = of_steps(algorithm, agent, steps, discrete, likely)
            metrics |= {f"{prefix}{name}": x for name, x in each.items()}
        metrics[f"{PREFIX}q_start"] = valued(algorithm, agent, fixed.training, fixed.start)
        return metrics

    return jax.vmap(one, (None, None, 0, 0, None))


def greedy(algorithm: Any, agent: Any, obs: Obs) -> Array:
    return acted(algorithm, agent, obs, jax.random.PRNGKey(0), 1, False)[:, 0]


def valued(algorithm: Any, agent: Any, like: Transition, obs: Obs) -> Array:
    """The mean value of what the policy does at `obs` [row]."""
    count = jax.tree.leaves(obs)[0].shape[0]
    steps = jax.tree.map(lambda x: jnp.broadcast_to(x[:1], (count, *x.shape[1:])), like)
    steps = replace(steps, obs=obs, action=greedy(algorithm, agent, obs))
    return algorithm.probe(agent, steps).mean.mean()  # type: ignore[no-any-return]


def of_steps(
    algorithm: Any, agent: Any, steps: Transition, discrete: bool, likely: bool
) -> Metrics:
    """The metrics of steps [row]."""
    action, after = (greedy(algorithm, agent, obs) for obs in (steps.obs, steps.next_obs))
    data = algorithm.probe(agent, steps)
    policy = algorithm.probe(agent, replace(steps, action=action))
    successor = algorithm.probe(agent, replace(steps, obs=steps.next_obs, action=after))
    lagged = pick(successor.lagged, after) if discrete else successor.lagged[:, 0]
    target = steps.reward + algorithm.gamma * (1.0 - steps.terminated) * lagged
    distance = (action != steps.action) if discrete else jnp.abs(action - steps.action)
    allowed = jnp.maximum(jnp.abs(data.value), jnp.abs(lagged)) < FORBIDDEN  # by the policy
    mean = partial(jnp.mean, where=allowed)
    if discrete:
        gap = mean(conservative(data.q, steps.action))
    else:
        gap = sampled_gap(algorithm, agent, steps)
    metrics = {
        "q_data": mean(data.mean),
        "q_policy": policy.mean.mean(),
        "q_min": data.mean.min(where=allowed, initial=jnp.inf),
        "q_max": data.mean.max(where=allowed, initial=-jnp.inf),
        "td_error": mean(jnp.square(target - data.mean)),
        "target_variance": target.var(where=allowed),
        "gap": gap,
        "action_distance": distance.mean(),
        "feature_norm": jnp.linalg.norm(data.features, axis=-1).mean(),
        "feature_dot": (data.features * successor.features).sum(-1).mean(),
    }
    if likely:
        metrics["log_prob"] = likelihood(algorithm, agent, steps.obs, steps.action).mean()
    return metrics


def sampled_gap(algorithm: Any, agent: Any, steps: Transition) -> Array:
    """log of the integral of exp Q over continuous actions, by uniform ones, less the value of the
    logged one: how far the values of other actions are above the data's."""
    few = jax.tree.map(lambda x: x[:: max(1, len(x) // FEW)][:FEW], steps)
    shape = ACTIONS, *few.action.shape
    actions = jax.random.uniform(jax.random.PRNGKey(1), shape, minval=-1.0, maxval=1.0)
    q = jax.vmap(lambda a: algorithm.probe(agent, replace(few, action=a)).mean)(actions)
    density = jnp.float32(uniform_log_density(few.action[0].size))
    own = algorithm.probe(agent, few).mean
    return conservative_sampled(q, density, own).mean() - jnp.log(float(ACTIONS))
