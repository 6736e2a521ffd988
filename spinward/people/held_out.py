"""A second predictor, which learns from answers that the reward never learns from, and scores the
policy besides: an exploited reward rises while this score falls.

Both scores are of new clips of the policy, in standard deviations of the first policy's clips, so
that no drift of a scale looks like a trend.
"""

import numpy as np

from spinward.people.clips import totals_of
from spinward.people.filming import Clip
from spinward.people.labels import Label
from spinward.rewards.preferences import Preferences, PreferenceState

LEAST_STD = 1e-4  # of the first policy's clips


def split(reward: Preferences, labels: list[Label], number: int) -> tuple[list[Label], list[Label]]:
    """The labels that the reward of a seed learns from, and those that are kept out: one in
    `keep_out`, and always the same."""
    if not reward.keep_out:
        return labels, []
    held = [
        np.random.default_rng([number, x.question, 1]).integers(reward.keep_out) == 0
        for x in labels
    ]
    pairs = list(zip(labels, held, strict=True))
    return [x for x, out in pairs if not out], [x for x, out in pairs if out]


def score(
    reward: Preferences, state: PreferenceState, clips: list[Clip], first: list[Clip]
) -> float:
    """The mean of a predictor's scores of clips, in standard deviations of those of the `first`
    policy's clips: of each member by itself, so that none counts for more."""
    both = totals_of(reward, state, [*first, *clips])
    known, new = both[:, : len(first)], both[:, len(first) :]
    std = np.maximum(known.std(1), LEAST_STD)
    return float(((new.mean(1) - known.mean(1)) / std).mean())
