"""`spinward play RUN`: a person plays a game against a run's agent, in the terminal or a page."""

import secrets
import sys
from typing import Any

from spinward import interrupts
from spinward.cli.parser import OLDER, Parser, say


def run(words: list[str]) -> int:
    parser = Parser("play", "Play a game against a run's agent.")
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("--seed", type=int, default=0, help="which of the run's seeds plays")
    parser.add_argument("--second", action="store_true", help="the agent begins")
    parser.add_argument("--browser", action="store_true", help="open a page to play on")
    parser.add_argument("--port", type=int, default=8603, help="of the page; 0: any that is free")
    parser.add_argument("--trust", action="store_true", help="run code of the run's own")
    parser.add_argument("--older", action="store_true", help=OLDER)
    ask = parser.read(words)
    from spinward.run.players import Sitting
    from spinward.run.run import load

    run = load(ask.run, ask.trust, ask.older)
    seeds = run.config["seeds"]
    if not 0 <= ask.seed < seeds:
        parser.error(f"--seed {ask.seed} must be between 0 and {seeds - 1}")
    if ask.browser:
        return on_a_page(run, ask.seed, ask.second, ask.port)
    sitting = Sitting.start(run, ask.seed)
    print("moves are named as on the board; ? shows what the agent thinks; q leaves")
    persons = not ask.second
    while not sitting.over:
        if persons:
            print(sitting.board())
            action = asked(sitting)
            if action is None:
                print("left")
                return 0
        else:
            action = sitting.searched().action
            print(f"the agent plays {sitting.name(action)}")
        result = sitting.move(action)
        persons = not persons
    print(sitting.board())
    won_by_person = result * (-1 if persons else 1)
    print({0: "a draw", 1: "you win", -1: "the agent wins"}[int(won_by_person)])
    return 0


def on_a_page(run: Any, seed: int, second: bool, port: int) -> int:
    """Serves the page until it is closed."""
    from spinward.people import serving
    from spinward.people.match_server import MatchServer
    from spinward.run.players import Sitting

    address = serving.Address(port=port)
    serving.check_port(address)
    sitting = Sitting.start(run, seed)
    sitting.signs()  # a board that cannot be drawn is refused before anything is opened
    opened, token = serving.listening(address), secrets.token_urlsafe(24)
    places = serving.places(address, opened.getsockname()[1])
    name = f"{run.path.name}: {run.experiment.env}"
    server = MatchServer(sitting.again, name, second, token, places, say)
    at = f"http://{address.host}:{opened.getsockname()[1]}/enter#{token}"
    print(f"play {name}: {at}", flush=True)
    say("Ctrl-C ends the page")
    try:
        with interrupts.raised():
            serving.answer(server.app(), address, opened)
    except KeyboardInterrupt:
        pass
    finally:
        server.close()
    return 0


def asked(sitting: Any) -> int | None:
    """The action that a person names; None to leave."""
    legal = sitting.legal()
    if list(legal) == ["pass"]:
        print("you have to pass")
        return int(legal["pass"])
    while True:
        print("your move: ", end="", flush=True)
        line = sys.stdin.readline()
        word = line.strip().lower()
        if not line or word == "q":
            return None
        if word == "?":
            print(sitting.view())
        elif word in legal:
            return int(legal[word])
        else:
            print(f"{word!r} is no legal move; there are {', '.join(legal)}")
