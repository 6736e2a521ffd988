"""`spinward train ALGORITHM ENV`: settings are flags, by their names."""

import argparse
import dataclasses
import time
from pathlib import Path
from typing import Any

from spinward.cli import train_flags
from spinward.cli.online import go_on, phases
from spinward.cli.parser import Parser, own_settings, print_json, say
from spinward.cli.progress import Progress
from spinward.cli.used import choice_of, for_all, formatted, statement, used
from spinward.errors import SettingsError
from spinward.store import settings

NAME = "data"  # of the environment, where only the spaces of data are known
PARTS = ("env", "reward", "data", "evaluate-env")  # the parts with settings as flags
LENGTHS = {"steps": 100_000, "updates": 10_000}


def run(words: list[str]) -> int:
    name, env, *_ = [*make_parser(None).places(words), "", ""]
    if {"-h", "--help"} & set(words):
        return show_help(words, name, env)
    if name and not env and any(word.partition("=")[0] == "--data" for word in words):
        words = [*words, NAME]  # the card of the data stands in for an environment
    kind = settings.find("algorithms", name) if name else None
    ask = train_flags.with_env(make_parser(kind).read(words))
    began = time.monotonic()
    choice = choice_of(kind, ask.env, ask.steps, ask.preset, ask.own["env"], ask.data)
    experiment, online = phases(experiment_of(kind, ask, choice), ask)
    from spinward.experience import replay_bytes as stored_bytes
    from spinward.run.run import create

    require_loggers(ask.logger)
    run = create(experiment, Path(ask.out), ask.name)
    seeds = f"{experiment.seeds} seeds from" if experiment.seeds > 1 else "seed"
    say(f"{name} in {experiment.env}, {seeds} {experiment.seed}: {run.path}")
    for note in notes_of(run.made):
        say(note)
    if needed := run.made.store_bytes:
        say(stored_bytes.statement(run.made.want, needed, experiment.seeds))
    if outcome := statement(choice, given(ask), not (ask.reward or ask.reward_model)):
        say(f"{outcome} (flags override it; `spinward presets {name}` lists all)")
    progress = Progress(experiment)
    run.train(progress, ask.checkpoint_every, trust=True, loggers=tuple(ask.logger))
    if online:
        run = go_on(run, online, ask)
    finish(run, began, ask)
    return 0


def show_help(words: list[str], name: str, env: str) -> int:
    """The help, with the values that a run of an algorithm in an environment would use."""
    brief = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    brief.add_argument("--steps", type=settings.int_or_whole, default=100_000)
    brief.add_argument("--preset", default="")
    words, own = own_settings(words, PARTS)
    ask, _ = brief.parse_known_args(words)
    if name and not env and is_environment(name):
        make_parser(None).print_help()  # of an environment alone
        print(f"\nin {name}:", *for_all(name, ask.steps, ask.preset), sep="\n  ")
        return 0
    kind = settings.find("algorithms", name) if name else None
    choice = choice_of(kind, env, ask.steps, ask.preset, own["env"]) if env else None
    make_parser(kind, choice.settings if choice else {}).print_help()
    if choice:
        print(f"\nin {env}: {statement(choice) or 'no preset; the defaults are used'}")
    return 0


def is_environment(name: str) -> bool:
    """Whether a single name is an environment's, and not an algorithm's."""
    from spinward.envs import ids

    if ":" in name or name.lower().replace("-", "_") in settings.modules("algorithms"):
        return False
    try:
        ids.make(name)
    except SettingsError:
        return False
    return True


def notes_of(made: Any) -> tuple[str, ...]:
    """The notes on texts that a run leaves out."""
    from spinward.envs.gymnasium import Gymnasium
    from spinward.envs.prompts import FilePrompts
    from spinward.envs.recorded import Recorded
    from spinward.experience.texts import TextBatches

    source = made.parts.source
    if made.logged:
        alone = " (no environment: evaluation needs one, or offline estimates)"
        return (f"{made.logged.note}{alone if isinstance(made.env, Recorded) else ''}",)
    if isinstance(source, TextBatches):
        return source.notes
    return made.env.notes if isinstance(made.env, FilePrompts | Gymnasium) else ()


def make_parser(kind: Any, preset: dict[str, Any] | None = None) -> Parser:
    about = "Train an algorithm in an environment, or on logged data."
    parser = Parser("train", about, PARTS)
    parser.add_argument("algorithm", help="a name of `spinward algorithms`, or module:Class")
    parser.add_argument(
        "env", help="a name of `spinward envs`, or module:Class; not needed with --data"
    )
    parser.add_argument("--steps", type=settings.int_or_whole, default=100_000, help="of each seed")
    parser.add_argument("--seeds", type=int, default=1, help="agents, trained as one program")
    parser.add_argument("--seed", type=int, default=0, help="the first of them")
    parser.add_argument("--reward", default="", help="of `spinward rewards`, or module:function")
    parser.add_argument("--data", default="", help="transitions to learn from: a file, or a run")
    parser.add_argument("--model", default="", help="language model to begin with: folder or run")
    train_flags.add_env(parser, kind)
    train_flags.add_start(parser)
    parser.add_argument("--reward-model", default="", help="run of one, to score completions by")
    parser.add_argument("--skip", action="store_true", help="leave out texts that cannot be used")
    parser.add_argument("--max-length", type=int, default=0, help="tokens to cut longer texts to")
    parser.add_argument("--held-out", type=float, default=0.05, help="share of texts to score by")
    parser.add_argument(
        "--online-steps", type=int, default=0, help="after the data: env steps of the same agents"
    )
    parser.add_argument("--log-data", action="store_true", help="keep all steps as a data set")
    parser.add_argument("--workers", type=int, default=0, help="actors of Ray to share the envs")
    parser.add_argument("--first-come", action="store_true", help="learn from each as it comes")
    parser.add_argument(
        "--preset",
        default="",
        help="by its name, or tuned: for this very task; none: the defaults",
    )
    parser.add_argument("--out", default="runs", help="folder of runs")
    parser.add_argument("--name", default="", help="of the run's folder in it")
    parser.add_argument("--logs", type=int, default=100, help="points of the learning curve")
    train_flags.add_evaluations(parser)
    add_running(parser)
    if kind is not None:
        add_settings(parser, kind, preset or {})
    return parser


def add_settings(parser: Parser, kind: Any, preset: dict[str, Any]) -> None:
    """Adds a flag for each setting of an algorithm; its help has the default and the used value."""
    about = "A number may be a schedule over the run, such as linear:3e-4:0 or cosine:3e-4:0, with "
    about += "warmup:0.05: before it for a rise over a twentieth of the run."
    group = parser.add_argument_group(f"settings of {kind.__name__}", about)
    for one in used(kind, preset):
        value = f"default: {formatted(one.default)}"
        if one.value != one.default:
            value = f"used: {formatted(one.value)}; {value}"
        is_flag = one.hint is bool
        more: dict[str, Any] = {"nargs": "?", "const": True} if is_flag else {}
        group.add_argument(
            f"--{one.name.replace('_', '-')}",
            dest=f"set_{one.name}",
            type=checked(one.hint),
            default=argparse.SUPPRESS,
            metavar="BOOL" if is_flag else settings.describe(one.hint).split()[-1].upper(),
            help=f"{one.meaning} ({value})".replace("%", "%%"),
            **more,
        )


def add_running(parser: Parser) -> None:
    parser.add_argument(
        "--checkpoint-every", type=float, default=30.0, help="seconds between checkpoints"
    )
    parser.add_argument(
        "--logger",
        action="extend",
        type=names_of_loggers,
        default=[],
        help="also log to tensorboard, wandb or trackio; commas between several",
    )
    parser.add_argument("--json", action="store_true", help="end with one JSON document")


def names_of_loggers(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise argparse.ArgumentTypeError(f"{text!r} holds an empty name, as in tensorboard,wandb")
    return names


def require_loggers(names: list[str]) -> None:
    if names:
        from spinward.run import mirror

        mirror.require(tuple(names))


def checked(hint: Any) -> Any:
    read = settings.reader(hint)

    def value(text: str) -> Any:
        try:
            return read(text)
        except SettingsError as error:  # what is wrong with a schedule
            raise argparse.ArgumentTypeError(str(error)) from None
        except (ValueError, KeyError):
            raise argparse.ArgumentTypeError(f"{text!r} is not {settings.describe(hint)}") from None

    return value


def given(ask: argparse.Namespace) -> dict[str, Any]:
    """The settings of the algorithm that were given as flags."""
    return {k.removeprefix("set_"): v for k, v in vars(ask).items() if k.startswith("set_")}


def own_schedule(flags: dict[str, Any]) -> dict[str, Any]:
    """The flags; a schedule of the step size takes the place of a preset's."""
    from spinward.schedules import Schedule

    return ({"anneal_steps": 0} if isinstance(flags.get("lr"), Schedule) else {}) | flags


def experiment_of(kind: Any, ask: argparse.Namespace, choice: Any = None) -> Any:
    """The experiment of the flags; settings without a flag come from the preset."""
    from spinward.run.experiment import DataChoice, EnvChoice, Experiment

    choice = choice or choice_of(kind, ask.env, ask.steps, ask.preset, ask.own["env"], ask.data)
    algorithm, reward = kind(**{**choice.settings, **own_schedule(given(ask))}), choice.reward
    if ask.reward:
        reward = reward_of(ask.reward)
    if ask.reward_model:
        reward = settings.find("rewards", "reward_model_score")(run=ask.reward_model)
    if train_flags.with_demos(ask, algorithm).own["reward"]:
        fields = {f.name: getattr(reward, f.name) for f in dataclasses.fields(reward)}
        reward = settings.checked(type(reward), fields | ask.own["reward"])
    reading = {"skip": ask.skip, "max_length": ask.max_length, "held_out": ask.held_out}
    return Experiment(
        algorithm,
        EnvChoice(ask.env, ask.own["env"]),
        ask.steps,
        ask.seeds,
        ask.seed,
        reward,
        settings.checked(DataChoice, {"path": ask.data, **reading, **ask.own["data"]}),
        ask.logs,
        log_data=ask.log_data,
        workers=ask.workers,
        first_come=ask.first_come,
        model=ask.model,
        **train_flags.evaluations_of(ask),
        **train_flags.start_of(ask),
    )


def reward_of(name: str) -> Any:
    """A reward by name: Spinward's, a user's class, or a user's function of a step or of
    two texts."""
    reward = settings.find("rewards", name)
    if isinstance(reward, type):
        return reward()
    kind = settings.find("rewards", "function")
    own = kind(reward)
    return own if own.takes_a_step else settings.find("rewards", "verifier")(name)


def finish(run: Any, began: float, ask: argparse.Namespace) -> None:
    """Writes the report, and prints the result."""
    from spinward.evaluation.statistics import sentence
    from spinward.report.results import evaluated, shown, summary, write_report
    from spinward.store.headline import RETURN

    seconds = time.monotonic() - began
    result = summary(run)
    report = write_report(run)
    points = run.points
    env_steps = points[-1]["env_steps"] * run.config["seeds"] if points else 0
    scores = evaluated(run)
    if ask.json:
        print_json(
            {
                "run": str(run.path),
                "env_steps": env_steps,
                "wall_s": round(seconds, 3),
                "steps_per_s": round(env_steps / seconds, 1),
                "final": result,
                **({"evaluation": scores} if scores else {}),
            }
        )
    data, offline = run.made.experiment.data, run.made.logged_only
    metric = shown(run)
    outcome = f"over the last tenth of training, {sentence(result)}"
    if metric is not RETURN:
        outcome = f"{metric.label}, {sentence(result, '.4g')}"
    elif result["value"] is None:
        who = f"in {result['unknown']} of {result['seeds']} seeds "
        outcome = f"no episode ended {who if result['seeds'] > 1 else ''}over the last tenth"
    if offline and metric is RETURN:
        outcome = f"learned from {data or 'what the task has'}"
    show = say if ask.json else print  # standard output has one thing: the result
    show(
        f"done in {seconds:.1f} s: {outcome}, {env_steps:,} {'updates' if offline else 'env steps'}"
    )
    if scores:
        show(f"last evaluation, without exploration: {sentence(scores)}")
    show(f"report: {report}")
