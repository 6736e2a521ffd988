"""When a policy exploits its reward: the reward rises while a held-out score of the same policies
falls (after Clark and Amodei, 2016; Ibarz et al., 2018, arXiv:1811.06521; Gao et al., 2022,
arXiv:2210.10760).

Scales of rewards differ, so no gap between them means anything: the alarm compares trends and
ranks. It cannot see what the held-out score does not see.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

WINDOW = 10  # evaluations in which trends are measured
RANKED = 20  # evaluations that are ranked; fewer say nothing of a correlation
SURE = 2.0  # standard errors, of each of two trends at once
RETURNS = "episode_return", "evaluation_return"  # in the log of a run: trained on, and evaluated
SCORES = "proxy_score", "held_out_score"  # of a learned reward, and by answers it does not know
HELD_OUT_LABELS = "held_out_labels"  # that the second score is learned from
RANKS_SURE = 3.0  # standard errors of a correlation: many windows of one run are looked at


class Watched:
    """The scores of a run's seeds as they are logged, and the first alarm of each seed. `names`
    are those of the two scores in the log: see `watched_names`."""

    def __init__(self, names: tuple[str, str] = RETURNS) -> None:
        self.names = names
        self.scores: list[list[tuple[float, float]]] = []  # of each seed
        self.warnings: dict[int, str] = {}  # by the number of the seed

    def add(self, point: Mapping[str, Any]) -> None:
        """Adds a log point, if it has both scores."""
        proxy, held_out = self.names
        if proxy not in point or held_out not in point:
            return
        pairs = list(zip(point[proxy], point[held_out], strict=True))
        known = point.get(HELD_OUT_LABELS, [1.0]) if self.names == SCORES else [1.0]
        if not all(known):  # a score that is learned from no answer says nothing
            return
        self.scores = self.scores or [[] for _ in pairs]
        for seed, (scores, pair) in enumerate(zip(self.scores, pairs, strict=True)):
            if None in pair or not all(map(math.isfinite, pair)):
                continue
            scores.append(pair)
            recent = np.array(scores[-max(WINDOW, RANKED) :], float).T
            if seed not in self.warnings and recent.shape[1] >= WINDOW:
                self.warn(seed, point["env_steps"], parted(recent[0], recent[1], WINDOW))

    def warn(self, seed: int, env_steps: int, reason: str) -> None:
        if reason:
            self.warnings[seed] = f"reward hacking? at {env_steps:,} steps {reason}"


def watched_names(config: Mapping[str, Any]) -> tuple[str, str] | None:
    """The names of the two scores by which a run is watched; None for a run that is not. A run is
    watched that is evaluated in another environment than the one it is trained in, or whose learned
    reward has answers held out."""
    if elsewhere(config):
        return RETURNS
    reward = config.get("reward")
    fields = reward.get("fields", {}) if isinstance(reward, Mapping) else {}
    return SCORES if isinstance(fields, Mapping) and fields.get("keep_out") else None


def elsewhere(config: Mapping[str, Any]) -> bool:
    """Whether a run is evaluated in another environment than the one it is trained in."""
    names = [
        str(env.get("name", "")) if isinstance(env, Mapping) else str(env or "")
        for env in (config.get("evaluate_env"), config.get("env"))
    ]
    return bool(config.get("evaluate_every") and names[0] and names[0] != names[1])


def in_log(points: Iterable[Mapping[str, Any]], config: Mapping[str, Any]) -> list[str]:
    """A warning for each seed whose scores have parted in a run's log."""
    if (names := watched_names(config)) is None:
        return []
    watched = Watched(names)
    for point in points:
        watched.add(point)
    first = int(config.get("seed", 0))
    return [f"seed {first + k}: {line}" for k, line in sorted(watched.warnings.items())]


class Alarm(NamedTuple):
    """The evaluation at which the reward and the held-out score part, and what shows it."""

    at: int
    why: str


def alarm(proxy: ArrayLike, held_out: ArrayLike, window: int = WINDOW) -> Alarm | None:
    """The first alarm over the evaluations of a run, in their order; None if there is none.

    `proxy` is the score that the policy is trained on, under a fixed scale, and `held_out` that of
    a score which is no part of training. Evaluations where one of them is not finite are left out.
    """
    both = np.stack([np.asarray(x, float) for x in (proxy, held_out)])
    places = np.flatnonzero(np.isfinite(both).all(0))
    both = both[:, places]
    for end in range(window, both.shape[1] + 1):
        if reason := parted(both[0, :end], both[1, :end], window):
            return Alarm(int(places[end - 1]), reason)
    return None


def parted(proxy: np.ndarray, held_out: np.ndarray, window: int) -> str:
    """What shows that both scores part at the last of these evaluations; empty if nothing does."""
    gain, loss = trend(proxy[-window:]), trend(held_out[-window:])
    if gain > SURE and loss < -SURE:
        return f"the reward rose and the held-out score fell over {window} evaluations"
    if len(proxy) >= RANKED:
        correlation = rank_correlation(proxy[-RANKED:], held_out[-RANKED:])
        if correlation < -RANKS_SURE / math.sqrt(RANKED - 1):
            return f"the ranks of {RANKED} evaluations by both correlate by {correlation:.2f}"
    return ""


def trend(values: np.ndarray) -> float:
    """The slope of a line through evenly spaced values, in its standard errors; 0 of a constant."""
    time = np.arange(len(values)) - (len(values) - 1) / 2
    centred = values - values.mean()
    coefficient = (time @ centred) / (time @ time)
    residual = centred - coefficient * time
    scale = float(np.abs(centred).max())
    if scale <= 1e-12 * max(1.0, float(np.abs(values).max())):
        return 0.0
    error = math.sqrt(float(residual @ residual) / (len(values) - 2) / float(time @ time))
    return float(coefficient) / max(error, 1e-9 * scale)


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's correlation; 0 where all values of one are equal."""
    one, two = (ranks(v) - (len(v) - 1) / 2 for v in (x, y))
    size = math.sqrt(float(one @ one) * float(two @ two))
    return float(one @ two) / size if size else 0.0


def ranks(values: np.ndarray) -> np.ndarray:
    """The ranks of values from 0 on; equal values share their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts + 1) / 2)[inverse]
