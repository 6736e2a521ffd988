"""A picture of a search: the score of each trial over each setting that it changed."""

import io
import math
from pathlib import Path
from typing import Any

from spinward.report.plot import LIGHT, PALETTE
from spinward.store.files import write_atomically
from spinward.tuning import reading
from spinward.tuning.search import Tuning

COLUMNS = 3  # of panels


def draw(tuning: Tuning) -> Path:
    """Writes `trials.png` into the folder of the search."""
    buffer = io.BytesIO()
    figure(tuning).savefig(buffer, format="png", dpi=130)
    path = tuning.path / "trials.png"
    write_atomically(path, buffer.getvalue())
    return path


def figure(tuning: Tuning) -> Any:
    from matplotlib.figure import Figure

    space, trials = tuning.question["space"], tuning.trials
    columns = min(COLUMNS, len(space))
    rows = math.ceil(len(space) / columns)
    size = (max(4.8, 3.4 * columns), 3.0 * rows + 0.6)
    picture = Figure(figsize=size, layout="constrained", facecolor=LIGHT.page)
    panels = picture.subplots(rows, columns, squeeze=False, sharey=True).flat
    for axes, (name, values) in zip(panels, space.items(), strict=False):
        scatter(axes, name, values, trials)
    for axes in list(panels)[len(space) :]:
        axes.set_visible(False)
    lost = sum(not math.isfinite(reading.score(line)) for line in trials)
    without = f", {lost} without a score" if lost else ""
    picture.suptitle(
        f"{len(trials)} trials{without}", x=0.01, ha="left", fontsize=11, color=LIGHT.ink
    )
    return picture


def scatter(axes: Any, name: str, values: str, trials: list[dict[str, Any]]) -> None:
    """The scores over one setting: of each seed as a faint point, their mean, and trial 0 in a
    colour of its own."""
    interval = ":" in values
    names = list(dict.fromkeys(values.split("|" if "|" in values else ",")))
    for line in trials:
        value = line["settings"][name]
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        at = value if interval else (names.index(text) if text in names else len(names))
        colour = PALETTE[1] if line["number"] == 0 else PALETTE[0]
        seeds = [x for x in line["per_seed"] if x is not None]
        axes.plot([at] * len(seeds), seeds, ".", color=colour, alpha=0.25, markersize=3)
        axes.plot([at], [reading.score(line)], "o", color=colour, markersize=5)
    if values.endswith(":log"):
        axes.set_xscale("log")
    if not interval:
        axes.set_xticks(range(len(names)), names)
    axes.set_xlabel(f"{name} (orange: the start)", color=LIGHT.faint, fontsize=9)
    axes.set_ylabel("score", color=LIGHT.faint, fontsize=9)
    axes.tick_params(colors=LIGHT.faint, labelsize=8)
    axes.grid(color=LIGHT.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
