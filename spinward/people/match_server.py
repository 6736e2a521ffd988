"""The page on which a person plays a game for two against an agent, and sees what it searched."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from spinward.people.guard import Places, Refused
from spinward.people.labels import Gone
from spinward.people.link import SecretLink, cookie_of
from spinward.people.private_page import PrivatePage
from spinward.search.trees import SearchView

POSTS = ("state", "new", "move", "hint")


class OpenGame(Protocol):
    """One game against an agent."""

    over: bool
    moves: int

    def signs(self) -> list[list[str]]: ...  # a letter for each cell, x for the first player
    def slanted(self) -> bool: ...  # whether rows lie half a cell to the right of those above
    def legal(self) -> dict[str, int]: ...  # from the names of moves to actions
    def searched(self) -> SearchView: ...
    def move(self, action: int) -> float: ...  # the mover's reward


class MatchServer(PrivatePage):
    """The handlers of the page. Games are played in one thread, one request after another."""

    def __init__(
        self, opened: Callable[[], OpenGame], name: str, second: bool, token: str, places: Places,
        say: Callable[[str], None],
    ) -> None:  # fmt: skip
        link = SecretLink(token, cookie_of("match", name))
        super().__init__(link, "play --browser", "match.html", "match.js", places, say)
        self.opened, self.name, self.games = opened, name, 0
        self.worker = ThreadPoolExecutor(1)
        self.worker.submit(self.begin_game, second).result()

    def app(self) -> Any:
        """The ASGI application."""
        return self.app_of({name: self.in_worker(getattr(self, name)) for name in POSTS})

    def words(self) -> dict[str, Any]:
        return {"name": self.name}

    def in_worker(self, act: Callable[[Any], None]) -> Any:
        """A handler that acts in the thread of the game, and answers with the state."""

        def done(body: Any) -> dict[str, Any]:
            act(body)
            return self.shown()

        def answered(request: Request, body: Any) -> Response:
            self.require_known(request)
            return JSONResponse(self.worker.submit(done, body).result())

        return answered

    # The game, in its thread

    def begin_game(self, second: bool) -> None:
        """Starts a game in which the person is the second player, or the first."""
        self.game, self.second, self.games = self.opened(), second, self.games + 1
        self.played: list[str] = []  # names of all moves
        self.result = 0.0  # the person's
        self.view: SearchView | None = None
        self.whose = ""  # the side whose position the view is of
        if second:
            self.answer()

    def state(self, body: Any) -> None:
        """Changes nothing."""

    def new(self, body: Any) -> None:
        """Starts a game after the `game`-th; to ask again changes nothing."""
        if not isinstance(body.get("second"), bool):
            raise Refused(400, "second must be true or false")
        if body.get("game") == self.games:
            self.begin_game(body["second"])

    def move(self, body: Any) -> None:
        """Makes the move number `ply` of game number `game`, and the agent's answer; to ask again
        changes nothing."""
        if body.get("game") != self.games:
            raise Gone("this game is over")
        if body.get("ply") in range(len(self.played)):
            return
        if self.game.over or body.get("ply") != len(self.played):
            raise Gone("the page is out of step with the game")
        name, legal = body.get("move"), self.game.legal()
        if not isinstance(name, str) or name not in legal:
            raise Refused(400, f"{name!a:.20} is no legal move here")
        self.make(name, legal[name], 1.0)
        if not self.game.over:
            self.answer()

    def hint(self, body: Any) -> None:
        """Searches from the person's position."""
        if body.get("game") != self.games or self.game.over:
            raise Gone("this game is over")
        self.view, self.whose = self.game.searched(), "you"

    def answer(self) -> None:
        """The agent's move, which the page shows with what was searched before it."""
        self.view, self.whose = self.game.searched(), "agent"
        names = {action: name for name, action in self.game.legal().items()}
        self.make(names[self.view.action], self.view.action, -1.0)

    def make(self, name: str, action: int, sign: float) -> None:
        self.result = sign * self.game.move(action)
        self.played.append(name)

    def shown(self) -> dict[str, Any]:
        """What the page shows."""
        over = self.game.over
        return {
            "game": self.games, "ply": len(self.played), "second": self.second, "over": over,
            "result": self.result if over else None, "played": self.played,
            "signs": self.game.signs(), "slanted": self.game.slanted(),
            "legal": [] if over else list(self.game.legal()), "whose": self.whose,
            "view": None if self.view is None else self.view._asdict(),
        }  # fmt: skip

    def close(self) -> None:
        self.worker.shutdown()
