"""A data set as one self-contained HTML file, with pictures."""

from html import escape
from typing import Any

import numpy as np

from spinward.report import plot
from spinward.report.page import data_uri, grid, head, pairs, section

WHOLE = ("steps", "action")  # what is counted in whole numbers
MOST = 200  # columns that the table shows


def html(content: dict[str, Any]) -> str:
    """The page of what `data.inspection.inspected` found."""
    title = f"Data: {content['data']}"
    findings = "".join(f"<p>{escape(line)}</p>" for line in content["findings"])
    number = f"<p class=number>{content['rows']:,} steps</p>"
    result = f'<section class="result">{number}<p>{content["episodes"]:,} episodes</p></section>'
    body = [
        f"<h1>{escape(title)}</h1>",
        result,
        section("What should be known", findings),
        section("Returns of episodes", picture(content["returns"], "return")),
        section("Lengths of episodes", picture(content["lengths"], "steps")),
        section("Actions", actions(content)),
        section("Ends", pairs(content["ends"])),
        section("Columns", grid(columns(content))),
        section("Origin", pairs({k: v for k, v in content["card"].items() if v})),
        "<footer>Made by Spinward. This page loads nothing from elsewhere and runs no code."
        "</footer>",
    ]
    return "\n".join([*head(title), "<body>", *filter(None, body), "</body>", "</html>", ""])


def columns(content: dict[str, Any]) -> list[dict[str, Any]]:
    """A row of the table for each number of each column."""
    rows = []
    for name, column in content["columns"].items():
        several = len(column["mean"]) > 1
        for i in range(len(column["mean"])):
            known = content["features"] if name.startswith("obs") else []
            label = f"{name}[{i}]" if several else name
            if i < len(known):
                label += f" {known[i]}"
            numbers = {k: float(f"{column[k][i]:.4g}") for k in ("mean", "std", "min", "max")}
            rows.append({"column": label, **numbers})
    return rows[:MOST]


def picture(values: dict[str, Any], name: str) -> str:
    """A histogram as an image; empty where there is no value."""
    if not values["count"]:
        return ""
    histogram = values["histogram"]
    edges = np.array(histogram["edges"])
    return histogram_svg([edges[:-1]], [histogram["counts"]], [np.diff(edges)], name, "episodes")


def actions(content: dict[str, Any]) -> str:
    """How often each action was taken, as an image."""
    counts = content["actions"].get("counts")
    if counts:
        return histogram_svg([np.arange(len(counts)) - 0.4], [counts], [0.8], "action", "steps")
    spread = np.array(content["actions"].get("spread", []))[:12]
    if not spread.size:
        return ""
    edges = np.linspace(-1.0, 1.0, spread.shape[1] + 1)
    sizes = [np.diff(edges)] * len(spread)
    return histogram_svg([edges[:-1]] * len(spread), list(spread), sizes, "action, scaled", "steps")


def histogram_svg(starts: list[Any], counts: list[Any], widths: list[Any], x: str, y: str) -> str:
    """Bars as an image, a picture for each list of counts."""
    from matplotlib.figure import Figure

    rows = -(-len(counts) // 4)
    figure = Figure(figsize=(8.0, 2.6 * rows), layout="constrained")
    axes = figure.subplots(rows, min(4, len(counts)), squeeze=False).ravel()
    for axis, start, count, width in zip(axes, starts, counts, widths, strict=False):
        axis.bar(start, count, width, align="edge", color="#0072b2")
        axis.set_xlabel(x)
        if x in WHOLE:
            axis.xaxis.get_major_locator().set_params(integer=True)
        axis.set_ylabel(y)
    image = data_uri(plot.rendered(figure, "svg"), "image/svg+xml")
    return f'<div class="curve"><img src="{image}" alt="{escape(y)} by {escape(x)}"></div>'
