"""The page on which a person plays an environment, to record demonstrations."""

import base64
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from spinward.core import MASK
from spinward.errors import SettingsError
from spinward.people.controls import Controls
from spinward.people.guard import Places, Refused
from spinward.people.labels import Gone
from spinward.people.link import SecretLink, cookie_of
from spinward.people.playing import Episode, EpisodeLog, Playable
from spinward.people.private_page import PrivatePage

KEPT = "kept"
POSTS = ("state", "start", "step", "end", "drop")


class PlayedGame(NamedTuple):
    """What is played, and how."""

    name: str  # of the environment
    spec: Any
    controls: Controls
    fps: float  # steps a second; 0: one for each press of a key
    task: str  # one sentence for the person; may be empty
    seed: int  # of the first episode


class PlayServer(PrivatePage):
    """The handlers of the page. The environment is used in one thread alone, because its renderer
    may be bound to a thread."""

    def __init__(
        self, made: Callable[[], Playable], game: PlayedGame, log: EpisodeLog, token: str,
        places: Places, say: Callable[[str], None],
    ) -> None:  # fmt: skip
        link = SecretLink(token, cookie_of("play", log.path.absolute()))
        super().__init__(link, "data record --human", "play.html", "play.js", places, say)
        self.game, self.log = game, log
        self.worker = ThreadPoolExecutor(1)
        self.env = self.worker.submit(made).result()
        self.episode: Episode | None = None
        self.started = 0  # episodes so far
        self.result = ""  # of the last episode: kept or discarded, and why

    def app(self) -> Any:
        """The ASGI application."""
        return self.app_of({name: self.in_worker(getattr(self, name)) for name in POSTS})

    def words(self) -> dict[str, Any]:
        return {"env": self.game.name, "task": self.game.task, "out": self.log.path}

    def in_worker(self, act: Callable[[Any], None]) -> Any:
        """A handler that acts in the thread of the environment, and answers with the state."""

        def answered(request: Request, body: Any) -> Response:
            self.require_known(request)

            def done() -> dict[str, Any]:
                act(body)
                return self.shown()

            return JSONResponse(self.worker.submit(done).result())

        return answered

    # Playing, in the thread of the environment

    def state(self, body: Any) -> None:
        """Changes nothing."""

    def start(self, body: Any) -> None:
        """Starts an episode after the `started`-th; to ask again changes nothing."""
        if body.get("started") != self.started:
            return
        if self.episode is not None and not self.episode.over:
            raise Gone("the episode is not over")
        seed = self.game.seed if self.started == 0 else None
        self.episode = Episode(self.guarded(lambda: self.env.reset(seed)))
        self.started, self.result = self.started + 1, ""

    def step(self, body: Any) -> None:
        """Takes step number `step` of episode number `episode`; to ask again changes nothing."""
        episode = self.of(body)
        if body.get("step") == len(episode.rows) - 1:
            return
        if body.get("step") != len(episode.rows) or episode.over:
            raise Gone("the page is out of step with the game")
        action = self.game.controls.action(body.get("action"))
        if isinstance(episode.obs, dict) and MASK in episode.obs and not episode.obs[MASK][action]:
            raise Refused(400, f"action {int(action)} is not allowed here")
        units = np.asarray(self.game.spec.action.from_unit(action))
        episode.add(action, self.guarded(lambda: finite(self.env.step(units))))
        if episode.over:
            how = "terminated" if episode.terminated else "was truncated"
            self.keep(episode.fields(), f"it {how}")

    def end(self, body: Any) -> None:
        """Ends the episode here, and keeps its steps as those of a truncated one."""
        if not (episode := self.of(body)).over:
            self.leave_episode(keep=bool(episode.rows))

    def drop(self, body: Any) -> None:
        """Discards the episode, also after its end."""
        episode = self.of(body)
        if self.result.startswith(KEPT):
            self.log.drop_last()
        self.episode, self.result = None, f"discarded, with its {len(episode.rows)} steps"

    def of(self, body: Any) -> Episode:
        """The episode that a request is about."""
        if self.episode is None or body.get("episode") != self.started:
            raise Gone("this episode is over")
        return self.episode

    def leave_episode(self, keep: bool) -> None:
        """Ends an episode half-way."""
        episode, self.episode = self.episode, None
        assert episode is not None
        if keep:
            why = f"it was left after {len(episode.rows)} steps, so it is truncated"
            self.keep(episode.fields(cut=True), why)
        else:
            self.result = f"discarded, with its {len(episode.rows)} steps"

    def keep(self, fields: Any, why: str) -> None:
        """Writes an episode.

        Raises:
            SettingsError: the disk takes it not.
        """
        self.result = "discarded: it could not be written"
        try:
            self.log.keep(fields)
        except OSError as error:
            why = error.strerror or str(error)
            raise SettingsError(f"{self.log.path} was not written: {why}") from None
        self.result = f"{KEPT}: {why}"

    def guarded(self, act: Callable[[], Any]) -> Any:
        """What the environment answers. Where it fails, the episode is over, even half-way."""
        try:
            return act()
        except Exception as error:
            if self.episode is not None and not self.episode.over:
                self.leave_episode(keep=bool(self.episode.rows))
            self.episode = None
            why = (str(error).splitlines() or [""])[0]
            raise SettingsError(
                f"{self.game.name} failed: {type(error).__name__}: {why:.200}; the episode is "
                f"{self.result or 'over'}"
            ) from error

    def shown(self) -> dict[str, Any]:
        """What the page shows."""
        episode, kept = self.episode, self.log.kept
        state = {
            "started": self.started, "playing": episode is not None and not episode.over,
            "result": self.result, "kept": kept._asdict(),
            "controls": self.game.controls.shown(), "fps": self.game.fps,
        }  # fmt: skip
        if episode is None:
            return state
        allowed = episode.obs.get(MASK) if isinstance(episode.obs, dict) else None
        return state | {
            "step": len(episode.rows), "score": episode.score, "frame": self.frame(),
            "allowed": None if allowed is None else np.asarray(allowed).astype(int).tolist(),
        }  # fmt: skip

    def frame(self) -> str:
        """The picture of the present state, as PNG in base 64."""
        return base64.b64encode(self.guarded(lambda: png(self.env.render()))).decode()

    def close(self, keep: bool) -> None:
        """Ends an episode that is half-way, and completes the data set."""

        def closed() -> None:
            if self.episode is not None and not self.episode.over:
                self.leave_episode(keep and bool(self.episode.rows))
                self.say(f"the last episode is {self.result}")
            self.log.finish()
            try:
                self.guarded(self.env.close)
            except SettingsError as error:  # what was played is kept all the same
                self.say(str(error))

        try:
            self.worker.submit(closed).result()
        finally:
            self.worker.shutdown()


def png(picture: Any) -> bytes:
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(np.asarray(picture)).save(data, "PNG", compress_level=1)
    return data.getvalue()


def finite(result: tuple[Any, float, bool, bool]) -> tuple[Any, float, bool, bool]:
    """The result of a step, if its numbers are finite."""
    obs, reward, *_ = result
    parts = obs.values() if isinstance(obs, dict) else (obs,)
    if not np.isfinite(reward) or not all(np.isfinite(x).all() for x in parts):
        raise ValueError("an observation or a reward is not finite")
    return result
