"""Imports a table of decisions as a data set: all rows are looked at before any is written."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from spinward.core import Discrete, replace
from spinward.data import card, cells
from spinward.data.card import Card
from spinward.data.cells import CATEGORY, Input
from spinward.data.layout import layout_of
from spinward.data.plan import ImportOptions, Plan, check_range
from spinward.data.roles import ENDS
from spinward.data.scan import EpisodeCodes, times
from spinward.data.sequence import Sequence, in_order
from spinward.data.statistics import measured
from spinward.data.store import opened
from spinward.data.writer import Fields, Writer, created
from spinward.experience.episodes import PROBABILITY


def encode(plan: Plan, batch: Any, first: int, episodes: EpisodeCodes) -> Fields:
    """The rows of a table as numbers, each still by itself."""
    roles, count = plan.roles, batch.num_rows
    obs = np.concatenate([cells.features(batch.column(h.column), h) for h in plan.obs], 1)
    fields: Fields = {"obs": obs.astype(np.float32)}
    if roles.mask:
        mask = np.stack([cells.flags(batch.column(name))[0] for name in roles.mask], 1)
        fields["mask"] = mask
    if plan.next_obs:
        parts = [cells.features(batch.column(h.column), h) for h in plan.next_obs]
        fields["next_obs"] = np.concatenate(parts, 1).astype(np.float32)
    valid = np.isfinite(fields["obs"]).all(1)
    fields["action"], known = action(plan, batch, plan.action)
    reward = cells.numbers(batch.column(roles.reward))
    valid &= known & np.isfinite(reward)
    fields["reward"] = reward.astype(np.float32)
    for name in ENDS:
        column = getattr(roles, name)
        on = cells.flags(batch.column(column))[0] if column else np.zeros(count, bool)
        fields[name] = on
    if roles.action_prob:
        fields[PROBABILITY] = cells.numbers(batch.column(roles.action_prob)).astype(np.float32)
    if roles.next_action:
        how = plan.action[0]._replace(column=roles.next_action)
        fields["next_action"], _ = action(plan, batch, [how])
    code = np.zeros(count, np.int64)
    if roles.episode:
        code, _ = episodes.codes(batch.column(roles.episode))
    row = np.arange(first, first + count)
    time = times(batch.column(roles.time)) if roles.time else row.astype(np.float64)
    if "last-line" in plan.options.repair and plan.open_end:
        valid &= row + 1 != plan.scan.rows
    return fields | {"code": code, "time": time, "valid": valid, "row": row}


def action(plan: Plan, batch: Any, how: list[Input]) -> tuple[np.ndarray, np.ndarray]:
    """Actions as they are stored, and which are known."""
    space = plan.action_space
    if isinstance(space, Discrete):
        column = batch.column(how[0].column)
        if how[0].kind == CATEGORY:
            hot = cells.features(column, how[0])
            return hot.argmax(1).astype(np.int32), np.isfinite(hot).all(1)
        values = cells.numbers(column)
        known = np.isfinite(values)
        return np.where(known, values, 0).astype(np.int32), known
    values = np.concatenate([cells.features(batch.column(h.column), h) for h in how], 1)
    known = np.isfinite(values).all(1)
    low, high = np.asarray(space.low), np.asarray(space.high)
    half = np.where(high > low, (high - low) / 2, 1.0)
    return ((values - low) / half - 1.0).astype(np.float32), known


def import_table(path: Path, out: Path, options: ImportOptions) -> tuple[Plan, tuple[str, ...]]:
    """Writes a table as a data set, and returns what was understood and what was changed.

    Raises:
        SettingsError: a question is open, or a row is not as steps must be.
        DamagedFileError: the file cannot be read.
    """
    plan = Plan(path, options)
    plan.require()
    check_range(plan)
    with created(out) as folder, tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        ids = identifiers(plan)
        layout = layout_of(plan.spec, columns(plan), ids=ids[1])
        sequence = Sequence(plan, Writer(folder, layout), ids[0])
        card.write(folder, about(plan, ()))
        for fields in in_order(plan, rows(plan), Path(scratch)):
            sequence.add(fields)
        sequence.finish()
        table = opened(folder)
        card.write(folder, replace(about(plan, sequence.notes()), statistics=measured(table)))
    return plan, sequence.notes()


def rows(plan: Plan) -> Iterator[Fields]:
    first, episodes = 0, EpisodeCodes()
    for batch in plan.table.batches():
        yield encode(plan, batch, first, episodes)
        first += batch.num_rows


def identifiers(plan: Plan) -> tuple[np.ndarray | None, str]:
    """The names of episodes by number, and the type of the column with their names."""
    if not plan.roles.episode:
        return None, ""
    if not plan.scan.episodes.texts:
        return None, "int64"
    names = plan.scan.episodes.names()
    return names, names.dtype.str.lstrip("|")


def columns(plan: Plan) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The further columns of steps that a table gives."""
    extras: dict[str, tuple[str, tuple[int, ...]]] = {}
    if plan.roles.action_prob:
        extras[PROBABILITY] = ("float32", ())
    if plan.roles.time:
        extras["time"] = ("float64", ())
    if plan.roles.next_action:
        kind = "int32" if plan.discrete else "float32"
        extras["next_action"] = (kind, plan.action_space.shape)
    return extras


def about(plan: Plan, notes: Any) -> Card:
    """The card of an imported table."""
    names = plan.action[0].values if plan.discrete else ()
    spec, options = plan.spec, plan.options
    origin = str(plan.path), options.env, options.licence, "data import"
    filled = {how.column: how.fill for how in plan.obs if how.fill is not None}
    return Card(spec.obs, spec.action, *origin, plan.features(), names, tuple(notes), filled)
