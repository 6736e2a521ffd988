"""Labels from demonstrations: a clip of a demonstration is preferred to a clip of the first policy
(Ibarz et al., 2018, arXiv:1811.06521, section 2.2).

Departs from the paper: the weight of these labels falls over the run, so that a policy that becomes
better than the demonstrator is not held back.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from spinward.core import Spec
from spinward.data import store
from spinward.data.checks import check_fit, check_values
from spinward.data.parts import CUT
from spinward.errors import SettingsError
from spinward.people.filming import Clip, cut
from spinward.people.schedule import stacked
from spinward.rewards.preferences import Comparisons, Preferences


class DemoClips(NamedTuple):
    """The clips of the demonstrations, each within one episode."""

    clips: list[Clip]
    room: int  # labels that there is room for, so that one compilation serves all fits

    def added(self, data: Comparisons, first: list[Clip], weight: float, seed: int) -> Comparisons:
        """`data` with a label for each of the `first` clips: one of the demonstrations is better.
        These labels are in every member's training set, and measure nothing."""
        first = first[: self.room]
        chance = np.random.default_rng([seed, len(self.clips)])
        better = [self.clips[i] for i in chance.integers(len(self.clips), size=len(first))]
        pairs = [
            jax.tree.map(lambda *x: np.stack(x), (a.obs, a.action), (b.obs, b.action))
            for a, b in zip(better, first, strict=True)
        ]
        obs, action = stacked(pairs, self.room)
        share = np.ones(self.room, np.float32)
        weights = np.where(np.arange(self.room) < len(first), weight, 0.0).astype(np.float32)
        counts = np.broadcast_to(weights > 0.0, (len(data.counts), self.room))
        more: Any = obs, action, share, weights, counts.astype(np.float32)
        *parts, known = zip(data, more, strict=True)
        joined = [jax.tree.map(lambda a, b: np.concatenate([a, b]), *pair) for pair in parts]
        whole: Any = [*joined, np.concatenate(known, 1)]
        return Comparisons(*whole)


def weight(reward: Preferences, progress: float) -> float:
    """The weight of a label from a demonstration, at a share of the run."""
    return float(reward.demo_weight * 0.5 ** (progress / max(reward.demo_halving_share, 1e-9)))


def opened_clips(reward: Preferences, spec: Spec, env: str = "the environment") -> DemoClips:
    """The clips of a reward's demonstrations, of as many steps as those of the policy.

    Raises:
        SettingsError: there are none, or they do not fit the environment.
    """
    data = store.opened(Path(reward.demos))
    check_fit(data.path, data.card, spec, env)
    steps = data.at(np.arange(data.rows))
    check_values(data.path, data.card, 0, steps)
    done = steps["terminated"] | steps["truncated"] | steps[CUT]
    whole = Clip(steps["obs"], steps["action"], steps["reward"])
    piece = jax.tree.map(lambda x: x[:, None], whole)
    clips = cut(piece, done[:, None], reward.segment)
    if not clips:
        raise SettingsError(
            f"{reward.demos}: no episode has segment={reward.segment} steps; set a shorter "
            "--reward.segment, or record longer demonstrations"
        )
    return DemoClips(clips, 2 * max(1, round(reward.initial_share * reward.labels)))
