"""Copies episodes of data sets into new ones: parts to train on and to validate with, mixtures."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from spinward.core import replace
from spinward.data import card
from spinward.data.card import Card
from spinward.data.checks import check_fit
from spinward.data.layout import IDS, STEP, Layout, layout_of
from spinward.data.parts import BLOCK, CUT
from spinward.data.statistics import Pass, measured
from spinward.data.store import Store, opened
from spinward.data.writer import Writer, created
from spinward.errors import SettingsError


class Filter(NamedTuple):
    """Which episodes are taken."""

    low: float = -np.inf  # least return
    high: float = np.inf  # greatest return
    best: float = 1.0  # share of the episodes, of those with the highest returns
    shortest: int = 1  # steps

    def check(self) -> None:
        if not 0.0 < self.best <= 1.0:
            raise SettingsError(f"best={self.best} must be above 0 and at most 1")


def lengths(store: Store) -> np.ndarray:
    """The steps of each episode."""
    return np.diff(store.begins(), append=store.rows)


def filtered(store: Store, which: Filter) -> np.ndarray:
    """The numbers of the episodes that a filter takes, in their order."""
    length = lengths(store)
    kept = length >= which.shortest
    if which._replace(shortest=1) == Filter():
        return np.flatnonzero(kept)
    one_pass = Pass(store)
    kept &= (one_pass.returns >= which.low) & (one_pass.returns <= which.high) & one_pass.whole
    if which.best < 1.0:
        order = np.argsort(np.where(kept, one_pass.returns, -np.inf))[::-1]
        kept[order[max(1, round(which.best * kept.sum())) :]] = False
    return np.flatnonzero(kept)


def copy(store: Store, episodes: np.ndarray, writer: Writer, first: int = 0) -> int:
    """Appends these episodes, which get the numbers from `first` on; returns the next number."""
    begins, length = store.begins(), lengths(store)
    ids = store.ids() if any(c.name == IDS for c in writer.layout.columns) else None
    for group in groups(length[episodes], store):
        part = episodes[group]
        sizes = length[part]
        last = np.cumsum(sizes) - 1
        start = np.concatenate([[0], last[:-1] + 1])
        rows = np.repeat(begins[part] - start, sizes) + np.arange(sizes.sum())
        fields = store.at(rows)
        fields["truncated"] &= ~fields.pop(CUT)
        number = first + np.arange(len(part))
        names = None if ids is None else ids[part]
        writer.add(fields, last, number, np.zeros(len(part)), ids=names)
        first += len(part)
    return first


def groups(sizes: np.ndarray, store: Store) -> Iterator[slice]:
    """Consecutive episodes that fit into a block of memory; at least one at a time."""
    per_row = max(1, store.nbytes * store.layout.stack // store.rows)
    filled = np.cumsum(sizes) * per_row // BLOCK
    ends = np.flatnonzero(np.diff(filled, append=-1)) + 1
    start = 0
    for end in ends.tolist():
        yield slice(start, end)
        start = end


def split(path: Path, out: Path, share: float, seed: int) -> dict[str, int]:
    """Writes OUT/train and OUT/validation, which has this share of the episodes; the steps of
    each.

    Raises:
        SettingsError: a part would be empty.
    """
    store = opened(path)
    count = len(store.begins())
    held = round(share * count)
    if not 0 < held < count:
        raise SettingsError(f"validation={share} of {count} episodes leaves a part without any")
    order = np.random.default_rng(seed).permutation(count)
    parts = {"validation": np.sort(order[:held]), "train": np.sort(order[held:])}
    rows = {}
    with created(out) as folder:
        for name, episodes in parts.items():
            (folder / name).mkdir()
            writer = Writer(folder / name, store.layout)
            copy(store, episodes, writer)
            made = f"data split: {name}, {len(episodes):,} of {count:,} episodes, seed {seed}"
            finish(folder / name, store.card, made)
            rows[name] = writer.rows
    return rows


def finish(folder: Path, about: Card, made: str) -> None:
    """Writes the card of a data set whose steps are complete."""
    card.write(folder, replace(about, made=made, statistics={}))
    card.write(folder, replace(about, made=made, statistics=measured(opened(folder))))


def mix(
    paths: list[Path],
    out: Path,
    weights: list[float],
    rows: int,
    which: Filter,
    seed: int,
    repeat: bool = False,
) -> list[int]:
    """Writes episodes of several data sets as one, and returns the steps from each. With `weights`,
    whole episodes are drawn until each has its share of the steps: of `rows`, or of as many as the
    sets have. With `repeat` no set is the limit: episodes of those with too few are there again.

    Raises:
        SettingsError: the sets do not fit each other, or have too few steps.
    """
    which.check()
    stores = [opened(path) for path in paths]
    for one in stores[1:]:
        check_fit(one.path, one.card, stores[0].card.spec, str(paths[0]))
    episodes = [filtered(store, which) for store in stores]
    if weights or rows:
        shares = weights or [1.0] * len(paths)
        episodes = resampled(stores, episodes, shares, rows, seed, repeat)
    if not sum(map(len, episodes)):
        raise SettingsError(f"no episode of {', '.join(map(str, paths))} is left")
    counts, number = [], 0
    with created(out) as folder:
        writer = Writer(folder, common(stores))
        for store, some in zip(stores, episodes, strict=True):
            before = writer.rows
            number = copy(store, some, writer, number)
            counts.append(writer.rows - before)
        parts = zip(paths, counts, strict=True)
        made = "data mix: " + ", ".join(f"{path} {n / writer.rows:.3f}" for path, n in parts)
        source = "; ".join(dict.fromkeys(s.card.source for s in stores))
        finish(folder, replace(stores[0].card, source=source), made)
    return counts


def common(stores: list[Store]) -> Layout:
    """The columns that all data sets have."""
    layouts = [store.layout for store in stores]
    if any(layout.stack != layouts[0].stack for layout in layouts):
        raise SettingsError("stacks of images have different sizes in these data sets")
    shared = set.intersection(*({(c.name, c.dtype, c.shape) for c in x.columns} for x in layouts))
    columns = [c for c in layouts[0].columns if c.per == STEP]
    base = {c.name for c in layout_of(stores[0].card.spec, {}, layouts[0].stack).columns}
    extras: dict[str, Any] = {
        c.name: (c.dtype, c.shape)
        for c in columns
        if c.name not in base and (c.name, c.dtype, c.shape) in shared
    }
    return layout_of(stores[0].card.spec, extras, layouts[0].stack)


def resampled(
    stores: list[Store],
    episodes: list[np.ndarray],
    weights: list[float],
    rows: int,
    seed: int,
    repeat: bool = False,
) -> list[np.ndarray]:
    """Episodes drawn at random, so that each data set has its share of the steps. With `repeat`,
    all of them come before any comes again."""
    fine = np.isfinite(weights).all() and min(weights) >= 0 and sum(weights) > 0
    if len(weights) != len(stores) or not fine:
        raise SettingsError(f"weights={weights}: expected {len(stores)} numbers, none below 0")
    shares = np.array(weights) / sum(weights)
    sizes = [lengths(store)[some] for store, some in zip(stores, episodes, strict=True)]
    each = [s.sum() / w for s, w in zip(sizes, shares, strict=True) if w > 0]
    asked_for = zip(stores, episodes, shares, strict=True)
    if none := [store.path for store, some, w in asked_for if w > 0 and not len(some)]:
        raise SettingsError(f"{none[0]}: no episode is left of those that were asked for")
    most = max(each) if repeat else min(each)
    if rows > most and not repeat:
        raise SettingsError(f"rows={rows}: with these weights there are {int(most):,} at most")
    rng, parts = np.random.default_rng(seed), []
    for some, size, share in zip(episodes, sizes, shares, strict=True):
        wanted = share * (rows or most)
        times = int(np.ceil(wanted / size.sum())) if repeat and share > 0 else 1
        order = np.concatenate([rng.permutation(len(some)) for _ in range(max(times, 1))])
        before = np.cumsum(size[order]) - size[order]
        parts.append(np.sort(some[order[before < wanted - 1e-6]]))
    return parts
