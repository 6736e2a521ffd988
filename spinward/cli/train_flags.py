"""Flags of `spinward train` that say how a run begins, is evaluated and ends."""

import argparse
from typing import Any

from spinward.cli.parser import Parser
from spinward.errors import SettingsError
from spinward.store import settings

DEMO_SHARE = 0.25  # of every batch, where an algorithm learns from demonstrations


def add_start(parser: Parser) -> None:
    """Adds the flags of a start from another run, or from demonstrations."""
    parser.add_argument("--demos", default="", help="demonstrations for --reward preferences")
    group = parser.add_argument_group("start from another run")
    listed = settings.reader(tuple[str, ...])
    group.add_argument(
        "--from", dest="start_from", default="", help="run whose agents to begin with"
    )
    group.add_argument(
        "--from-checkpoint",
        default="last",
        dest="start_checkpoint",
        help="best, last, an iteration",
    )
    group.add_argument(
        "--from-parts",
        dest="start_parts",
        type=listed,
        default=(),
        help="policy, critic, model, all, ...; default: all but optimisers and counters",
    )
    group.add_argument(
        "--freeze", type=listed, default=(), help="parts that do not learn, such as actor,critic"
    )


def add_env(parser: Parser, kind: Any) -> None:
    """Adds the flags that are settings of the environment. An algorithm may have a `stack` of its
    own, for images that are stacks already."""
    group = parser.add_argument_group("environment", "Its own settings are flags: --env.KEY VALUE.")
    group.add_argument(
        "--timeout", type=int, help="seconds after which a worker hangs; default: 60"
    )
    if "stack" not in {name for name, *_ in settings.flags(kind)} if kind else True:
        group.add_argument(
            "--stack", type=int, help="newest observations that the agent sees side by side"
        )


def with_env(ask: argparse.Namespace) -> argparse.Namespace:
    """The flags, with those of `add_env` among the environment's settings."""
    given = {"timeout_s": ask.timeout, "stack": vars(ask).get("stack")}
    ask.own["env"] |= {name: value for name, value in given.items() if value is not None}
    return ask


def with_demos(ask: argparse.Namespace, algorithm: Any) -> argparse.Namespace:
    """The flags, with demonstrations among the settings of the reward. Of an algorithm that learns
    from demonstrations itself, they are a share of every batch besides."""
    if not ask.demos:
        return ask
    if ask.reward != "preferences":
        raise SettingsError(
            f"--demos {ask.demos} is of --reward preferences; to learn from a data set itself, use "
            "--data"
        )
    ask.own["reward"] |= {"demos": ask.demos}
    if dict(vars(algorithm)).get("demonstrated") and not ask.data:
        ask.data = ask.demos
        ask.own["data"] = {"share": DEMO_SHARE, **ask.own["data"]}
    return ask


def add_evaluations(parser: Parser) -> None:
    """Adds the flags of evaluations during training."""
    group = parser.add_argument_group("evaluations during training")
    whole = settings.int_or_whole
    group.add_argument(
        "--evaluate-every",
        type=whole,
        default=0,
        help="env steps of each seed between them; rounded up to whole log intervals",
    )
    group.add_argument("--evaluate-env", default="", help="another environment for them")
    group.add_argument("--evaluate-episodes", type=whole, default=10, help="of each seed's policy")
    group.add_argument(
        "--evaluate-limit", type=whole, default=100_000, help="steps that cut an episode"
    )
    group.add_argument(
        "--keep-best", action="store_true", help="keep each seed's agent that scored highest"
    )
    group.add_argument(
        "--stop-at", type=float, help="end when all seeds have this return, evaluated if they are"
    )


def evaluations_of(ask: argparse.Namespace) -> dict[str, Any]:
    """The fields of an experiment that the flags of evaluations set."""
    from spinward.run.experiment import EnvChoice

    names = ("evaluate_every", "evaluate_episodes", "evaluate_limit", "keep_best", "stop_at")
    own = ask.own["evaluate-env"]
    other = EnvChoice(ask.evaluate_env or (ask.env if own else ""), own)
    return {name: getattr(ask, name) for name in names} | {"evaluate_env": other}


def start_of(ask: argparse.Namespace) -> dict[str, Any]:
    """The fields of an experiment that the flags of its start set."""
    names = ("start_from", "start_checkpoint", "start_parts", "freeze")
    return {name: getattr(ask, name) for name in names}
