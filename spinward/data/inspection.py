"""Looks at a whole data set, and says what should be known before it is learned from."""

from typing import Any

import numpy as np

from spinward.core import Box, Discrete
from spinward.data.checks import PROBABILITY, named
from spinward.data.statistics import Pass, summary
from spinward.data.store import Store
from spinward.data.writer import Fields

RARE = 0.01  # share of the steps below which an action is called rare
EXAMPLES = 5  # rows of duplicates that are named


class Hashes:
    """A number of 64 bits for each step, by which equal steps are found: 8 bytes a row."""

    def __init__(self, rows: int):
        self.values = np.zeros(rows, np.uint64)

    def add(self, first: int, fields: Fields) -> None:
        codes = of_steps(fields)
        self.values[first : first + len(codes)] = codes

    def repeated(self, store: Store) -> tuple[int, list[int]]:
        """How many steps are equal to an earlier one, and the rows of a few."""
        self.values.sort()
        same = self.values[1:] == self.values[:-1]
        count, some = int(same.sum()), self.values[1:][np.flatnonzero(same)[:EXAMPLES]]
        rows: dict[int, list[int]] = {int(value): [] for value in some}
        for first, fields in store.blocks() if count else ():
            codes = of_steps(fields)
            for row in np.flatnonzero(np.isin(codes, some)).tolist():
                rows[int(codes[row])].append(first + row)
            if all(len(places) > 1 for places in rows.values()):
                break
        return count, sorted(places[1] for places in rows.values() if len(places) > 1)


def of_steps(fields: Fields) -> np.ndarray:
    """A number [rows] for each step."""
    total = np.zeros(len(fields["reward"]), np.uint64)
    for i, (name, values) in enumerate(sorted(named(fields))):
        if name != "cut":
            total = total * np.uint64(0x9E3779B97F4A7C15) + hashed(values, i)
    return total


def hashed(values: np.ndarray, salt: int) -> np.ndarray:
    """A number [rows] for each row of values: a sum of its words with random odd weights."""
    flat = np.ascontiguousarray(values).reshape(len(values), -1).view(np.uint8)
    words = np.zeros((len(flat), -(-flat.shape[1] // 8) * 8), np.uint8)
    words[:, : flat.shape[1]] = flat
    numbers = words.view(np.uint64)
    weights = np.random.default_rng(salt).integers(0, 2**63, numbers.shape[1], np.uint64)
    with np.errstate(over="ignore"):
        return (numbers ^ (numbers >> np.uint64(29))) @ (weights * np.uint64(2) + np.uint64(1))


def inspected(store: Store) -> dict[str, Any]:
    """What a data set holds, as JSON. `findings` are sentences on what may go wrong.

    Raises:
        DamagedFileError: a byte is not as it was written.
    """
    store.check()
    hashes = Hashes(store.rows)
    one_pass = Pass(store, hashes.add)
    duplicates, rows = hashes.repeated(store)
    content = summary(one_pass)
    columns = content["columns"]
    constant = [
        f"{name}[{i}]" if len(column["min"]) > 1 else name
        for name, column in columns.items()
        for i, (low, high) in enumerate(zip(column["min"], column["max"], strict=True))
        if low == high
    ]
    bad = {
        name: {"count": int(np.sum(m.bad)), "first_row": m.first_bad}
        for name, m in one_pass.moments.items()
        if np.sum(m.bad)
    }
    about = store.card
    content |= {
        "data": str(store.path),
        "card": {n: getattr(about, n) for n in ("source", "env", "licence", "made")},
        "features": list(about.features),
        "action_names": list(about.actions),
        "repaired": list(about.repaired),
        "further_columns": list(store.extras),
        "bytes": store.nbytes,
        "not_finite": bad,
        "duplicates": {"count": duplicates, "rows": rows},
        "constant": constant,
        "both_ends": one_pass.both,
        "outside": one_pass.outside,
    }
    return content | {"findings": findings(store, content)}


def findings(store: Store, content: dict[str, Any]) -> list[str]:
    """What may go wrong, the worst first."""
    lines = []
    for name, bad in content["not_finite"].items():
        lines.append(
            f"{name} is not finite {bad['count']:,} times, first in row {bad['first_row']:,}"
        )
    if content["both_ends"]:
        lines.append(f"{content['both_ends']:,} steps are both terminated and truncated")
    if content["outside"]:
        lines.append(f"{content['outside']:,} actions are none of the action space")
    if count := content["duplicates"]["count"]:
        rows = ", ".join(f"{row:,}" for row in content["duplicates"]["rows"])
        lines.append(f"equal to an earlier step: {count:,} (such as row {rows})")
    if content["constant"]:
        lines.append(f"never differ: {', '.join(content['constant']):.300}")
    lines += support(store, content)
    if not content["ends"]["terminated"]:
        lines.append("no step is terminated: every value bootstraps from what follows")
    if cut := content["ends"]["cut"]:
        lines.append(f"{cut:,} episodes were cut by the recording; their returns are not counted")
    if PROBABILITY not in store.extras:
        lines.append(
            f"no column {PROBABILITY}: importance sampling would have to estimate who acted"
        )
    return lines


def support(store: Store, content: dict[str, Any]) -> list[str]:
    """What is said of actions that the data lack."""
    action = store.card.action
    if isinstance(action, Discrete):
        counts = np.array(content["actions"]["counts"])
        names = store.card.actions or [str(i) for i in range(action.n)]
        never = [names[i] for i in np.flatnonzero(counts == 0)]
        rare = [names[i] for i in np.flatnonzero((counts > 0) & (counts < RARE * counts.sum()))]
        lines = [f"actions that were never taken: {', '.join(never):.200}"] if never else []
        return lines + ([f"actions taken in under 1 %: {', '.join(rare):.200}"] if rare else [])
    if isinstance(action, Box) and action.bounded:
        spread = np.array(content["actions"]["spread"])
        empty = (spread == 0).mean()
        if empty >= 0.25:
            return [f"{empty:.0%} of the range of actions is empty"]
    return []


def described(content: dict[str, Any]) -> list[str]:
    """What was found, a line for each thing."""
    ends, returns, lengths = (content[n] for n in ("ends", "returns", "lengths"))
    lines = [
        f"{content['data']}: {content['rows']:,} steps in {content['episodes']:,} episodes",
        *(f"  {name}: {text}" for name, text in content["card"].items() if text),
        f"  ends: {ends['terminated']:,} terminated, {ends['truncated']:,} truncated, "
        f"{ends['cut']:,} cut",
    ]
    for name, value in (("return", returns), ("length", lengths)):
        if value["count"]:
            low, _, median, _, high = value["quartiles"]
            lines.append(
                f"  {name}: mean {value['mean']:.4g}, standard deviation {value['std']:.4g}, "
                f"{low:.4g} to {high:.4g}, median {median:.4g}"
            )
    if returns["count"]:
        lines.append(f"  returns  {bars(returns['histogram']['counts'])}")
    counts = content["actions"].get("counts", [])
    names = content["action_names"] or range(len(counts))
    total = max(1, sum(counts))
    for name, count in list(zip(names, counts, strict=False))[:30]:
        lines.append(f"  action {name}: {count:,} ({count / total:.1%})")
    for i, row in enumerate(content["actions"].get("spread", [])[:30]):
        lines.append(f"  action[{i}] from -1 to 1  {bars(row)}")
    return lines + [f"  found: {line}" for line in content["findings"]]


def bars(counts: list[int]) -> str:
    """A histogram in a line."""
    marks, most = " ▁▂▃▄▅▆▇█", max(1, *counts)
    return "".join(marks[-(-8 * count // most)] for count in counts)
