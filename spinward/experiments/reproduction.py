"""Published claims measured again: an experiment is a file of this folder with a function `run`.

The first line of its docstring says what is claimed and by whom. `run(scale, seeds, out)` goes
through the public interface, lays curves and pictures in the folder `out`, and returns a
`Reproduction`. Its runs are made by `trained`, whose seeds begin at `first_seed()`. Experiments are
found by walking the folder; `spinward reproduce` runs them.
"""

import dataclasses
import json
import platform
import time
from collections.abc import Sequence
from contextvars import ContextVar
from html import escape
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

import spinward
from spinward.errors import SettingsError, nearest
from spinward.evaluation.statistics import estimate
from spinward.report import page as report
from spinward.run import provenance
from spinward.run.experiment import EnvChoice, Experiment
from spinward.run.run import Run, create, load
from spinward.store.files import discard, write_atomically
from spinward.store.settings import modules

SCALES = ("laptop", "paper")
VERDICTS = ("reproduced", "not reproduced", "cannot tell")
FRESH = 1000  # first seed of verdicts: settings are chosen on seeds below
PICTURES = {".png": "image/png", ".svg": "image/svg+xml", **report.TYPES}


@dataclasses.dataclass(frozen=True)
class Row:
    """A number, the interval it lies in, and what was published for it, if anything."""

    what: str
    measured: float
    low: float  # bounds of what `interval` names; NaN where there is none
    high: float
    published: float | None = None
    interval: str = ""  # what the bounds are, and of how many seeds
    scores: tuple[float, ...] = ()  # of each seed, which the bounds are made of; or of each task


@dataclasses.dataclass(frozen=True)
class Reproduction:
    """What came of an experiment."""

    name: str
    scale: str
    rows: list[Row]
    verdict: str  # reproduced, not reproduced or cannot tell
    why: str  # in one or two sentences, with the rule the verdict was made by
    pictures: list[Path] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Record:
    """What a reproduction in progress is made of."""

    commit: str  # of the code
    seed: int = 0  # the first of each of its runs
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)  # of each run, by its name
    reused: list[str] = dataclasses.field(default_factory=list)  # runs that were there already


IN_PROGRESS: ContextVar[Record | None] = ContextVar("reproduction in progress", default=None)


def first_seed() -> int:
    """The first seed of the reproduction in progress; 0 where there is none."""
    record = IN_PROGRESS.get()
    return record.seed if record else 0


def names() -> list[str]:
    """The experiments there are, as `spinward reproduce` calls them."""
    experiments = [name for name in modules("experiments") if "run" in vars(module(name))]
    return [name.replace("_", "-") for name in experiments]


def module(name: str) -> Any:
    return import_module(f"spinward.experiments.{name.replace('-', '_')}")


def about(name: str) -> str:
    """What an experiment is about: the first paragraph of its docstring."""
    return " ".join((module(name).__doc__ or "").split("\n\n")[0].split())


def check(name: str, scale: str, seeds: int | None, seed: int) -> None:
    known = names()
    if name not in known:
        near = nearest(name, known, 3) or known
        raise SettingsError(f"there is no experiment {name!r}; expected one of {', '.join(near)}")
    if scale not in SCALES:
        raise SettingsError(f"scale={scale!r} is not one of {', '.join(SCALES)}")
    if seeds is not None and seeds < 1:
        raise SettingsError(f"seeds={seeds} must be at least 1")
    if seed < 0:
        raise SettingsError(f"seed={seed} must be at least 0")


def reproduce(
    name: str,
    scale: str = "laptop",
    seeds: int | None = None,
    out: Path | None = None,
    seed: int = FRESH,
) -> Reproduction:
    """Runs an experiment on seeds from `seed` on; its folder then holds `rows.json`, `report.html`
    and raw curves.

    Raises:
        SettingsError: there is no such experiment or scale, fewer than one seed, or a negative one.
    """
    check(name, scale, seeds, seed)
    folder = out or Path("runs/reproduce") / name
    folder.mkdir(parents=True, exist_ok=True)
    began, used = time.monotonic(), provenance.cpu_seconds()
    record = Record(provenance.commit(), seed)
    result = recorded(record, name, scale, seeds, folder)
    if result.verdict not in VERDICTS:
        raise ValueError(f"verdict {result.verdict!r} is not one of {', '.join(VERDICTS)}")
    facts = {
        "date": time.strftime("%Y-%m-%d"),
        "seconds": round(time.monotonic() - began, 1),
        "cpu_seconds": round(provenance.cpu_seconds() - used, 1),
        "seeds": seeds,
        "seed": seed,
        "commit": record.commit,
        "reused": record.reused,
        "spinward": spinward.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    content = to_json(result, folder) | facts | {"settings": record.settings}
    write_atomically(folder / "rows.json", (json.dumps(content, indent=1) + "\n").encode())
    write_atomically(folder / "report.html", html(result, facts).encode())
    return result


def recorded(
    record: Record, name: str, scale: str, seeds: int | None, folder: Path
) -> Reproduction:
    """What comes of an experiment, whose runs are written down in `record`."""
    token = IN_PROGRESS.set(record)
    try:
        result: Reproduction = module(name).run(scale, seeds, folder)
    finally:
        IN_PROGRESS.reset(token)
    return result


def to_json(result: Reproduction, folder: Path) -> dict[str, Any]:
    """A reproduction as `rows.json` has it: what is not finite is null, pictures by their names."""
    rows = [{k: finite(v) for k, v in dataclasses.asdict(row).items()} for row in result.rows]
    pictures = [
        str(p.relative_to(folder)) if p.is_relative_to(folder) else str(p) for p in result.pictures
    ]
    return dataclasses.asdict(result) | {"rows": rows, "pictures": pictures}


def finite(value: Any) -> Any:
    """A value of a row, in which JSON has no NaN."""
    if isinstance(value, tuple):
        return [finite(x) for x in value]
    return None if value != value else value


def table(rows: Sequence[Row]) -> str:
    """Measured against published, as text."""
    cells = [("", "measured", "interval", "published")]
    for row in rows:
        published = "-" if row.published is None else f"{row.published:.4g}"
        cells.append((row.what, f"{row.measured:.4g}", interval(row), published))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join([first.ljust(widths[0]), *map(str.rjust, rest, widths[1:])])
        for first, *rest in cells
    )


def interval(row: Row) -> str:
    bounds = f"{row.low:.4g} to {row.high:.4g}"
    return "-" if row.low != row.low else f"{bounds} ({row.interval})" if row.interval else bounds


def html(result: Reproduction, facts: dict[str, Any]) -> str:
    """The whole report as one page that loads nothing."""
    title = f"{result.name}: {result.verdict}"
    rows = [
        {
            "what": row.what,
            "measured": row.measured,
            "interval": interval(row),
            "published": row.published,
        }
        for row in result.rows
    ]
    shown = "".join(
        f'<div class="curve"><img alt="{escape(path.stem)}" src="{embedded(path)}"></div>'
        for path in result.pictures
    )
    summary = f'<p class="number">{escape(result.verdict)}</p><p>{escape(result.why)}</p>'
    command = f"spinward reproduce {result.name} --scale {result.scale} --seed {facts['seed']}"
    body = [
        f"<h1>{escape(result.name)}</h1>",
        f"<p>{escape(about(result.name))}</p>",
        f'<div class="result">{summary}</div>',
        report.section("Measured and published", report.grid(rows)),
        report.section("Pictures", shown),
        report.section("How it was made", report.pairs({"command": command, **facts})),
        "<footer>Made by Spinward. This page loads nothing from elsewhere and runs no code."
        "</footer>",
    ]
    return "\n".join([*report.head(title), "<body>", *filter(None, body), "</body>", "</html>", ""])


def embedded(path: Path) -> str:
    kind = PICTURES.get(path.suffix.lower())
    if kind is None or kind.startswith("video/"):
        raise SettingsError(f"{path}: a picture of an experiment is a PNG, SVG, GIF or WebP")
    return report.data_uri(path.read_bytes(), kind)


def trained(
    algorithm: Any, env: str, steps: int, seeds: int, out: Path, name: str, **more: Any
) -> Run:
    """A run with these settings, whose curves are kept in `out/curves/NAME.json`.

    The run itself is in `runs/reproduce/runs`, and is gone on with if it is there already with the
    same settings, by the same commit. `more` are fields of an `Experiment`: `reward`, `shards`,
    `logs`, or `seed`, which is counted from `first_seed()`.
    """
    more["seed"] = first_seed() + more.get("seed", 0)
    experiment = Experiment(algorithm, EnvChoice(env), steps, seeds, **more)
    record = IN_PROGRESS.get() or Record(provenance.commit())
    run = run_of(experiment, Path("runs/reproduce/runs"), name, record).train(trust=True)
    record.settings[name] = run.config
    at, returns = run.curves()
    finite = [[None if x != x else round(float(x), 3) for x in row] for row in returns]
    content = {"config": run.config, "steps": at.tolist(), "returns": finite}
    (out / "curves").mkdir(parents=True, exist_ok=True)
    write_atomically(out / "curves" / f"{name}.json", (json.dumps(content) + "\n").encode())
    return run


def run_of(experiment: Experiment, folder: Path, name: str, record: Record) -> Run:
    """The run of this name, anew unless its settings and the commit that began it are these.

    Of code with changes that are not committed nothing is known, so that its runs serve the
    reproduction that made them alone.
    """
    path, begun_by = folder / name, folder / f"{name}.commit"
    if path.is_dir():
        kept = begun_by.read_text() if begun_by.is_file() else None
        same = kept == record.commit and not record.commit.endswith("+changes")
        usable = (same or name in record.settings) and (path / "config.json").is_file()
        if not usable or load(path).config != json.loads(experiment.to_json()):
            discard(path)
        elif name not in record.settings:
            record.reused.append(name)
    if not path.is_dir():
        create(experiment, folder, name)
        write_atomically(begun_by, record.commit.encode())
    return load(path)


def row_of(what: str, per_seed: Any, published: float | None = None) -> Row:
    """The mean of a number of each seed with its interval, as `statistics.estimate` has them."""
    scores = np.asarray(per_seed, float)
    interval = estimate(scores)
    bounds = float(interval.value), float(interval.low), float(interval.high)
    return Row(what, *bounds, published, interval.interval, tuple(scores.tolist()))
