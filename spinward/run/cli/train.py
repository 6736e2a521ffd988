"""`spinward train ALGORITHM ENV`: settings are flags, by their names."""

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

from spinward.errors import SettingsError
from spinward.run import settings
from spinward.run.cli.parser import Parser, print_json, say
from spinward.run.cli.progress import Progress

LENGTHS = {"steps": 100_000, "updates": 10_000}


def run(words: list[str]) -> int:
    name = next((w for w in words if not w.startswith("-")), "")
    kind = settings.find("algorithms", name) if name else None
    words, own = own_settings(words)
    parser = make_parser(kind)
    ask = parser.read(words)
    began = time.monotonic()
    experiment = experiment_of(kind, ask, own)
    from spinward.experience import memory
    from spinward.run.run import create

    run = create(experiment, Path(ask.out), ask.name)
    seeds = f"{experiment.seeds} seeds from" if experiment.seeds > 1 else "seed"
    say(f"{name} in {experiment.env}, {seeds} {experiment.seed}: {run.path}")
    if needed := run.made.store_bytes:
        say(memory.statement(needed, experiment.seeds))
    progress = Progress(experiment)
    run.train(progress, ask.checkpoint_every, trust=True)
    finish(run, began, ask)
    return 0


def make_parser(kind: Any) -> Parser:
    parser = Parser("train", "Train an algorithm in an environment, or on logged data.")
    parser.add_argument("algorithm", help="a name of `spinward algorithms`, or module:Class")
    parser.add_argument("env", help="a name of `spinward envs`, or module:Class")
    parser.add_argument("--steps", type=settings.int_or_whole, default=100_000, help="of each seed")
    parser.add_argument("--seeds", type=int, default=1, help="agents, trained as one program")
    parser.add_argument("--seed", type=int, default=0, help="the first of them")
    parser.add_argument("--reward", default="", help="of `spinward rewards`, or module:function")
    parser.add_argument("--data", default="", help="transitions to learn from: a file, or a run")
    parser.add_argument("--model", default="", help="language model to begin with: folder or run")
    parser.add_argument("--reward-model", default="", help="run of one, to judge completions by")
    parser.add_argument("--log-data", action="store_true", help="keep all steps as a data set")
    parser.add_argument("--workers", type=int, default=0, help="actors of Ray to share the envs")
    parser.add_argument("--first-come", action="store_true", help="learn from each as it comes")
    parser.add_argument("--preset", default="", help="settings of a paper: nature, dopamine, ...")
    parser.add_argument("--out", default="runs", help="folder of runs")
    parser.add_argument("--name", default="", help="of the run's folder in it")
    parser.add_argument("--logs", type=int, default=100, help="points of the learning curve")
    add_running(parser)
    if kind is not None:
        group = parser.add_argument_group(f"settings of {kind.__name__}")
        for name, hint, default, note in settings.flags(kind):
            more: dict[str, Any] = {"nargs": "?", "const": True} if hint is bool else {}
            group.add_argument(
                f"--{name.replace('_', '-')}",
                dest=f"set_{name}",
                type=checked(hint),
                default=argparse.SUPPRESS,
                metavar=settings.describe(hint).split()[-1].upper(),
                help=f"{note} (default: {default})".replace("%", "%%"),
                **more,
            )
    return parser


def add_running(parser: Parser) -> None:
    parser.add_argument(
        "--checkpoint-every", type=float, default=30.0, help="seconds between checkpoints"
    )
    parser.add_argument("--json", action="store_true", help="end with one JSON document")


def checked(hint: Any) -> Any:
    read = settings.reader(hint)

    def value(text: str) -> Any:
        try:
            return read(text)
        except (ValueError, KeyError):
            raise argparse.ArgumentTypeError(f"{text!r} is not {settings.describe(hint)}") from None

    return value


def own_settings(words: list[str]) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """What `--env.KEY VALUE`, `--reward.KEY VALUE` and `--data.KEY VALUE` say, by part, and the
    other words. A value is read as JSON where it is that: a number, true, a list.

    Raises:
        SettingsError: a key without a value.
    """
    rest: list[str] = []
    found: dict[str, dict[str, Any]] = {"env": {}, "reward": {}, "data": {}}
    left = iter(words)
    for word in left:
        flag, equals, value = word.partition("=")
        part, _, key = flag.removeprefix("--").partition(".")
        if not (flag.startswith("--") and part in found and key):
            rest.append(word)
            continue
        value = value if equals else next(left, "")
        if not value or (not equals and value.startswith("--")):
            raise SettingsError(f"{flag} needs a value: {flag} VALUE")
        found[part][key.replace("-", "_")] = read_value(value)
    return rest, found


def read_value(text: str) -> Any:
    """A number, true, false or a list, where that is what it says; else the text itself."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return tuple(value) if isinstance(value, list) else value


def experiment_of(kind: Any, ask: argparse.Namespace, own: dict[str, dict[str, Any]]) -> Any:
    """The experiment that was asked for; what was not is as the preset has it."""
    from spinward.experiments.paper_presets import named
    from spinward.experiments.presets import preset
    from spinward.run.experiment import DataChoice, EnvChoice, Experiment

    given = {k.removeprefix("set_"): v for k, v in vars(ask).items() if k.startswith("set_")}
    chosen, reward = preset(kind, ask.env, ask.steps)
    chosen |= named(kind, ask.preset) if ask.preset else {}
    algorithm = kind(**{**chosen, **given})
    if ask.reward:
        reward = reward_of(ask.reward)
    if ask.reward_model:
        reward = settings.find("rewards", "judge")(run=ask.reward_model)
    if own["reward"]:
        fields = {f.name: getattr(reward, f.name) for f in dataclasses.fields(reward)}
        reward = settings.checked(type(reward), fields | own["reward"])
    return Experiment(
        algorithm,
        EnvChoice(ask.env, own["env"]),
        ask.steps,
        ask.seeds,
        ask.seed,
        reward,
        settings.checked(DataChoice, {"path": ask.data, **own["data"]}),
        ask.logs,
        log_data=ask.log_data,
        workers=ask.workers,
        first_come=ask.first_come,
        model=ask.model,
    )


def reward_of(name: str) -> Any:
    """A reward of ours or of anybody's; a function of two texts is one too."""
    found = settings.find("rewards", name)
    return found() if isinstance(found, type) else settings.find("rewards", "verifier")(name)


def finish(run: Any, began: float, ask: argparse.Namespace) -> None:
    """Writes the report, and says how it went."""
    from spinward.evaluation.statistics import sentence
    from spinward.run.results import summary, write_report

    seconds = time.monotonic() - began
    result = summary(run)
    report = write_report(run)
    points = run.points
    env_steps = points[-1]["env_steps"] * run.config["seeds"] if points else 0
    if ask.json:
        print_json(
            {
                "run": str(run.path),
                "env_steps": env_steps,
                "wall_s": round(seconds, 3),
                "steps_per_s": round(env_steps / seconds, 1),
                "final": result,
            }
        )
    data, offline = run.made.experiment.data, run.made.logged_only
    told = f"over the last tenth of training, {sentence(result)}"
    if result["value"] is None:
        who = f"in {result['unknown']} of {result['seeds']} seeds "
        told = f"no episode ended {who if result['seeds'] > 1 else ''}over the last tenth"
    if offline:
        told = f"learned from {data or 'what the task has'}"
    say(f"done in {seconds:.1f} s: {told}, {env_steps:,} {'updates' if offline else 'env steps'}")
    say(f"report: {report}")
