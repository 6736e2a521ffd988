"""`spinward tune ALGORITHM ENV --tune SETTING=VALUES`: a search for settings."""

import argparse
from pathlib import Path
from typing import Any

from spinward.cli import train, train_flags
from spinward.cli.parser import Parser, print_json, say
from spinward.cli.used import choice_of, formatted, listed, statement
from spinward.store import settings

ABOUT = """Search for settings of an algorithm. The best trial and the settings that the search
started from are then trained on seeds that no trial had. The same command goes on with a search
that was stopped; more --trials continue one that has ended."""


def run(words: list[str]) -> int:
    name, *_ = [*make_parser(None).places(words), ""]
    kind = settings.find("algorithms", name) if name and not {"-h", "--help"} & set(words) else None
    ask = train_flags.with_env(make_parser(kind).read(words))
    choice = choice_of(kind, ask.env, ask.steps, ask.preset, ask.own["env"])
    from spinward.errors import SettingsError
    from spinward.tuning import search
    from spinward.tuning.space import space_of
    from spinward.tuning.trial import Scoring

    experiment = experiment_of(kind, ask, choice)
    names = [name for name, _ in ask.tune]
    if twice := [name for name in names if names.count(name) > 1]:
        raise SettingsError(f"--tune {twice[0]} is there twice: give all its values at once")
    space = space_of(experiment.algorithm, dict(ask.tune))
    asked = search.Search(
        experiment, space, ask.trials, ask.trial_batch, Scoring(ask.evaluate_episodes), ask.confirm
    )
    search.check_numbers(asked)
    say(f"{name} in {experiment.env}: {', '.join(f'{n} in {v}' for n, v in space.items())}")
    if preset := statement(choice, train.given(ask)):
        say(f"trial 0 has the {preset}")
    done = search.run(asked, Path(ask.out), ask.name, lambda line: say(of_trial(line)))
    finish(done, ask, name)
    return 0


def make_parser(kind: Any) -> Parser:
    parser = Parser("tune", ABOUT, train.PARTS)
    parser.add_argument("algorithm", help="a name of `spinward algorithms`, or module:Class")
    parser.add_argument("env", help="a name of `spinward envs`, or module:Class")
    add_search(parser)
    whole = settings.int_or_whole
    parser.add_argument("--steps", type=whole, default=100_000, help="of each seed")
    parser.add_argument("--seeds", type=whole, default=3, help="of each trial")
    parser.add_argument("--seed", type=whole, default=0, help="the first of them")
    parser.add_argument(
        "--evaluate-episodes",
        type=whole,
        default=0,
        help="score by so many after training; 0: by the last tenth of training",
    )
    parser.add_argument(
        "--confirm", type=whole, default=5, help="seeds that no trial had, for the best; 0: none"
    )
    parser.add_argument("--reward", default="", help="of `spinward rewards`, or module:function")
    parser.add_argument("--data", default="", help="transitions to learn from: a file, or a run")
    parser.add_argument("--preset", default="", help="by its name, for what the search starts from")
    parser.add_argument("--logs", type=int, default=100, help="points of a learning curve")
    parser.add_argument("--out", default="runs", help="folder of runs")
    parser.add_argument("--name", default="", help="of the search's folder in it")
    parser.add_argument("--json", action="store_true", help="end with one JSON document")
    train_flags.add_env(parser, kind)
    if kind is not None:
        train.add_settings(parser, kind, {})
    return parser


def add_search(parser: Parser) -> None:
    """Adds the flags that say what is searched."""
    whole = settings.int_or_whole
    parser.add_argument(
        "--tune",
        action="append",
        type=setting,
        default=[],
        metavar="SETTING=VALUES",
        help="what may change: LOW:HIGH, LOW:HIGH:log, or values with commas; several times "
        "(default: lr, from a tenth to ten times)",
    )
    parser.add_argument("--trials", type=whole, default=32)
    parser.add_argument(
        "--trial-batch", type=whole, default=8, help="trials that are proposed together"
    )


def setting(text: str) -> tuple[str, str]:
    name, equals, values = text.partition("=")
    if not (name and equals and values):
        raise argparse.ArgumentTypeError(f"{text!r} is not SETTING=VALUES, as in lr=1e-4:1e-2:log")
    return name.replace("-", "_"), values


def experiment_of(kind: Any, ask: argparse.Namespace, choice: Any) -> Any:
    """The experiment of trial 0."""
    rest = {"reward_model": "", "skip": False, "max_length": 0, "held_out": 0.0, "model": ""}
    rest |= {"demos": "", "log_data": False, "workers": 0, "first_come": False, "evaluate_env": ""}
    rest |= {"evaluate_every": 0, "evaluate_limit": 100_000, "keep_best": False, "stop_at": None}
    rest |= {"start_from": "", "start_checkpoint": "last", "start_parts": (), "freeze": ()}
    whole = argparse.Namespace(**{**rest, **vars(ask), "evaluate_episodes": 10})
    return train.experiment_of(kind, whole, choice)


def of_trial(line: dict[str, Any]) -> str:
    """A line on a trial."""
    from spinward.tuning.reading import score

    outcome = line["reason"] or f"{score(line):.4g}"
    return f"trial {line['number']}: {listed(settings.from_json(line['settings']))}: {outcome}"


def finish(done: Any, ask: argparse.Namespace, name: str) -> None:
    """Draws the trials, and prints the answer."""
    from spinward.report.tuning import draw

    answer, best = done.confirmed, done.best
    picture = draw(done)
    if ask.json:
        print_json({"path": str(done.path), "trials": len(done.trials), **answer})
    show = say if ask.json else print
    show(f"best of {len(done.trials)} trials: {listed(best)} (trial {answer['trial']})")
    for text in checked_on_others(answer):
        show(text)
    if all_alike(done.trials):
        show("every trial had the same score, so that this says nothing of the settings")
    if not is_better(answer):
        best = {}
        show("so nothing better was found than what the search started from")
    show(f"train with it: spinward train {name} {ask.env} {flags_of(ask, best)}")
    show(f"picture: {picture}")


def flags_of(ask: argparse.Namespace, best: dict[str, Any]) -> str:
    """The flags of `train` for the settings of the best trial."""
    values = {**train.given(ask), **best, "steps": ask.steps}
    values |= {name: vars(ask)[name] for name in ("reward", "data", "preset") if vars(ask)[name]}
    values |= {f"{part}.{n}": v for part, own in ask.own.items() for n, v in own.items()}
    return " ".join(f"--{n.replace('_', '-')} {formatted(v)}" for n, v in values.items())


def checked_on_others(answer: dict[str, Any]) -> list[str]:
    """What other seeds say of the best trial and of the start."""
    from spinward.evaluation.statistics import sentence

    if "best" not in answer:
        return []
    count, chance = len(answer["seeds"]), answer["probability_of_improvement"]
    seeds = "1 seed" if count == 1 else f"{count} seeds"
    texts = [f"on {seeds} that no trial had: {sentence(answer['best'], '.4g')}"]
    texts.append(f"what the search started from: {sentence(answer['start'], '.4g')}")
    if chance is not None:
        texts.append(f"a run of the best beats one of the start in {chance:.0%} of pairs")
    return texts


def all_alike(trials: list[dict[str, Any]]) -> bool:
    """Whether there are several trials, and all have one score."""
    from spinward.tuning.reading import score

    return len(trials) > 1 and len({score(line) for line in trials}) == 1


def is_better(answer: dict[str, Any]) -> bool:
    """Whether the best trial beat the start: on other seeds, or without these among the trials."""
    if "best" not in answer:
        return bool(answer["trial"] != 0)
    best, start = (answer[name]["value"] for name in ("best", "start"))
    return best is not None and (start is None or best > start)
