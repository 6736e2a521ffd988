"""Judges stored experiments by the present rules, where their raw numbers were kept.

    python -m campaigns.rejudge

Where they were not, the stored result says by which rule it was judged and what the present one
would need. What was written on the day of the run stays in the file as `then`. Results that say
their commit and their seed were made by the present rules, and are left alone.
"""

import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np

from campaigns.records import RESULTS, curves_of, read
from spinward.algorithms.mb_mpo import MBMPO
from spinward.experiments import (
    a3c_maze,
    alphazero,
    lpg,
    mb_mpo,
    ngu,
    over_optimisation,
    ppo_mujoco,
    reproduction,
    value_iteration,
)
from spinward.experiments.reproduction import Reproduction, Row, row_of
from spinward.experiments.verdicts import above, all_of

NAN = float("nan")
COVERS = {2: "51", 3: "75", 4: "87", 5: "89"}  # per cent of experiments, by simulation
OLDER = {  # what the present rule needs, and was not kept
    "rhyme": "the share and the distance of each seed",
    "summarise": "the distance and the wins of each seed",
    "t-maze": "the returns of each of five seeds",
    "trpo-trust-region": "the divergence of each update on states that it did not see",
    "policy-gradient": "the distance of the mean gradients",
    "deadly-triad": "at least five seeds other than those that the step size was chosen by",
}
Judged = tuple[list[Row], str, str]


def row(stored: dict[str, Any], seeds: int) -> Row:
    """A row as it was stored; intervals of those days are called what they were."""
    numbers = {k: NAN if stored[k] is None else stored[k] for k in ("measured", "low", "high")}
    told = stored.get("interval", "")
    if not told and not math.isnan(numbers["low"]):
        told = f"percentile bootstrap of {seeds} seeds, which covers {COVERS[seeds]} %, not 95"
    scores = tuple(stored.get("scores", ()))
    return Row(stored["what"], **numbers, published=stored["published"], interval=told,
               scores=scores)  # fmt: skip


def named(rows: list[Row], what: str) -> int:
    return next(i for i, row in enumerate(rows) if row.what.startswith(what))


def rules(rows: list[Row], folder: Path) -> Judged:
    """Learned rules: each rule's lifetime was kept, and A2C's in the mean over grids."""
    lives = np.array(json.loads((folder / "curves/lpg.json").read_text())["lifetime"]["rules"])
    last = lives[:, -lives.shape[1] // 10 :].mean(1)
    a2c, like = (rows[named(rows, f"held-out grids, A2C{more}")] for more in (" (", " that"))
    for what, scores in (
        ("held-out grids, learned", last),
        ("... rules over A2C", last / a2c.measured),
        ("... rules over it", last / like.measured),
        ("... over the whole lifetime, learned", lives.mean(1)),
    ):
        i = named(rows, what)
        rows[i] = row_of(rows[i].what, scores)
    times = [
        rows[named(rows, f"{world}: rules")].measured
        / rows[named(rows, f"{world}: random")].measured
        for world in ("7x7 grids, three objects", "networks in place of tables")
    ]
    unknown = Row("grid by grid", NAN, NAN, NAN)  # only means over grids were kept
    verdict, why = lpg.verdict_of(rows[named(rows, "... rules over it")], unknown, min(times))
    return rows, verdict, why


def maze(rows: list[Row], folder: Path) -> Judged:
    """Two seeds, of which the bounds were the two numbers themselves."""
    rows = [r if math.isnan(r.low) else row_of(r.what, [r.low, r.high]) for r in rows]
    held, seen = (rows[named(rows, f"LSTM: {where}")] for where in ("held-out", "mazes learned"))
    gain = Row("unknown seed by seed", NAN, NAN, NAN)
    return rows, *a3c_maze.verdict_of(held, seen, gain, rows[0].measured)


def explored(rows: list[Row], folder: Path) -> Judged:
    return rows, *ngu.verdict_of(rows)


def games(rows: list[Row], folder: Path) -> Judged:
    """The losses of each seed were kept."""
    for i, name in enumerate(("first", "second")):
        rows[i] = alphazero.share_lost(name, np.array(rows[i].scores), 1000)
    lost = np.array([row.scores for row in rows[:2]]).T
    return rows, *alphazero.verdict(lost, rows[-2:])


def contracted(rows: list[Row], folder: Path) -> Judged:
    """Sweeps without chance: their numbers are all there is."""
    return rows, *value_iteration.verdict_of(rows)


def climbed(rows: list[Row], folder: Path) -> Judged:
    """The scores at each point of each seed were kept."""
    ppo = json.loads((folder / "points.json").read_text())["ppo"]
    climb = over_optimisation.Climb(*(np.array(ppo[name]) for name in ("kl", "proxy", "gold")))
    rise = over_optimisation.first_rise(climb)
    rows = [*rows[:6], rise, *(row for row in rows[6:] if row.what != rise.what)]
    return rows, *over_optimisation.verdict(rows)


def cheetah(rows: list[Row], folder: Path) -> Judged:
    mean, std, floor = ppo_mujoco.PUBLISHED["HalfCheetah-v4"]
    verdict = ppo_mujoco.verdict_of([above(rows[1], floor)], [above(rows[1], mean - std)])
    return rows, verdict, ppo_mujoco.why_of(("HalfCheetah-v4",))


def few_steps(rows: list[Row], folder: Path) -> Judged:
    """MB-MPO's curves were kept, and those of SAC, DDPG and TD3 on Pendulum in `returns/`."""
    parts = []
    for task in (mb_mpo.PENDULUM, mb_mpo.REACHER):
        found = {}
        for kind in task.steps:
            path = curve_of(task.env, kind.__name__, folder)
            if path is None:
                parts.append("cannot tell")
                continue
            at = first_there(path, task.wanted)
            found[kind] = np.where(np.isfinite(at), at, task.steps[kind])[:5]
            what = f"{task.env}: real steps of {kind.__name__} to {task.wanted:g}"
            put(rows, row_of(what, found[kind]))
            if kind is MBMPO and not np.isfinite(at).all():
                parts.append("not reproduced")
        for kind in (k for k in mb_mpo.WANTED if k in found):
            factor = row_of(f"{task.env}: factor over {kind.__name__}", mb_mpo.factors(found, kind))
            put(rows, factor)
            parts.append(above(factor, mb_mpo.WANTED[kind]))
    pairs = [(r.what, r.low, r.high) for r in rows if "factor over" in r.what]
    told = "; ".join(f"{what} {low:.1f} to {high:.1f}" for what, low, high in pairs)
    return rows, all_of(*parts), f"{told}; none on Reacher for SAC, DDPG, TD3 ({mb_mpo.RULE})"


def curve_of(env: str, kind: str, folder: Path) -> Path | None:
    own = folder / f"curves/mb-mpo-{kind.lower()}-{env}.json"
    lent = RESULTS / f"returns/{kind.lower()}-{env.split('-')[0].lower()}.json"
    return next((path for path in (own, lent) if path.is_file()), None)


def first_there(path: Path, wanted: float) -> np.ndarray:
    """The real step [seed] at which a return was first there; 1,000 random ones come before the
    curves in `returns/`."""
    found = json.loads(path.read_text())
    before = 1000 if path.parent.name == "returns" else 0
    values = np.array(found["returns"], float)
    return mb_mpo.reached(np.array(found["steps"]) + before, values, wanted)


def put(rows: list[Row], row: Row) -> None:
    """Puts a row in the place of the one that begins alike, or at the end."""
    same = [i for i, old in enumerate(rows) if old.what.partition(" (")[0] == row.what]
    if same:
        rows[same[0]] = row
    else:
        rows.append(row)


ANEW = {
    "lpg": rules,
    "a3c-maze": maze,
    "ngu": explored,
    "mb-mpo": few_steps,
    "alphazero": games,
    "value-iteration": contracted,
    "over-optimisation": climbed,
    "ppo-mujoco": cheetah,
}
CHANGED = ("alphazero", "over-optimisation", "ppo-mujoco")  # since their fresh seeds were run


def judged(stored: dict[str, Any], folder: Path, seeds: int) -> Judged:
    rows = [row(r, seeds) for r in stored["rows"]]
    name = stored["name"]
    if name in ANEW:
        return ANEW[name](rows, folder)
    then = stored.get("then", stored)
    why = (
        f"The present rule has not been applied. By the rule of {stored['date']}, on seeds from 0 "
        f'on, it was called "{then["verdict"]}": {then["why"]}. The present rule needs '
        f"{OLDER[name]}, which {'were' if seeds > 1 else 'was'} not kept."
    )
    return rows, "cannot tell", why


def written(file: str) -> None:
    stored = read(file)
    if stored["name"] not in (*ANEW, *OLDER) or (
        stored.get("seed") is not None and stored["name"] not in CHANGED
    ):
        return
    folder = (RESULTS / file).parent
    configs = curves_of(file).values()
    seeds = max((config["seeds"] for config in configs), default=5)
    rows, verdict, why = judged(stored, folder, max(seeds, 5 if stored["name"] == "lpg" else 0))
    pictures = [folder / name for name in stored["pictures"]]
    result = Reproduction(stored["name"], stored["scale"], rows, verdict, why, pictures)
    then = stored.get("then") or {key: stored[key] for key in ("verdict", "why")}
    applied = {"date": time.strftime("%Y-%m-%d"), "applied": stored["name"] in ANEW}
    fresh = {"judged": applied, "then": then}
    content = stored | reproduction.to_json(result, folder) | fresh
    (RESULTS / file).write_text(json.dumps(content, indent=1) + "\n")
    keys = ("date", "seconds", "commit", "spinward", "python", "machine")
    facts = {key: stored[key] for key in keys if stored.get(key)}
    facts = {"seed": stored.get("seed") or 0, **facts, "judged anew": fresh["judged"]["date"]}
    (folder / "report.html").write_text(reproduction.html(result, facts))
    print(f"{stored['name']:<20}{then['verdict']} -> {verdict}: {why[:160]}")


if __name__ == "__main__":
    for path in sorted(RESULTS.glob("reproduce/*/rows.json")):
        written(path.relative_to(RESULTS).as_posix())
