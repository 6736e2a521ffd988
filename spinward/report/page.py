"""A report as one self-contained HTML file, which loads nothing and runs no code."""

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from spinward.errors import SettingsError
from spinward.report import plot
from spinward.report.advice import Advice
from spinward.report.panels import panels, worth_drawing
from spinward.report.plot import Curve
from spinward.store.nested import flat

STYLE = """
:root { color-scheme: light dark; --ink: #22272e; --faint: #59636e; --line: #dfe3e8;
  --page: #ffffff; --card: #f6f8fa; --accent: #0072b2; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --faint: #9aa5b1; --line: #30363d;
  --page: #0f1318; --card: #171c23; --accent: #58b4e8; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 60rem; background: var(--page);
  color: var(--ink); font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { margin: 0; font-size: 1.7rem; line-height: 1.2; overflow-wrap: anywhere; }
h2 { margin: 2.5rem 0 .75rem; font-size: 1.15rem; }
.result { margin: 1.25rem 0; padding: 1.25rem 1.5rem; background: var(--card);
  border: 1px solid var(--line); border-radius: .75rem; }
.result p { margin: 0; }
.number { color: var(--accent); font-size: 2.6rem; font-weight: 650; line-height: 1.15; }
.faint, footer { color: var(--faint); font-size: .9rem; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem 1.5rem;
  margin: 1rem 0 0; }
dt { color: var(--faint); font-size: .8rem; }
dd { margin: 0; font-weight: 550; overflow-wrap: anywhere; }
img, video { display: block; max-width: 100%; height: auto; }
.curve img { width: 100%; }
.film img, .film video { min-width: min(100%, 24rem); border: 1px solid var(--line);
  border-radius: .5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem 1.25rem .35rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); }
th { color: var(--faint); font-weight: 550; }
td.n, th.n { text-align: right; }
td.code { font-family: ui-monospace, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
footer { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: 1rem; }
"""
TYPES = {".gif": "image/gif", ".webp": "image/webp", ".mp4": "video/mp4"}
FOOTER = (
    "<footer>Made by Spinward. This page loads nothing from elsewhere and runs no code.</footer>"
)
HEADLINE = (
    *("value", "mean", "iqm", "statistic", "interval", "low", "high"),
    *("seeds", "per_seed", "unknown"),
)


def html(
    title: str,
    summary: Mapping[str, Any],
    curves: Sequence[Curve],
    rows: Sequence[Mapping[str, Any]],
    config: Mapping[str, Any],
    video: Path | None,
    notes: Sequence[str],
    values: str = "episode return",
    measured: Mapping[str, Curve] | None = None,
    advice: Sequence[Advice] = (),
    models: str = "",
) -> str:
    """The whole page as one string.

    `summary` holds the headline, as `statistics.described` has it, and any further facts, `rows`
    the final table, a mapping of column to cell for each seed. `config` may be nested; its entry
    `versions` gets a separate table. `values` is the name of the quantity in headline and curves.
    `measured` are the other metrics of the log, by their names; `models` is HTML on learned models.

    Raises:
        SettingsError: a video that is not a GIF, WebP or MP4.
    """
    settings = {name: value for name, value in config.items() if name != "versions"}
    body = [
        f"<h1>{escape(title)}</h1>",
        headline(summary, values),
        section(f"Learning curve{'s' * (len(curves) != 1)}", pictures(curves, values)),
        section("Result of each seed", grid(rows)),
        section("What to do next", steps(advice)),
        section("What updates measured", panelled(measured or {})),
        section("The learned models", models),
        section("What the policy does", moving(video)),
        section("Notes", "".join(f"<p>{escape(note)}</p>" for note in notes)),
        section("Settings", pairs(flat(settings))),
        section("Versions", pairs(flat(config.get("versions", {})))),
        FOOTER,
    ]
    return "\n".join([*head(title), "<body>", *filter(None, body), "</body>", "</html>", ""])


def head(title: str) -> list[str]:
    """The head, with a content policy that lets the browser load nothing from elsewhere."""
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; media-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="referrer" content="no-referrer">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        "</head>",
    ]


def headline(summary: Mapping[str, Any], values: str = "episode return") -> str:
    """The mean over seeds, its interval, and further facts."""
    lines = []
    value, unknown = number(summary.get("value")), summary.get("unknown", 0)
    if value is not None:
        low, high = number(summary.get("low")), number(summary.get("high"))
        interval = str(summary["interval"])
        if low is not None and high is not None:
            interval = f"{interval}: {cell(low)} to {cell(high)}"
        lines += [
            f'<p class="number">{cell(value)}</p>',
            f'<p class="faint">{escape(summary["statistic"])} of the {escape(values)}; '
            f"{escape(interval)}</p>",
        ]
    elif unknown:
        who = f"in {unknown} of {summary['seeds']} seeds"
        lines.append(f'<p class="faint">no mean: no episode ended {who} in the last tenth</p>')
    facts = flat({name: value for name, value in summary.items() if name not in HEADLINE})
    if facts:
        items = "".join(
            f"<div><dt>{escape(name.replace('_', ' '))}</dt><dd>{cell(value)}</dd></div>"
            for name, value in facts.items()
        )
        lines.append(f"<dl>{items}</dl>")
    return f'<div class="result">{"".join(lines)}</div>' if lines else ""


def pictures(curves: Sequence[Curve], values: str = "episode return") -> str:
    """The figure, drawn for light and for dark screens; the browser shows the one that fits."""
    if not curves:
        return ""
    light, dark = (
        data_uri(plot.rendered(plot.figure(curves, "", dark, values), "svg"), "image/svg+xml")
        for dark in (False, True)
    )
    return (
        f'<div class="curve"><picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img src="{light}" alt="{escape(plot.table(curves))}"></picture></div>'
    )


def panelled(measured: Mapping[str, Curve]) -> str:
    """Small curves of losses, entropies and divergences, and the last values of all metrics."""
    curves = {name: measured[name] for name in worth_drawing(measured)}
    rows = [
        {"metric": name, "at the end, mean over seeds": float(value)}
        for name, curve in measured.items()
        if len(curve.steps)
        and np.isfinite(value := plot.last_seen(np.asarray(curve.returns))[:, -1].mean())
    ]
    if not curves:
        return grid(rows)
    picture = data_uri(plot.rendered(panels(curves), "svg"), "image/svg+xml")
    words = escape(", ".join(curves))
    return f'<div class="curve"><img src="{picture}" alt="{words}"></div>{grid(rows)}'


def steps(advice: Sequence[Advice]) -> str:
    """A table of what to do next."""
    if not advice:
        return ""
    lines = [
        f'<tr><td>{escape(each.sentence)}</td><td class="code">{escape(each.command)}</td></tr>'
        for each in advice
    ]
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def moving(video: Path | None) -> str:
    if video is None:
        return ""
    kind = TYPES.get(video.suffix.lower())
    if kind is None:
        raise SettingsError(f"{video}: a video in a report is one of {', '.join(TYPES)}")
    data = data_uri(video.read_bytes(), kind)
    if kind == "video/mp4":
        return f'<div class="film"><video controls loop muted src="{data}"></video></div>'
    return f'<div class="film"><img src="{data}" alt="The policy at work"></div>'


def data_uri(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>{content}</section>" if content else ""


def grid(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table with the columns of all rows, in the order of their first appearance."""
    if not rows:
        return ""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    numeric = {c: all(number(row.get(c, 0)) is not None for row in rows) for c in columns}
    mark = {name: ' class="n"' if numeric[name] else "" for name in columns}
    top = "".join(f"<th{mark[c]}>{escape(c.replace('_', ' '))}</th>" for c in columns)
    lines = [
        "<tr>" + "".join(f"<td{mark[c]}>{cell(row.get(c))}</td>" for c in columns) + "</tr>"
        for row in rows
    ]
    return f'<div class="wide"><table><tr>{top}</tr>{"".join(lines)}</table></div>'


def pairs(values: Mapping[str, Any]) -> str:
    """A table of names and values, written as a user would type them."""
    if not values:
        return ""
    lines = [
        f'<tr><td class="code">{escape(name)}</td><td class="code">{typed(value)}</td></tr>'
        for name, value in values.items()
    ]
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def number(value: Any) -> float | None:
    """A value as a finite number, if it is one."""
    try:
        real = float(value) if not isinstance(value, str | bool) and value is not None else math.nan
    except (TypeError, ValueError):
        return None
    return real if math.isfinite(real) else None


def typed(value: Any) -> str:
    """A value as escaped text, to the last digit."""
    if isinstance(value, str):
        return escape(value)
    return escape(json.dumps(value, default=str, ensure_ascii=False))


def cell(value: Any) -> str:
    """A value as escaped text, with numbers as people write them."""
    if value is None:
        return "–"  # noqa: RUF001
    real = number(value)
    if real is None:
        return typed(value)
    if real == round(real) and abs(real) < 1e15:
        return f"{round(real):,}"
    return f"{real:,.2f}" if 1 <= abs(real) < 1e6 else f"{real:.4g}"
