"""`spinward data VERB ...`: data sets of logged steps."""

import argparse
from pathlib import Path
from typing import Any

from spinward.cli.parser import OLDER, Parser, print_json, say
from spinward.errors import SettingsError, nearest

ROLES = {
    "obs": "columns of the observation; otherwise all that have no other role",
    "action": "column of the action; several of a continuous one",
    "reward": "column of the reward",
    "episode": "column with the name of the episode",
    "time": "column with the time within it",
    "terminated": "column that is true where the future is worth nothing",
    "truncated": "column that is true where an episode was cut off",
    "done": "column that is true where an episode ended; --ends says how",
    "action_prob": "column with the probability of the action that was taken",
    "mask": "columns that are true for the actions that were allowed",
    "next_obs": "columns of the observation that followed",
    "next_action": "column of the action that followed",
    "ignore": "columns to leave out",
}


def run(words: list[str]) -> int:
    verb = words[0] if words else ""
    if verb in ("", "-h", "--help"):
        print(usage())
        return 0 if verb else 2
    if verb not in VERBS:
        near = nearest(verb, VERBS)
        hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(VERBS)}"
        raise SettingsError(f"there is no data {verb}; {hint}")
    return VERBS[verb][0](words[1:])


def usage() -> str:
    lines = [f"  {name:<10}{what}" for name, (_, what) in VERBS.items()]
    return "\n".join(["usage: spinward data VERB ...", "", *lines])


def record(words: list[str]) -> int:
    parser = Parser("data record", "Record transitions of a run's policy as a data set.")
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("--out", required=True, help="the data set's folder")
    parser.add_argument("--steps", type=int, default=10_000, help="transitions")
    parser.add_argument("--seed", type=int, default=0, help="which of the run's seeds acts")
    parser.add_argument("--explore", action="store_true", help="act as in training")
    parser.add_argument("--licence", default="", help="of the data, for the card")
    parser.add_argument("--trust", action="store_true", help="run code of the run's own")
    parser.add_argument("--older", action="store_true", help=OLDER)
    ask = parser.read(words)
    from spinward.run.recording import record as write
    from spinward.run.run import load

    read = load(ask.run, ask.trust, ask.older)
    rows = write(read, Path(ask.out), ask.steps, ask.seed, ask.explore, ask.licence)
    print(f"{rows:,} transitions: {ask.out}")
    return 0


def import_(words: list[str]) -> int:
    about = "Import a table of decisions: CSV, TSV, JSON lines or Parquet, a row for each."
    parser = Parser("data import", about)
    parser.add_argument("table", help="the file")
    parser.add_argument("--out", default="", help="the data set's folder")
    parser.add_argument("--dry-run", action="store_true", help="print what was understood, and end")
    roles = parser.add_argument_group(
        "columns", "names or patterns such as 'x_*', with commas between them; otherwise guessed"
    )
    for role, what in ROLES.items():
        roles.add_argument(f"--{role.replace('_', '-')}", default="", help=what)
    parser.add_argument(
        "--ends",
        default="",
        choices=["", "terminated", "truncated"],
        help="what the last step of an episode is, where no column says it",
    )
    parser.add_argument("--actions", type=int, default=0, help="choices of a discrete action")
    parser.add_argument("--action-low", type=float, help="lower bound of a continuous action")
    parser.add_argument("--action-high", type=float, help="its upper bound")
    parser.add_argument("--repair", default="", help="what to mend, with commas between")
    parser.add_argument("--env", default="", help="the environment's name, for the card")
    parser.add_argument("--licence", default="", help="of the data, for the card")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return imported(parser.read(words))


def imported(ask: argparse.Namespace) -> int:
    from spinward.data.importing import import_table
    from spinward.data.plan import Options, Plan

    said = {role: getattr(ask, role) for role in ROLES}
    repair = tuple(filter(None, ask.repair.split(",")))
    bounds = ask.action_low, ask.action_high
    options = Options(said, ask.ends, repair, ask.actions, *bounds, ask.env, ask.licence)
    if ask.dry_run:
        return understood(Plan(Path(ask.table), options), ask.json)
    if not ask.out:
        raise SettingsError("name the data set's folder with --out, or look first with --dry-run")
    plan, notes = import_table(Path(ask.table), Path(ask.out), options)
    for line in (*plan.lines(), *notes):
        say(line)
    return shown(Path(ask.out), ask.json)


def understood(plan: Any, as_json: bool) -> int:
    """Prints what was understood of a table, and what is asked or refused."""
    refused = [*plan.questions, *map(str, plan.refused)]
    if as_json:
        print_json({"understood": plan.lines(), "refused": refused})
    else:
        print(*plan.lines(), *(f"refused: {line}" for line in refused), sep="\n")
    return 2 if refused else 0


def shown(path: Path, as_json: bool) -> int:
    """Prints what a data set holds, in a line."""
    from spinward.data.store import opened

    found = opened(path)
    content = found.card.statistics
    if as_json:
        print_json({"data": str(path), "rows": found.rows, "episodes": content["episodes"]})
    else:
        print(f"{found.rows:,} steps in {content['episodes']:,} episodes: {path}")
    return 0


VERBS = {
    "record": (record, "record transitions of a run's policy"),
    "import": (import_, "read a table of decisions: CSV, JSON lines, Parquet"),
}
