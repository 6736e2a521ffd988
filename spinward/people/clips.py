"""The clips behind questions, and comparisons of them as predictors learn from them."""

import json
from typing import Any

import jax
import numpy as np

from spinward.people import pictures
from spinward.people.database import Database
from spinward.people.filming import Clip
from spinward.people.labels import Label, Labels
from spinward.people.schedule import stacked
from spinward.programs.seeds import compiled
from spinward.rewards.preferences import Comparisons, Preferences, PreferenceState


class LabelledClips:
    """The clips of a run, each read once."""

    def __init__(self, reward: Preferences, database: Database, labels: Labels) -> None:
        self.reward, self.database, self.labels = reward, database, labels
        self.clips: dict[int, Clip] = {}

    def comparisons(self, labels: list[Label], number: int) -> Comparisons:
        """The labelled clips, padded to the number of labels of the whole run, so that one
        compilation serves all fits."""
        pairs = []
        for label in labels:
            one, two = self.clip(label.first), self.clip(label.second)
            both = [(c.obs, c.action) for c in (one, two)]
            pairs.append(jax.tree.map(lambda *x: np.stack(x), *both))
        size = max(self.reward.labels, len(labels))
        obs, action = stacked(pairs, size)
        share, weight = np.zeros(size, np.float32), np.zeros(size, np.float32)
        share[: len(labels)] = [label.share for label in labels]
        weight[: len(labels)] = 1.0
        counts = np.zeros((self.reward.members, size), np.float32)
        for i, label in enumerate(labels):
            sampled = np.random.default_rng([number, label.question, label.first, label.second])
            counts[:, i] = sampled.poisson(1.0, self.reward.members)
        for each in counts:  # a member without any label would have nothing to learn from
            if not each.any():
                each[: len(labels)] = 1.0
        whole: Any = obs, action, share, weight, counts
        return Comparisons(*whole)

    def first(self, number: int) -> list[Clip]:
        """The clips of the first policy of a seed that questions were about, in their order."""
        rows = self.database.rows(
            "SELECT items FROM question WHERE seed = ? AND repeats IS NULL AND iteration = "
            "(SELECT min(iteration) FROM question WHERE seed = ?) ORDER BY id",
            *(number, number),
        )
        items = dict.fromkeys(item for row in rows for item in json.loads(row["items"]))
        return [self.clip(item) for item in items]

    def clip(self, item: int) -> Clip:
        if item not in self.clips:
            stored = self.labels.item(item)
            assert stored is not None
            self.clips[item] = pictures.unpack(stored.content)
        return self.clips[item]


def totals(reward: Preferences, state: PreferenceState, obs: Any, action: Any) -> Any:
    """The members' predictions [members, clip], summed over each clip [clip, steps, ...]."""
    return reward.each(state, obs, action).sum(-1)


def totals_of(reward: Preferences, state: PreferenceState, clips: list[Clip]) -> np.ndarray:
    """The same of clips of one length."""
    size = -(-len(clips) // 64) * 64  # few sizes, so few compilations
    obs, action = stacked([(c.obs, c.action) for c in clips], size)
    total = compiled(totals, 0)
    return np.asarray(total(reward, state, obs, action))[:, : len(clips)]
