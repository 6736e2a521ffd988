"""The return of a run's policy, estimated from logged steps alone."""

from pathlib import Path
from typing import Any

import jax

from spinward.core import Discounts
from spinward.data import store
from spinward.data.sharing import shared_episodes
from spinward.data.steps import open_data
from spinward.errors import SettingsError
from spinward.evaluation import off_policy
from spinward.evaluation.off_policy import EvaluationOptions
from spinward.evaluation.target_policy import Target
from spinward.run.run import Run

MOST_SHARED = 0.5  # share of the episodes that the run may have learned from


def require_held_out(run: Run, data: Path) -> None:
    """Raises SettingsError for data that the run learned from: by them, a policy that was fitted
    too closely looks good."""
    learned = Path(run.made.experiment.data.path or "-")
    if not (learned.is_dir() and store.stores_below(learned) and store.stores_below(data)):
        return
    share = shared_episodes(store.opened(data), store.opened(learned))
    if share > MOST_SHARED:
        raise SettingsError(
            f"{data}: the run learned from {share:.0%} of its episodes; a gate needs data that "
            "were held out (`spinward data split` makes them)"
        )


def evaluate_offline(
    run: Run,
    data: Path,
    agent: int = 0,
    explore: bool = False,
    epsilon: float = 0.0,
    gamma: float | None = None,
    checkpoint: str | int = "last",
    **options: Any,
) -> dict[str, Any]:
    """The estimates for one of the run's seeds, with intervals and a verdict in words.

    Without `explore` the policy is the greedy one; `epsilon` is the share of random actions that it
    would take besides. Without `gamma` the discount is the run's own, or 0.99. `options` are
    further fields of `evaluation.off_policy.EvaluationOptions`.

    Raises:
        SettingsError: the policy or the data cannot be used.
    """
    made = run.made
    seeds = made.experiment.seeds
    if not 0 <= agent < seeds:
        raise SettingsError(f"agent={agent}: this run has the seeds 0 to {seeds - 1}")
    own = made.algorithm.gamma if isinstance(made.algorithm, Discounts) else 0.99
    selected = EvaluationOptions(gamma=float(own if gamma is None else gamma), **options)
    if not 0.0 <= selected.gamma <= 1.0:
        raise SettingsError(f"gamma={selected.gamma} must be between 0 and 1")
    if not selected.clip > 0.0 or selected.updates < 1:
        raise SettingsError(f"clip={selected.clip} must be above 0, updates={selected.updates} 1")
    opened = open_data(data, made.spec, memory_gib=float("inf"))
    if opened.stack > 1:
        raise SettingsError(f"{data}: policies on stacks of images cannot be evaluated on data")
    steps = opened.steps
    trained = jax.tree.map(lambda x: x[agent], run.agents(checkpoint).agent)
    target = Target(made.algorithm, trained, made.spec, explore, epsilon)
    return off_policy.evaluate(target, steps, selected)
