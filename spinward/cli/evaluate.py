"""`spinward evaluate RUN`: returns of whole episodes, without exploration; or with `--offline DATA`
what logged steps tell of the policy."""

import argparse
from pathlib import Path
from typing import Any

from spinward.cli.parser import Parser, print_json, say
from spinward.store import settings


def run(words: list[str]) -> int:
    parser = Parser("evaluate", "Score a run's policies over whole episodes.", parts=("env",))
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("--episodes", type=int, default=100, help="of each seed's policy")
    parser.add_argument("--env", default="", help="another environment to score it in")
    parser.add_argument("--explore", action="store_true", help="act as in training")
    parser.add_argument("--seed", type=int, default=0, help="of the episodes")
    parser.add_argument(
        "--limit",
        type=settings.int_or_whole,
        default=0,
        help="steps after which an episode is cut; 0: by itself",
    )
    parser.add_argument("--trust", action="store_true", help="run code of the run's own")
    parser.add_checkpoint()
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    add_offline(parser)
    ask = parser.read(words)
    if ask.episodes < 1:
        parser.error(f"--episodes {ask.episodes} must be at least 1")
    if ask.limit < 0:
        parser.error(f"--limit {ask.limit} must be at least 1, or 0")
    if offline_asked(parser, ask):
        return from_data(ask)
    from spinward.run.experiment import EnvChoice
    from spinward.run.run import load

    run = load(ask.run, ask.trust, ask.older)
    own, trained_in = ask.own["env"], run.experiment.env
    env = EnvChoice(ask.env, own) if ask.env else ""
    if own and not ask.env:
        env = EnvChoice(trained_in.name, trained_in.settings | own)
    score = run.evaluate(ask.episodes, ask.explore, ask.seed, env, ask.checkpoint, ask.limit)
    if ask.json:
        print_json(score.to_json())
    else:
        show(score.to_json())
    return 0


def show(score: dict[str, Any]) -> None:
    """Prints a score: the mean with its interval, and the mean of each seed."""
    from spinward.evaluation.statistics import sentence
    from spinward.evaluation.texts import READ

    count, what = score["episodes"], score["metric"]
    form = ".1f" if what == "return" else ".4g"
    if score["mode"] == READ:
        print(f"{what}, {count} in all: {sentence(score, form)}")
    else:
        of = "" if what == "return" else f"{what}, "
        print(f"{score['mode']}, {count} episodes of each seed: {of}{sentence(score, form)}")
    if score["cut"]:
        say(
            f"{score['cut']} of {count * len(score['per_seed'])} episodes had not ended after "
            f"{score['limit']:,} steps and were cut (--limit); their returns so far count"
        )
    for i, value in enumerate(score["per_seed"]):
        print(f"  seed {i}: {value:{form}}")


def add_offline(parser: Parser) -> None:
    """Adds the flags of an estimate from logged steps."""
    parser.add_argument("--offline", default="", help="estimate the return from this data alone")
    parser.add_argument("--agent", type=int, default=0, help="with --offline: which of the seeds")
    parser.add_argument(
        "--gamma", type=float, default=None, help="with --offline: discount; empty: the run's own"
    )
    parser.add_argument(
        "--epsilon", type=float, default=0.0, help="with --offline: share of random actions"
    )
    parser.add_argument(
        "--clip", type=float, default=float("inf"), help="with --offline: largest weight"
    )
    parser.add_argument(
        "--gate",
        type=float,
        nargs="?",
        const=1.0,
        help="with --offline: end with exit code 6 unless the bounds of the value are above this "
        "share of the data's policy's (1 where no number follows)",
    )
    parser.add_argument(
        "--fit-updates", type=int, default=10_000, help="with --offline: to fit the values"
    )


def offline_asked(parser: Parser, ask: argparse.Namespace) -> bool:
    """Whether logged steps are to be used; flags that contradict that are errors."""
    given = ask.agent or ask.epsilon or ask.gamma is not None or ask.clip != float("inf")
    if (given or ask.gate is not None) and not ask.offline:
        parser.error("--agent, --gamma, --epsilon, --clip and --gate are of --offline DATA")
    if ask.offline and (ask.env or ask.own["env"]):
        parser.error(f"--offline {ask.offline} opens no environment: leave out --env")
    return bool(ask.offline)


def from_data(ask: argparse.Namespace) -> int:
    from spinward.errors import NotDeployed
    from spinward.evaluation.gate import Gate
    from spinward.evaluation.off_policy import in_json, lines
    from spinward.run.off_policy import evaluate_offline, require_held_out
    from spinward.run.run import load

    gate = None if ask.gate is None else Gate(ask.gate)
    if gate:
        gate.check()
    read = load(ask.run, ask.trust, ask.older)
    if gate:
        require_held_out(read, Path(ask.offline))
    say(f"fitting two models of the values, {ask.fit_updates:,} updates each")
    result = evaluate_offline(
        read,
        Path(ask.offline),
        ask.agent,
        ask.explore,
        ask.epsilon,
        ask.gamma,
        ask.checkpoint,
        clip=ask.clip,
        updates=ask.fit_updates,
        seed=ask.seed,
    )
    if gate:
        result["gate"] = gate.decided(result)
    if ask.json:
        print_json(in_json(result))
    else:
        print("\n".join(lines(result)))
    if gate and not result["gate"]["deploy"]:
        raise NotDeployed(gate.line(result["gate"]))
    if gate and not ask.json:
        print(gate.line(result["gate"]))
    return 0
