"""`spinward label RUN`: a page on which people compare what a run does, or texts."""

import argparse
import getpass
from pathlib import Path
from typing import Any

from spinward import interrupts
from spinward.cli.parser import Parser, say

ACTS = ("texts", "export", "add", "people", "leave_out", "count_again", "password")


def make_parser() -> Parser:
    parser = Parser("label", "Open a page on which people compare clips of a run, or texts.")
    parser.add_argument("run", help="the run's folder; with --texts, any folder")
    parser.add_argument("--name", action="append", default=[], help="a labeller; may be repeated")
    parser.add_argument("--task", default="", help="one sentence: what is better")
    parser.add_argument(
        "--texts", default="", help="file of prompts with several answers to compare"
    )
    parser.add_argument("--port", type=int, default=8600, help="0: any that is free")
    parser.add_argument(
        "--host", default="127.0.0.1", help="beyond loopback needs passwords and TLS"
    )
    parser.add_argument(
        "--password", action="store_true", help="set passwords of the named, and end"
    )
    parser.add_argument("--tls-cert", default="", help="certificate in PEM format")
    parser.add_argument("--tls-key", default="", help="its private key")
    parser.add_argument(
        "--behind-proxy", default="", help="public https address of a proxy in front"
    )
    parser.add_argument("--people", action="store_true", help="show labellers' statistics, and end")
    parser.add_argument("--leave-out", default="", help="no longer count this labeller, and end")
    parser.add_argument("--count-again", default="", help="count this labeller again, and end")
    parser.add_argument("--export", default="", help="write a file of labels, and end")
    parser.add_argument("--layout", default="all", help="of the file: all, prompt-chosen-rejected, "
                        "tldr, hh-rlhf or ultrafeedback")  # fmt: skip
    parser.add_argument("--add", default="", help="read a file of labels, and end")
    return parser


def run(words: list[str]) -> int:
    parser = make_parser()
    ask = parser.read(words)
    given = [name for name in ACTS if getattr(ask, name)]
    if len(given) > 1:
        first, second = (f"--{name.replace('_', '-')}" for name in given[:2])
        parser.error(f"{first} and {second} are two commands: give one of them at a time")
    from spinward.people import database as databases
    from spinward.people import texts

    run, questions = Path(ask.run), None
    if ask.texts:  # read before anything is made
        questions = texts.of_file(Path(ask.texts), say)
        run.mkdir(parents=True, exist_ok=True)
    opened = databases.of_run(run, create=bool(ask.texts))
    try:
        return act(opened, ask, questions)
    finally:
        opened.close()


def act(database: Any, ask: argparse.Namespace, questions: Any) -> int:
    """Does what was asked for; without anything, serves the page."""
    from spinward.people import accounts, exchange, texts

    if ask.export:
        count = exchange.export(database, Path(ask.export), ask.layout)
        print(f"{count:,} lines: {ask.export}")
    elif ask.add:
        read = exchange.read_all if ask.layout == "all" else exchange.read_preferences
        print(f"{read(database, Path(ask.add)):,} answers added")
    elif ask.people:
        show_people(database)
    elif ask.leave_out or ask.count_again:
        name = ask.leave_out or ask.count_again
        accounts.Accounts(database).leave_out(name, bool(ask.leave_out))
        print(f"{name} {'no longer counts' if ask.leave_out else 'counts again'}")
    elif ask.password:
        for name in ask.name or [getpass.getuser()]:
            people = accounts.Accounts(database)
            people.give_password(people.named(name), getpass.getpass(f"password of {name}: "))
    else:
        if questions is not None:
            count = texts.ask(database, questions)
            say(f"{count:,} new questions from {ask.texts}")
        serve(database, ask)
    return 0


def serve(database: Any, ask: argparse.Namespace) -> None:
    from spinward.people import serving
    from spinward.people.accounts import Accounts

    people = Accounts(database)
    address = serving.Address(ask.host, ask.port, ask.tls_cert, ask.tls_key, ask.behind_proxy)
    serving.check(address, people, ask.name)
    if ask.task:
        database.note(task=ask.task[:500])
    opened = serving.listening(address)
    scheme = "https" if ask.tls_cert else "http"
    base = ask.behind_proxy.rstrip("/") or f"{scheme}://{ask.host}:{opened.getsockname()[1]}"
    if address.beyond:
        print(f"sign in with name and password: {base}/", flush=True)
    else:
        for name in ask.name or [getpass.getuser()]:
            labeller = people.named(name)
            print(f"{labeller.name}: {base}/enter#{people.give_token(labeller)}", flush=True)
    say("Ctrl-C ends the page; answers are kept")
    try:
        with interrupts.raised():
            serving.serve(database, address, opened, lambda line: say(line))
    except KeyboardInterrupt:
        say("the page is closed; all answers are kept")


def show_people(database: Any) -> None:
    """A table of the labellers, and their agreement."""
    from spinward.people import agreement

    columns = ("answers", "seconds", "left", "equal", "cannot_tell", "agreement", "gold", "repeats")
    print("  ".join(("labeller".ljust(20), *(c.rjust(11) for c in columns))))
    for s in agreement.standings(database):
        values = (number(s._asdict()[c]).rjust(11) for c in columns)
        print("  ".join((s.name.ljust(20), *values)) + ("  left out" if s.left_out else ""))
        for warning in s.warnings:
            print(f"  ! {warning}")
    whole = agreement.agreement(agreement.answers_of(database))
    print(f"agreement: raw {number(whole.raw)}, kappa {number(whole.kappa)}, alpha "
          f"{number(whole.alpha)}, over {whole.compared:,} pairs of answers")  # fmt: skip


def number(value: Any) -> str:
    return "-" if value is None else f"{value:.2f}" if isinstance(value, float) else f"{value:,}"
