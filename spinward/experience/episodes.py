"""The episodes of logged steps: their numbers, the best of them, and some that are held out."""

import jax
import numpy as np

from spinward.core import Transition, replace
from spinward.errors import SettingsError

# In extras of logged steps.
CUT = "cut"  # the last step before the recording was cut, where no episode ended
PROBABILITY = "action_prob"  # of the action, by the policy that took it; a density if continuous
TIME = "time"  # steps before this one in its episode
TO_GO = "to_go"  # the rewards from this step to the end of the episode
FEWEST = 20  # episodes of which some can be held out


def episodes(steps: Transition) -> np.ndarray:
    """The number [rows] of the episode of each step."""
    done = np.asarray(steps.done)
    return np.concatenate([[0], np.cumsum(done)[:-1]])


def rows_of(steps: Transition, kept: np.ndarray) -> Transition:
    """The steps of some rows."""
    names = ("obs", "action", "reward", "terminated", "truncated", "next_obs", "weight")
    fields = {name: getattr(steps, name) for name in names} | {"extras": steps.extras}
    # The parts of a dict observation each by itself.
    return replace(steps, **jax.tree.map(lambda x: np.asarray(x)[kept], fields))


def best_episodes(steps: Transition, share: float) -> Transition:
    """The steps of the episodes with the highest returns, in their order: whole episodes, until
    they are at least this share of all steps (Chen et al., 2021, arXiv:2106.01345).

    An episode that the recording cut has no return, and is left out where `share` is below 1.

    Raises:
        SettingsError: no episode is whole.
    """
    if share >= 1.0:
        return steps
    number = episodes(steps)
    returns = np.bincount(number, np.asarray(steps.reward, np.float64))
    lengths = np.bincount(number)
    cut = steps.extras.get(CUT)
    whole = np.ones(len(returns), bool)
    if cut is not None:
        whole[number[np.asarray(cut)]] = False
    if not whole.any():
        raise SettingsError(
            f"a share of {share:g} of the best episodes: no episode of these {len(number):,} "
            "steps is whole"
        )
    order = np.flatnonzero(whole)[np.argsort(-returns[whole], kind="stable")]
    enough = int(np.searchsorted(np.cumsum(lengths[order]), share * len(number) - 1e-6)) + 1
    return rows_of(steps, np.isin(number, order[:enough]))


def divided(steps: Transition, share: float) -> tuple[Transition, Transition | None]:
    """Steps to learn from, and the steps of episodes that are held out: about a `share` of the
    episodes, at least one, the same ones whatever the seed. None are held out of fewer than
    `FEWEST` episodes."""
    number = episodes(steps)
    count = int(number[-1]) + 1
    if share <= 0.0 or count < FEWEST:
        return steps, None
    order = np.random.default_rng(0).permutation(count)
    held = np.isin(number, order[: max(1, round(share * count))])
    return rows_of(steps, ~held), rows_of(steps, held)


def with_returns(steps: Transition, gamma: float) -> Transition:
    """The steps of whole episodes with two more columns: `TIME`, the steps before each in its
    episode, and `TO_GO`, the discounted rewards from it on. Episodes that the recording cut have
    no returns, and are left out.

    Raises:
        SettingsError: no episode is whole.
    """
    number = episodes(steps)
    cut = np.asarray(steps.extras.get(CUT, np.zeros(len(number), bool))).copy()
    cut[-1] |= not np.asarray(steps.done)[-1]
    kept = ~np.isin(number, number[cut])
    if not kept.any():
        raise SettingsError(f"returns: no episode of these {len(number):,} steps is whole")
    steps = steps if kept.all() else rows_of(steps, kept)
    number = episodes(steps)
    starts = np.flatnonzero(np.diff(number, prepend=-1))
    time = np.arange(len(number)) - np.repeat(starts, np.diff(starts, append=len(number)))
    reward, done = np.asarray(steps.reward, np.float64), np.asarray(steps.done)
    to_go, later = np.zeros(len(number)), 0.0
    for at in range(len(number) - 1, -1, -1):
        later = reward[at] + (0.0 if done[at] else gamma * later)
        to_go[at] = later
    columns = {TIME: time.astype(np.int32), TO_GO: to_go.astype(np.float32)}
    return replace(steps, extras={**steps.extras, **columns})
