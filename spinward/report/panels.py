"""Small curves of what an update measures, side by side in one picture."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spinward.report import plot
from spinward.report.plot import LIGHT, Curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 3
GREY = "#808890"  # of letters that are read on black and on white
WORDS = ("loss", "entropy", "kl", "divergence", "alpha", "td_error", "lr")


def worth_drawing(names: Any) -> list[str]:
    """Of the metrics of a log, the losses, entropies and divergences, and the step size."""
    parts = {name: set(name.split("_")) for name in names}
    return [name for word in WORDS for name in sorted(parts) if word in parts[name] or name == word]


def panels(curves: Mapping[str, Curve]) -> "Figure":
    """A small picture for each named curve, for light and for dark screens."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    theme = LIGHT._replace(ink=GREY, faint=GREY, grid=f"{GREY}40", page="none")
    rows = math.ceil(len(curves) / COLUMNS)
    picture = Figure(figsize=(7.2, 1.7 * rows), layout="constrained", facecolor=theme.page)
    for n, (name, curve) in enumerate(curves.items()):
        axes = picture.add_subplot(rows, COLUMNS, n + 1)
        plot.draw(axes, curve, plot.summary(curve), theme.curves[0], "-")
        plot.dress(axes, "", "", theme)
        axes.set_title(plot.escaped(name), loc="left", fontsize=9, color=theme.ink, pad=4)
        axes.set_xlabel("")
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.yaxis.set_major_locator(MaxNLocator(3))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.3g}"))
        axes.tick_params(labelsize=7)
    return picture
