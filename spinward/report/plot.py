"""Learning curves over seeds: a figure, and the same numbers as a table."""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from spinward.errors import SettingsError
from spinward.evaluation.statistics import Estimate, estimate, performance_profile
from spinward.store.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind people can tell apart; styles repeat them.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
BRIGHT = ("#58B4E8", "#F5854A", "#2FC597", "#E9A8CB", "#A5D8F5", "#F2BB4A")  # on a dark page
STYLES = ("-", "--", "-.")


class Theme(NamedTuple):
    ink: str
    faint: str
    grid: str
    page: str
    curves: tuple[str, ...]


LIGHT = Theme("#22272e", "#6b7480", "#dfe3e8", "white", PALETTE)
DARK = Theme("#e6edf3", "#9aa5b1", "#30363d", "none", BRIGHT)
FORMATS = {".png": "png", ".svg": "svg", ".pdf": "pdf"}


class Curve(NamedTuple):
    """The returns of one run's seeds, in the environment's own reward."""

    name: str
    steps: np.ndarray  # [point] environment steps
    returns: np.ndarray  # [seed, point]; NaN where no episode has ended yet
    expected: float | None = None  # a published score to compare with


class Summary(NamedTuple):
    """The mean over a curve's seeds, at the points where all seeds have a score."""

    steps: np.ndarray  # [point]
    means: Estimate  # [point]
    held: bool  # whether some point uses a seed's previous score, because there is no new one


def summary(curve: Curve) -> Summary:
    """The mean over all seeds and its interval, from the first point where each seed has a score.

    If a seed never ended an episode, there are no points: a mean of the other seeds would mislead.
    """
    returns = np.asarray(curve.returns, float)
    filled = last_seen(returns)
    known = np.isfinite(filled).all(0)
    held = bool((~np.isfinite(returns[:, known])).any())
    return Summary(np.asarray(curve.steps)[known], estimate(filled[:, known]), held)


def last_seen(x: np.ndarray) -> np.ndarray:
    """x [seed, point] with each gap filled by the value before it."""
    index = np.where(np.isfinite(x), np.arange(x.shape[1]), -1)
    index = np.maximum.accumulate(index, axis=1)
    return np.where(index >= 0, np.take_along_axis(x, np.maximum(index, 0), 1), np.nan)


def figure(
    curves: Sequence[Curve], title: str, dark: bool = False, values: str = "episode return"
) -> "Figure":
    """The curves in one picture: thin lines for seeds, and a band for the interval of their mean.
    `values` is the name of the quantity."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    if not curves:
        raise SettingsError("a figure needs at least one curve, found none")
    theme = DARK if dark else LIGHT
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06)
    picture = Figure(figsize=(7.2, 4.4), layout=layout, facecolor=theme.page)
    axes = picture.add_subplot()
    summaries = [summary(curve) for curve in curves]
    tracks = []
    for n, (curve, mean_curve) in enumerate(zip(curves, summaries, strict=True)):
        colour = theme.curves[n % len(theme.curves)]
        tracks.append(
            draw(axes, curve, mean_curve, colour, STYLES[n // len(PALETTE) % len(STYLES)])
        )
    draw_expected(axes, curves, theme.faint)
    dress(axes, title, values, theme)
    label(axes, [track for track in tracks if track])
    picture.supxlabel(caption(curves, summaries), x=0.01, ha="left", fontsize=8, color=theme.faint)
    return picture


def profiles(finals: Mapping[str, np.ndarray], title: str) -> "Figure":
    """Performance profiles: for each run, the share of seeds that reached a return, over
    returns."""
    from matplotlib.figure import Figure

    picture = Figure(figsize=(7.2, 4.4), layout="constrained", facecolor=LIGHT.page)
    axes = picture.add_subplot()
    known = np.concatenate([x[np.isfinite(x)] for x in finals.values()] or [[]])
    if not len(known):
        raise SettingsError("a profile needs a seed that ended an episode; found none")
    margin = 0.05 * (np.ptp(known) or 1.0)
    at = np.linspace(known.min() - margin, known.max() + margin, 500)
    for n, (name, scores) in enumerate(finals.items()):
        colour, style = PALETTE[n % len(PALETTE)], STYLES[n // len(PALETTE) % len(STYLES)]
        name_and_seeds = escaped(f"{name}, {len(scores)} seeds")
        shares = performance_profile(scores, at)
        axes.step(at, shares, where="post", color=colour, linestyle=style, label=name_and_seeds)
    dress(axes, title, "share of seeds with at least this return", LIGHT)
    axes.set_xlim(at[0], at[-1])
    axes.set_xlabel("return over the last tenth of training", color=LIGHT.faint)
    axes.legend(frameon=False)
    return picture


def dress(axes: "Axes", title: str, values: str, theme: Theme) -> None:
    """Sets titles and ticks, and removes needless lines."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_title(
        escaped(title), loc="left", fontsize=12, fontweight="bold", color=theme.ink, pad=10
    )
    axes.set_xlabel("environment steps", color=theme.faint)
    axes.set_ylabel(values, color=theme.faint)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: short(x)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: short(y)))
    axes.set_facecolor("none")
    axes.tick_params(colors=theme.faint, length=0)
    axes.grid(axis="y", color=theme.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlim(left=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(theme.grid)


def draw(
    axes: "Axes", curve: Curve, mean_curve: Summary, colour: str, style: str
) -> tuple[float, str, str] | None:
    """Draws a curve; returns the height at which it ends, its name and its colour."""
    faint: dict[str, Any] = {"color": colour, "alpha": 0.25, "linewidth": 0.7}
    for returns in np.asarray(curve.returns, float):
        finite = np.isfinite(returns)
        steps = np.asarray(curve.steps)[finite]
        axes.plot(steps, returns[finite], marker="." if len(steps) == 1 else "", **faint)
    if not len(mean_curve.steps):
        return None
    means = mean_curve.means
    if len(mean_curve.steps) == 1:  # too short for a line or a band
        axes.vlines(mean_curve.steps, means.low, means.high, color=colour, alpha=0.4, linewidth=4)
        axes.plot(mean_curve.steps, means.value, color=colour, marker="o", markersize=6)
    axes.fill_between(
        mean_curve.steps, means.low, means.high, color=colour, alpha=0.18, linewidth=0
    )
    axes.plot(mean_curve.steps, means.value, color=colour, linestyle=style, linewidth=2)
    return float(means.value[-1]), curve.name, colour


def draw_expected(axes: "Axes", curves: Sequence[Curve], colour: str) -> None:
    """A dotted line at each score that curves are expected to reach."""
    for score in sorted({c.expected for c in curves if c.expected is not None}):
        axes.axhline(score, color=colour, linestyle=":", linewidth=1.3)
        axes.annotate(
            f"expected {score:g}", (0, score), (2, 3), color=colour, fontsize=8,
            xycoords=("axes fraction", "data"), textcoords="offset points",
        )  # fmt: skip


def label(axes: "Axes", tracks: list[tuple[float, str, str]]) -> None:
    """Writes each name at the end of its curve, and moves overlapping names apart."""
    low, high = axes.get_ylim()
    space = 0.055 * (high - low)  # the height of a line of text
    tracks = sorted(tracks)
    heights = np.array([height for height, _, _ in tracks])
    for _ in range(50):
        gaps = np.diff(heights)
        push = np.maximum(0, space - gaps) / 2
        heights[:-1] -= push
        heights[1:] += push
    for height, (_, name, colour) in zip(heights, tracks, strict=True):
        axes.annotate(
            escaped(name), (1, height), (4, 0), color=colour, fontsize=9, va="center",
            xycoords=("axes fraction", "data"), textcoords="offset points", annotation_clip=False,
        )  # fmt: skip


def caption(curves: Sequence[Curve], summaries: list[Summary]) -> str:
    """The caption: the statistic, the number of seeds, and seeds without a score."""
    by_seeds = {
        mean_curve.means.seeds: mean_curve.means
        for mean_curve in summaries
        if len(mean_curve.steps)
    }
    lines = [
        f"{means.statistic.capitalize()}; band: {means.interval}; thin lines: single seeds."
        if seeds > 1
        else "One seed: no interval can be told."
        for seeds, means in sorted(by_seeds.items())
    ]
    if lines:
        lines[-1] += " Not smoothed."
    if any(mean_curve.held for mean_curve in summaries):
        lines.append("A seed with no new episode at a point counts with its last one.")
    for curve in curves:
        lost, seeds = int((~np.isfinite(curve.returns)).all(1).sum()), len(curve.returns)
        if lost:
            sentence = f"no episode ended in {lost} of {seeds} seeds, so there is no mean."
            lines.append(f"{curve.name}: {sentence}")
    return escaped("\n".join(lines))


def escaped(name: str) -> str:
    """A name that matplotlib does not read as mathematics."""
    return name.replace("$", r"\$")


def short(x: float) -> str:
    """A number in short form: 1500 is 1.5k, 2e6 is 2M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(x) >= size:
            return f"{x / size:.4g}{letter}"
    return f"{x:.4g}"


def save(figure: "Figure", path: Path) -> None:
    """Writes a figure as PNG, SVG or PDF, by the name's ending.

    Raises:
        SettingsError: another ending.
    """
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise SettingsError(f"{path}: a picture ends in one of {', '.join(FORMATS)}")
    write_atomically(path, rendered(figure, kind))


def rendered(figure: "Figure", kind: str) -> bytes:
    """A figure as a file's bytes, which are the same each time."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    undated: dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    data = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "spinward"}):
        figure.savefig(data, format=kind, dpi=160, metadata=undated.get(kind))
    return data.getvalue()


def table(curves: Sequence[Curve]) -> str:
    """The last point of each curve: mean, interval, steps and expected score."""
    rows = [("run", "", "return", "interval", "steps", "expected")]
    for curve in curves:
        steps, means, _ = summary(curve)
        expected = "-" if curve.expected is None else f"{curve.expected:g}"
        if not len(steps):
            lost = int((~np.isfinite(curve.returns)).all(1).sum())
            interval = f"no episode ended in {lost} of {len(curve.returns)} seeds"
            rows.append((curve.name, "-", "-", interval, "-", expected))
            continue
        low, high = float(means.low[-1]), float(means.high[-1])
        bounds = "" if math.isnan(low) else f": {low:.2f} to {high:.2f}"
        interval, value = f"{means.interval}{bounds}", f"{means.value[-1]:.2f}"
        rows.append((curve.name, means.statistic, value, interval, f"{int(steps[-1]):,}", expected))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for name, *cells in rows:
        right = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *right]))
    return "\n".join(lines)
