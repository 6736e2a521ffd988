"""A served page to play an environment, for tests. It is no test file."""

import threading
import time
from contextlib import contextmanager

import uvicorn
from served import Client

from spinward.envs import ids
from spinward.envs.action_names import names_of
from spinward.people import serving
from spinward.people.controls import controls_of
from spinward.people.play_server import PlayedGame, PlayServer
from spinward.people.playing import EpisodeLog, about_person, opened_to_play

TOKEN = "secret-of-the-link"


@contextmanager
def played(name, out, fps=0.0, keep=True, task="", **options):
    """A server of an environment's page: its port, the server and its log."""
    env = ids.make(name)
    controls = controls_of(env.spec.action, names_of(env), **options)
    log = EpisodeLog(out, about_person(env.spec, name, "Ann", "CC0"))
    opened, lines = serving.listening(serving.Address(port=0)), []
    port = opened.getsockname()[1]
    game = PlayedGame(name, env.spec, controls, fps, task, 3)
    places = serving.places(serving.Address(), port)
    server = PlayServer(lambda: opened_to_play(env, name), game, log, TOKEN, places, lines.append)
    config = uvicorn.Config(server.app(), log_level="error", lifespan="off", ws="none", http="h11")
    serves = uvicorn.Server(config)
    thread = threading.Thread(target=serves.run, kwargs={"sockets": [opened]}, daemon=True)
    thread.start()
    while not serves.started:
        time.sleep(0.01)
    try:
        yield port, server, lines
    finally:
        serves.should_exit = True
        thread.join(10)
        server.close(keep)


def player(port):
    """A client that is signed in."""
    client = Client(port)
    assert client.enter(TOKEN) == 200
    return client
