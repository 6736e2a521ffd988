"""What the steps of a data set are like: counts, returns and moments, in one pass."""

from collections.abc import Callable
from typing import Any

import numpy as np

from spinward.core import Discrete
from spinward.data.checks import named
from spinward.data.layout import FLAGS
from spinward.data.parts import CUT
from spinward.data.store import Store
from spinward.data.writer import Fields

SHOWN = 1024  # entries of an observation whose moments are kept one by one
BINS = 20


class ColumnMoments:
    """The mean, variance and extremes of the finite entries of a column (Chan et al., 1979)."""

    def __init__(self) -> None:
        self.count: Any = 0
        self.mean: Any = 0.0
        self.squares: Any = 0.0
        self.low: Any = np.inf
        self.high: Any = -np.inf
        self.bad: Any = 0  # entries that are not finite
        self.first_bad = -1  # the first row with one

    def add(self, first: int, values: np.ndarray) -> None:
        """Adds rows [rows, ...], the first of which has the number `first`."""
        x = values.reshape(len(values), -1).astype(np.float64)
        x = x if x.shape[1] <= SHOWN else x.reshape(-1, 1)  # of images all entries together
        finite = np.isfinite(x)
        if not finite.all() and self.first_bad < 0:
            self.first_bad = first + int((~finite.all(1)).argmax()) * len(values) // len(x)
        count = finite.sum(0)
        y = np.where(finite, x, 0.0)
        mean = y.sum(0) / np.maximum(count, 1)
        squares = (np.where(finite, x - mean, 0.0) ** 2).sum(0)
        total = self.count + count
        difference = mean - self.mean
        self.squares += squares + difference**2 * self.count * count / np.maximum(total, 1)
        self.mean += difference * count / np.maximum(total, 1)
        self.low = np.minimum(self.low, np.where(finite, x, np.inf).min(0))
        self.high = np.maximum(self.high, np.where(finite, x, -np.inf).max(0))
        self.count, self.bad = total, self.bad + (len(x) - count)

    @property
    def std(self) -> np.ndarray:
        return np.sqrt(self.squares / np.maximum(self.count, 1))

    def to_json(self) -> dict[str, Any]:
        """A list with an entry for each entry of the column."""
        known = {"mean": self.mean, "std": self.std, "min": self.low, "max": self.high}
        return {k: np.where(self.count > 0, v, 0.0).tolist() for k, v in known.items()}


class Pass:
    """What one pass over a data set finds."""

    def __init__(self, store: Store, also: Callable[[int, Fields], None] = lambda *_: None):
        """Looks at all steps; `also` is called with them too."""
        self.store = store
        self.begins = store.begins()
        self.returns = np.zeros(len(self.begins))
        self.whole = np.ones(len(self.begins), bool)  # whether an episode was not cut
        self.flags = dict.fromkeys((*FLAGS, CUT), 0)
        self.both = 0
        self.moments: dict[str, ColumnMoments] = {}
        discrete = store.card.action if isinstance(store.card.action, Discrete) else None
        self.actions = np.zeros(discrete.n if discrete else 0, np.int64)
        self.outside = 0  # actions that the space does not have
        self.spread: Any = 0  # of a continuous action [entries, bins]
        for first, fields in store.blocks():
            self.add(first, fields)
            also(first, fields)

    def add(self, first: int, fields: Fields) -> None:
        rows = np.arange(first, first + len(fields["reward"]))
        episode = np.searchsorted(self.begins, rows, "right") - 1
        reward = fields["reward"].astype(np.float64)
        reward[~np.isfinite(reward)] = 0.0
        low = episode[0]
        self.returns[low : episode[-1] + 1] += np.bincount(episode - low, reward)
        self.whole[episode[fields[CUT]]] = False
        for name in self.flags:
            self.flags[name] += int(fields[name].sum())
        self.flags["truncated"] -= int(fields[CUT].sum())
        self.both += int((fields["terminated"] & fields["truncated"]).sum())
        if len(self.actions):
            known = (fields["action"] >= 0) & (fields["action"] < len(self.actions))
            self.actions += np.bincount(fields["action"][known], minlength=len(self.actions))
            self.outside += int((~known).sum())
        elif fields["action"].dtype.kind == "f":
            self.spread = self.spread + spread(fields["action"])
        for name, values in named(fields):
            if not name.startswith("next_obs") and name not in self.flags:
                self.moments.setdefault(name, ColumnMoments()).add(first, values)


def spread(action: np.ndarray) -> np.ndarray:
    """How many actions [rows, ...] are in each of equal parts of [-1, 1]: [entries, bins]. Those
    outside count at the ends."""
    x = np.clip(np.nan_to_num(action.reshape(len(action), -1)), -1.0, 1.0)
    place = np.clip(((x + 1.0) * (BINS / 2)).astype(np.int64), 0, BINS - 1)
    flat = np.bincount((place + np.arange(x.shape[1]) * BINS).ravel(), minlength=x.shape[1] * BINS)
    return flat.reshape(-1, BINS)


def measured(store: Store) -> dict[str, Any]:
    """The statistics that a card holds."""
    return summary(Pass(store))


def summary(one_pass: Pass) -> dict[str, Any]:
    store, whole = one_pass.store, one_pass.whole
    lengths = np.diff(one_pass.begins, append=store.rows)
    discrete = len(one_pass.actions) > 0
    actions = (
        {"counts": one_pass.actions.tolist()}
        if discrete
        else {"spread": np.asarray(one_pass.spread).tolist()}
    )
    return {
        "rows": store.rows,
        "episodes": len(one_pass.begins),
        "whole_episodes": int(whole.sum()),
        "ends": one_pass.flags,
        "returns": distribution(one_pass.returns[whole]),
        "lengths": distribution(lengths[whole]),
        "columns": {name: m.to_json() for name, m in one_pass.moments.items()},
        "actions": actions,
    }


def distribution(values: np.ndarray) -> dict[str, Any]:
    """The quartiles, the moments and a histogram of one number for each episode."""
    if len(values) == 0:
        return {"count": 0}
    few = values.dtype.kind in "iu" and np.ptp(values) < BINS  # whole numbers: a bin for each
    bins: Any = np.arange(values.min(), values.max() + 2) - 0.5 if few else BINS
    counts, edges = np.histogram(values.astype(np.float64), bins)
    quartiles = np.quantile(values, (0.0, 0.25, 0.5, 0.75, 1.0))
    return {
        "count": len(values),
        "mean": float(values.mean()),
        "std": float(values.std()),
        "quartiles": quartiles.tolist(),
        "histogram": {"counts": counts.tolist(), "edges": edges.tolist()},
    }
