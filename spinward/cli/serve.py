"""`spinward serve FOLDER`: an exported policy over HTTP, for this machine and with a token."""

import secrets
from contextlib import suppress
from pathlib import Path

from spinward import interrupts
from spinward.cli.parser import Parser, say

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def run(words: list[str]) -> int:
    parser = Parser("serve", "Serve an exported policy over HTTP.")
    parser.add_argument("folder", help="what `spinward export` wrote")
    parser.add_argument("--host", default=LOOPBACK[0], help="address to listen at")
    parser.add_argument("--port", type=int, default=8765, help="0 is any that is free")
    parser.add_argument("--token", default="", help="that requests have; default: a new one")
    parser.add_argument("--no-token", action="store_true", help="let all of this machine in")
    ask = parser.read(words)
    if ask.no_token and (ask.token or ask.host not in LOOPBACK):
        parser.error(f"--no-token is for {LOOPBACK[0]} alone, and without --token")
    import uvicorn

    from spinward.run import device
    from spinward.run.serving import Served, application

    device.prepare()
    served = Served(Path(ask.folder))
    token = "" if ask.no_token else ask.token or secrets.token_urlsafe(24)
    app = application(served, token)
    say(f"serving {ask.folder} at http://{ask.host}:{ask.port}/act; Ctrl-C ends it")
    if token and not ask.token:
        say(f"token: {token}")
    with suppress(KeyboardInterrupt), interrupts.raised():
        uvicorn.run(app, host=ask.host, port=ask.port, log_level="warning")
    return 0
