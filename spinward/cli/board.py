"""`spinward board [FOLDER]`: a page of all runs of a folder."""

import secrets
from pathlib import Path

from spinward import interrupts
from spinward.cli.parser import Parser, say
from spinward.errors import SettingsError


def run(words: list[str]) -> int:
    parser = Parser("board", "Open a page of a folder's runs and searches: states, curves, videos.")
    parser.add_argument("folder", nargs="?", default="runs", help="the folder that holds the runs")
    parser.add_argument("--port", type=int, default=8601, help="0: any that is free")
    ask = parser.read(words)
    from spinward.tuning.reading import QUESTION

    folder = Path(ask.folder)
    if not folder.is_dir():
        raise SettingsError(f"there is no folder {folder}; expected one that holds runs")
    if (folder / "config.json").is_file():
        raise SettingsError(
            f"{folder} is a run; give the folder that holds it: spinward board {folder.parent}"
        )
    if (folder / QUESTION).is_file():
        raise SettingsError(
            f"{folder} is a search; give the folder that holds it: spinward board {folder.parent}"
        )
    from spinward.board.server import BoardServer
    from spinward.people import serving

    address = serving.Address(port=ask.port)
    serving.check_port(address)
    opened, token = serving.listening(address), secrets.token_urlsafe(24)
    port = opened.getsockname()[1]
    app = BoardServer(folder, token, serving.places(address, port), say).app()
    print(f"the runs of {folder}: http://{address.host}:{port}/enter#{token}", flush=True)
    say("Ctrl-C ends the page; runs are not touched")
    try:
        with interrupts.raised():
            serving.answer(app, address, opened)
    except KeyboardInterrupt:
        say("the page is closed")
    return 0
