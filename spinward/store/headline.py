"""The metric of a log that measures a run's success, and its label for people."""

from collections.abc import Iterable
from typing import Any, NamedTuple


class Headline(NamedTuple):
    metric: str  # its name in the log
    label: str  # for people

    @property
    def last(self) -> bool:
        """Whether the last value counts, and not those of the last tenth of a run."""
        return self.metric.startswith("held_out_")


RETURN = Headline("episode_return", "episode return")
EVALUATION = Headline("evaluation_return", "return of evaluations")
REWARD = Headline("score", "reward")  # of completions, whose task has no score of its own
LOSS = Headline("loss", "loss")
OF_PAIRS = (
    Headline("held_out_accuracy", "held-out preference accuracy"),
    Headline("accuracy", "preference accuracy"),
)
OF_TEXTS = (
    Headline("held_out_nll", "held-out loss per token"),
    Headline("nll", "negative log-likelihood"),  # also of logged actions
)


def headline(env: str, names: Iterable[str]) -> Headline:
    """The headline of a run, from its environment's name and the names of its metrics."""
    known = set(names)
    if env == "text" and REWARD.metric in known:
        return REWARD
    if RETURN.metric in known or not known:
        return RETURN
    paired = {"pair_loss", "preference_loss"} & known
    return next((h for h in (OF_PAIRS if paired else OF_TEXTS) if h.metric in known), LOSS)


def of_points(env: str, points: Iterable[dict[str, Any]]) -> Headline:
    """The headline of a run with these log points; some points may lack some metrics."""
    return headline(env, {name for point in points for name in point})
