"""`spinward data record`: steps of a run's policy, or of a person who plays, as a data set."""

import argparse
import secrets
from pathlib import Path
from typing import Any

from spinward import interrupts
from spinward.cli.parser import OLDER, Parser, say
from spinward.errors import SettingsError

OF_POLICY = ("steps", "explore", "trust", "older")  # flags
OF_PERSON = ("fps", "keys", "idle", "reach", "task", "player", "unfinished", "port")
ADD = "of a person who plays: add --human"


def make_parser() -> Parser:
    about = "Record transitions of a run's policy, or of a person who plays, as a data set."
    parser = Parser("data record", about, parts=("env",))
    parser.add_argument("run", help="the run's folder; with --human the name of an environment")
    parser.add_argument("--out", required=True, help="the data set's folder")
    parser.add_argument("--seed", type=int, default=0, help="which of the run's seeds acts; with "
                        "--human of the first episode")  # fmt: skip
    parser.add_argument("--licence", default="", help="of the data, for the card")
    policy = parser.add_argument_group("of a run's policy")
    policy.add_argument("--steps", type=int, default=10_000, help="transitions")
    policy.add_argument("--explore", action="store_true", help="act as in training")
    policy.add_argument("--trust", action="store_true", help="run code of the run's own")
    policy.add_argument("--older", action="store_true", help=OLDER)
    person = parser.add_argument_group("of a person")
    person.add_argument("--human", action="store_true", help="open a page on which a person plays")
    person.add_argument("--fps", type=float, default=15.0, help="steps a second; 0: one for a key")
    person.add_argument("--keys", default="", help="keys of choices, as left=0,right=1,space=2,q=3")
    person.add_argument("--idle", type=int, help="choice where no key is pressed; otherwise to "
                        "stay, or the last one again")  # fmt: skip
    person.add_argument("--reach", type=float, default=1.0, help="of a number, where a key is "
                        "pressed; of actions with bounds as a share of them")  # fmt: skip
    person.add_argument("--task", default="", help="one sentence: what to do")
    person.add_argument("--player", default="", help="who plays, for the card")
    person.add_argument("--unfinished", default="keep", choices=["keep", "discard"],
                        help="what becomes of an episode that is half-way when the page closes: "
                        "kept as truncated, or not")  # fmt: skip
    person.add_argument("--port", type=int, default=8602, help="0: any that is free")
    return parser


def run(words: list[str]) -> int:
    parser = make_parser()
    ask = parser.read(words)
    for flag in OF_POLICY if ask.human else OF_PERSON:
        if getattr(ask, flag) != parser.get_default(flag):
            whose = "of a run's policy; a person plays as long as they do"
            raise SettingsError(f"--{flag} is {whose if ask.human else ADD}")
    if ask.human:
        return by_a_person(ask)
    if ask.own["env"]:
        raise SettingsError(f"--env.{min(ask.own['env'])} is {ADD}")
    from spinward.run.recording import record
    from spinward.run.run import load

    read = load(ask.run, ask.trust, ask.older)
    rows = record(read, Path(ask.out), ask.steps, ask.seed, ask.explore, ask.licence)
    print(f"{rows:,} transitions: {ask.out}")
    return 0


def by_a_person(ask: argparse.Namespace) -> int:
    """Serves the page until it is closed."""
    if not 0.0 <= ask.fps <= 60.0:
        raise SettingsError(f"--fps {ask.fps:g} must be between 0 and 60")
    if not 0 <= ask.seed < 2**31:
        raise SettingsError(f"--seed {ask.seed} must be between 0 and 2**31 - 1")
    from spinward.envs import ids
    from spinward.envs.action_names import names_of
    from spinward.people import serving
    from spinward.people.controls import controls_of
    from spinward.people.play_server import PlayedGame
    from spinward.people.playing import EpisodeLog, about_person, check_players
    from spinward.run import device

    device.prepare()
    env = ids.make(ask.run, ask.own["env"])
    check_players(env, ask.run)
    controls = controls_of(env.spec.action, names_of(env), ask.keys, ask.idle, ask.reach)
    log = EpisodeLog(Path(ask.out), about_person(env.spec, ask.run, ask.player, ask.licence))
    address = serving.Address(port=ask.port)
    serving.check_port(address)
    game = PlayedGame(ask.run, env.spec, controls, ask.fps, ask.task[:500], ask.seed)
    serve(env, game, log, address, ask.unfinished == "keep")
    kept = log.kept
    where = log.path if kept.steps else "nothing is written"
    print(f"{kept.steps:,} steps in {kept.episodes:,} episodes: {where}")
    return 0


def serve(env: Any, game: Any, log: Any, address: Any, keep: bool) -> None:
    from spinward.people import serving
    from spinward.people.play_server import PlayServer
    from spinward.people.playing import opened_to_play

    opened, token = serving.listening(address), secrets.token_urlsafe(24)
    port = opened.getsockname()[1]
    places = serving.places(address, port)
    server = PlayServer(lambda: opened_to_play(env, game.name), game, log, token, places, say)
    print(f"play {game.name}: http://{address.host}:{port}/enter#{token}", flush=True)
    say("Ctrl-C ends the page; episodes that are kept stay")
    try:
        with interrupts.raised():
            serving.answer(server.app(), address, opened)
    except KeyboardInterrupt:
        pass
    finally:
        server.close(keep)
