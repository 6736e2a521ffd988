"""A run as a notebook shows it: its curves, a video, its report and a card."""

import base64
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from spinward.evaluation.statistics import sentence
from spinward.report import page, plot, results
from spinward.report import video as films
from spinward.run.config import choices
from spinward.run.run import Run
from spinward.store import files

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Picture(NamedTuple):
    """A figure of matplotlib, which a notebook shows."""

    figure: "Figure"

    def save(self, path: str | Path) -> None:
        """Writes a .png, .svg or .pdf."""
        plot.save(self.figure, Path(path))

    def _repr_png_(self) -> bytes:
        return plot.rendered(self.figure, "png")


class Film(NamedTuple):
    """A video in a file, which a notebook shows."""

    path: Path

    def _repr_html_(self) -> str:
        return page.moving(self.path)


class Page(NamedTuple):
    """A report in a file, which a notebook shows in a frame."""

    path: Path

    def _repr_html_(self) -> str:
        text = escape(self.path.read_text())
        return f'<iframe sandbox srcdoc="{text}" width="100%" height="600"></iframe>'


def picture(run: Run, *others: Run, metric: str = "") -> Picture:
    """The curves of a metric of this run and others; without a metric, of the return."""
    shown = metric or results.shown(run).metric
    for each in (run, *others):
        results.require_metric(each, shown)
    lines = [curve for each in (run, *others) for curve in results.curves(each, shown)]
    title = ", ".join(dict.fromkeys(str(choices(each.config)[0]) for each in (run, *others)))
    return Picture(plot.figure(lines, title, values=shown.replace("_", " ")))


def film(run: Run, seed: int = 0, frames: int = 300, checkpoint: str | int = "last") -> Film:
    """A video of an episode of a seed's policy, in the run's folder."""
    which = "" if checkpoint == "last" else f"-{checkpoint}"
    path = files.inside(run.path, run.path / "videos" / f"seed-{seed}{which}.gif")
    path.parent.mkdir(parents=True, exist_ok=True)
    films.write(results.frames(run, seed, frames, checkpoint), path)
    return Film(path)


def report(run: Run, *others: Run) -> Page:
    """The report of a run, in its folder, with the curves of others too."""
    return Page(results.write_report(run, others=others))


def card(run: Run) -> str:
    """A few lines of HTML on a run, with its curve."""
    config, points = run.config, run.points
    kind = config["algorithm"]["class"].rpartition(":")[2]
    facts = [f"{kind} in {choices(config)[0]}", f"{config['seeds']} seeds from {config['seed']}"]
    facts.append(f"{points[-1]['env_steps'] if points else 0:,} of {config['steps']:,} steps")
    lines = [f"<b>{escape(str(run.path))}</b>", escape(", ".join(facts))]
    if points:
        shown = results.shown(run)
        lines.append(f"{escape(shown.label)}: {escape(sentence(results.summary(run)))}")
        all_curves = [curve for curve in results.curves(run, shown.metric) if len(curve.steps)]
        if all_curves:
            figure = plot.figure(all_curves, "", values=shown.label)
            data = base64.b64encode(plot.rendered(figure, "png")).decode()
            lines.append(f'<img src="data:image/png;base64,{data}" width="480">')
    return "<div>" + "<br>".join(lines) + "</div>"
