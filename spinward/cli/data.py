"""`spinward data VERB ...`: data sets of logged steps."""

import argparse
import math
from pathlib import Path
from typing import Any

from spinward.cli import record
from spinward.cli.parser import Parser, print_json, say
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
    parser.add_argument(
        "--fill", default="", help="columns whose cells may be missing: their mean stands for them"
    )
    parser.add_argument("--env", default="", help="the environment's name, for the card")
    parser.add_argument("--licence", default="", help="of the data, for the card")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return imported(parser.read(words))


def imported(ask: argparse.Namespace) -> int:
    from spinward.data.importing import import_table
    from spinward.data.plan import ImportOptions, Plan

    said = {role: getattr(ask, role) for role in ROLES}
    repair = tuple(filter(None, ask.repair.split(",")))
    bounds = ask.action_low, ask.action_high
    rest = ask.fill, ask.actions, *bounds, ask.env, ask.licence
    options = ImportOptions(said, ask.ends, repair, *rest)
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

    data = opened(path)
    content = data.card.statistics
    if as_json:
        print_json({"data": str(path), "rows": data.rows, "episodes": content["episodes"]})
    else:
        print(f"{data.rows:,} steps in {content['episodes']:,} episodes: {path}")
    return 0


def inspect(words: list[str]) -> int:
    parser = Parser("data inspect", "Say what a data set holds, and what may go wrong with it.")
    parser.add_argument("data", help="a data set, or a run that logged one")
    parser.add_argument("--html", default="", help="write a page with pictures to this file")
    add_reading(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    ask = parser.read(words)
    from spinward.data.formats import opened_any
    from spinward.data.inspection import described, inspected
    from spinward.report.data_page import html
    from spinward.store.files import write_atomically

    with opened_any(Path(ask.data), options_of(ask)) as data:
        content = inspected(data)
    if ask.html:
        write_atomically(Path(ask.html), html(content).encode())
    if ask.json:
        print_json(content)
        return 0
    print(*described(content), sep="\n")
    if ask.html:
        print(f"page: {ask.html}")
    return 0


def convert(words: list[str]) -> int:
    parser = Parser("data convert", "Read a data set of another format, or write one.")
    parser.add_argument("data", help="files of Minari, D4RL, RLDS, Dopamine or npz; or one of ours")
    parser.add_argument("--out", required=True, help="the folder to write")
    parser.add_argument("--to", default="spinward", choices=["spinward", "minari"], help="format")
    add_reading(parser)
    parser.add_argument("--env", default="", help="the environment's name, for the card")
    parser.add_argument("--licence", default="", help="of the data, for the card")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    ask = parser.read(words)
    from spinward.data.formats import converted, exported

    options = options_of(ask, env=ask.env, licence=ask.licence)
    if ask.to == "minari":
        count = exported(Path(ask.data), Path(ask.out), options)
        print(f"{count:,} episodes: {ask.out}")
        return 0
    for line in converted(Path(ask.data), Path(ask.out), options):
        say(line)
    return shown(Path(ask.out), ask.json)


def add_reading(parser: Parser) -> None:
    """Adds the flags that say what another format leaves open."""
    parser.add_argument(
        "--ends", default="", help="of RLDS without is_terminal, or of Dopamine: what its ends are"
    )
    parser.add_argument("--actions", type=int, default=0, help="choices of a discrete action")
    parser.add_argument("--action-low", type=float, help="bound of the actions; -1 otherwise")
    parser.add_argument("--action-high", type=float, help="the other bound; 1 otherwise")
    parser.add_argument("--repair", default="", help="what to mend: missing, both-ends")


def options_of(ask: argparse.Namespace, **more: Any) -> Any:
    """How another format is to be read."""
    from spinward.data.plan import ImportOptions

    repair = tuple(filter(None, ask.repair.split(",")))
    bounds = {"low": ask.action_low, "high": ask.action_high}
    return ImportOptions(repair=repair, ends=ask.ends, actions=ask.actions, **bounds, **more)


def split(words: list[str]) -> int:
    parser = Parser("data split", "Split a data set by episode, into OUT/train and OUT/validation.")
    parser.add_argument("data", help="a data set")
    parser.add_argument("--out", required=True, help="the folder of both parts")
    parser.add_argument("--validation", type=float, default=0.1, help="share of the episodes")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of episodes")
    ask = parser.read(words)
    from spinward.data.mixing import split as write

    for name, rows in write(Path(ask.data), Path(ask.out), ask.validation, ask.seed).items():
        print(f"{rows:,} steps: {Path(ask.out) / name}")
    return 0


def mix(words: list[str]) -> int:
    parser = Parser("data mix", "Write episodes of one or more data sets as one data set.")
    parser.add_argument("data", nargs="+", help="data sets of the same spaces")
    parser.add_argument("--out", required=True, help="the data set's folder")
    parser.add_argument("--weights", default="", help="shares of the steps, as in 0.3,0.7")
    parser.add_argument(
        "--repeat", action="store_true", help="with weights: take episodes of small sets again"
    )
    parser.add_argument("--rows", type=int, default=0, help="steps; otherwise all there are")
    parser.add_argument("--min-return", type=float, default=-math.inf, help="of an episode")
    parser.add_argument("--max-return", type=float, default=math.inf, help="of an episode")
    parser.add_argument("--best", type=float, default=1.0, help="share of the best episodes")
    parser.add_argument("--min-length", type=int, default=1, help="steps of an episode")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of episodes")
    ask = parser.read(words)
    from spinward.data.mixing import Filter
    from spinward.data.mixing import mix as write

    try:
        weights = [float(x) for x in ask.weights.split(",") if x]
    except ValueError:
        raise SettingsError(f"--weights {ask.weights}: expected numbers, as in 0.3,0.7") from None
    which = Filter(ask.min_return, ask.max_return, ask.best, ask.min_length)
    paths = [Path(name) for name in ask.data]
    if ask.repeat and not weights:
        raise SettingsError("--repeat needs --weights: the share of the steps of each data set")
    counts = write(paths, Path(ask.out), weights, ask.rows, which, ask.seed, ask.repeat)
    for path, rows in zip(paths, counts, strict=True):
        print(f"{rows:,} steps ({rows / sum(counts):.1%}) of {path}")
    return shown(Path(ask.out), False)


def generate(words: list[str]) -> int:
    from spinward.store import settings

    about = "Train an agent, and record a data set of a known quality."
    parser = Parser("data generate", about, parts=("env",))
    parser.add_argument("env", help="a name of `spinward envs`")
    parser.add_argument("out", help="the data set's folder")
    parser.add_argument(
        "--quality",
        required=True,
        help="random, medium, medium-replay, medium-expert, expert or narrow",
    )
    parser.add_argument("--steps", type=settings.int_or_whole, default=100_000, help="transitions")
    parser.add_argument("--algorithm", default="", help="otherwise sac, dqn or ppo, by the actions")
    parser.add_argument(
        "--train-steps", type=settings.int_or_whole, default=100_000, help="of the agent"
    )
    parser.add_argument("--seed", type=int, default=0, help="of all that is random")
    parser.add_argument("--licence", default="", help="of the data, for the card")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    ask = parser.read(words)
    from spinward.run import device, qualities
    from spinward.run.experiment import EnvChoice

    device.prepare()
    env = EnvChoice(ask.env, ask.own["env"])
    asked = env, ask.quality, ask.steps, ask.algorithm, ask.train_steps, ask.seed, ask.licence
    out = Path(ask.out)
    card = qualities.generate(qualities.Request(*asked), out, progress())
    if ask.json:
        print_json({"data": str(out), "rows": card.statistics["rows"], **card.reference})
        return 0
    print(*qualities.lines(card), sep="\n")
    return shown(out, False)


def progress() -> Any:
    """A watcher that shows how far the agent's training is."""
    shown: list[Any] = []

    def watch(point: Any) -> None:
        from spinward.cli.progress import Progress

        if not shown:
            shown.append(Progress(point.here().made.experiment))
        shown[0](point)

    return watch


VERBS = {
    "generate": (generate, "train an agent, and record data of a known quality"),
    "record": (record.run, "record transitions of a run's policy, or of a person who plays"),
    "inspect": (inspect, "say what a data set holds; --html with pictures"),
    "convert": (convert, "read Minari, D4RL, RLDS, Dopamine and npz files; write Minari"),
    "split": (split, "split by episode into parts to train on and to validate with"),
    "mix": (mix, "join data sets, with weights and filters"),
    "import": (import_, "read a table of decisions: CSV, JSON lines, Parquet"),
}
