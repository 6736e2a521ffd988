"""The picture of a diagnosis: what the critic thinks of fixed steps, over the updates of a run."""

from typing import TYPE_CHECKING, Any

import numpy as np

from spinward.evaluation.diagnosis import Curves
from spinward.report.plot import LIGHT, escaped, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS = (
    ("values (dotted: mean and largest return of the data)", ("q_data", "q_policy")),
    ("TD error, squared", ("td_error", "held_td_error")),
    ("gap of all actions to the logged one", ("gap", "held_gap")),
    ("distance of actions to the logged ones", ("action_distance", "held_action_distance")),
)
NAMES = {"q_data": "logged actions", "q_policy": "the policy's actions"}


def figure(seeds: list[Curves], result: dict[str, Any], title: str) -> "Figure":
    """Four panels; a thin line for each seed. The agent to use is marked."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    picture = Figure(figsize=(9.6, 6.4), layout="constrained", facecolor=LIGHT.page)
    axes = picture.subplots(2, 2).ravel()
    for panel, (name, metrics) in zip(axes, PANELS, strict=True):
        for n, metric in enumerate(metrics):
            label = NAMES.get(
                metric, "held-out episodes" if metric.startswith("held") else "learned from"
            )
            draw(panel, seeds, metric, label, LIGHT.curves[n])
        panel.set_title(name, loc="left", fontsize=9, color=LIGHT.ink)
        if result["checkpoint_updates"] is not None:
            panel.axvline(result["checkpoint_updates"], color=LIGHT.faint, linewidth=1)
        panel.xaxis.set_major_formatter(FuncFormatter(lambda x, _: short(x)))
        panel.tick_params(colors=LIGHT.faint, length=0, labelsize=8)
        panel.grid(axis="y", color=LIGHT.grid, linewidth=0.8)
        panel.legend(frameon=False, fontsize=8)
    for fact in ("return_mean", "return_max"):
        if np.isfinite(height := seeds[0].fact(fact)):
            axes[0].axhline(height, color=LIGHT.faint, linestyle=":", linewidth=1.2)
    picture.suptitle(escaped(f"{title}: {result['verdict']}"), x=0.01, ha="left", fontweight="bold")
    picture.supxlabel("updates; vertical line: the agent to use", fontsize=8, color=LIGHT.faint)
    return picture


def draw(panel: Any, seeds: list[Curves], metric: str, label: str, colour: str) -> None:
    for i, curves in enumerate(seeds):
        if metric in curves.values:
            name = {"label": label} if i == 0 else {}
            panel.plot(curves.updates, curves.values[metric], color=colour, linewidth=1.3, **name)
