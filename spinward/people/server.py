"""The labelling page and its interface: JSON over HTTP, for people and for programs alike."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from spinward.people import progress
from spinward.people.accounts import Accounts, Labeller
from spinward.people.database import Database
from spinward.people.guard import Guard, Places, Refused
from spinward.people.handling import asset, endpoint, text
from spinward.people.labels import Item, Labels, Question
from spinward.people.sessions import Attempts, Sessions

WEB = Path(__file__).parent / "web"
ASSETS = {
    "label.js": "text/javascript", "enter.js": "text/javascript", "page.css": "text/css",
    "icon.svg": "image/svg+xml",
}  # fmt: skip
KEY = 80  # characters of an answer's name
ROUTES = {  # what is changed by POST
    "session": "sign_in", "leave": "leave", "next": "next", "answer": "answer", "undo": "undo",
}  # fmt: skip


class Server:
    """The handlers of one run's page."""

    def __init__(
        self, database: Database, places: Places, passwords: bool, secure: bool,
        log: Callable[[str], None],
    ) -> None:  # fmt: skip
        from jinja2 import Environment, FileSystemLoader

        self.database, self.labels = database, Labels(database)
        self.accounts = Accounts(database, time.time())
        self.sessions, self.attempts = Sessions(database), Attempts()
        self.passwords, self.secure, self.log, self.places = passwords, secure, log, places
        run = str(database.path.absolute())  # cookies do not tell one port from another
        self.cookie = f"spinward-{hashlib.sha256(run.encode()).hexdigest()[:12]}"
        self.templates = Environment(loader=FileSystemLoader(WEB), autoescape=True)

    def app(self) -> Any:
        """The ASGI application."""
        gets = {
            "/": self.page, "/enter": self.enter, "/static/{name}": self.asset,
            "/api/progress": self.progress, "/api/picture/{item:int}": self.picture,
        }  # fmt: skip
        routes = [Route(path, endpoint(handler, self.log)) for path, handler in gets.items()]
        for name, method in ROUTES.items():
            handler = endpoint(getattr(self, method), self.log)
            routes.append(Route(f"/api/{name}", handler, methods=["POST"]))
        return Guard(Starlette(routes=routes), self.places, self.log)

    # Who is asking

    def labeller(self, request: Request) -> Labeller:
        who = self.sessions.of(request.cookies.get(self.cookie, ""))
        if who is None:
            raise Refused(401, "not signed in")
        return who

    def sign_in(self, request: Request, body: Any) -> Response:
        """Signs a labeller in, by the secret of a link or by a name and a password."""
        name, password = (text(body, k, 200, "") for k in ("name", "password"))
        if self.passwords:
            who = self.by_password(request, name, password)
        else:
            who = self.accounts.by_token(text(body, "token", 200, ""))
        if who is None:
            what = (
                "the name or the password is wrong" if self.passwords else "the link is not valid"
            )
            raise Refused(401, what)
        self.sessions.end(request.cookies.get(self.cookie, ""))
        answer = JSONResponse({"name": who.name})
        secret = self.sessions.start(who)
        answer.set_cookie(
            self.cookie, secret, httponly=True, samesite="strict", secure=self.secure, path="/"
        )
        return answer

    def by_password(self, request: Request, name: str, password: str) -> Labeller | None:
        """The labeller of this password. After a few wrong ones, an answer has to wait; the secret
        of a link is too long to be guessed."""
        sources = f"from {request.client.host if request.client else ''}", f"as {name}"
        if (wait := self.attempts.wait_s(*sources)) > 0:
            raise Refused(429, f"too many wrong attempts: wait {wait:.0f} s", wait)
        who = self.accounts.by_password(name, password)
        (self.attempts.failed if who is None else self.attempts.succeeded)(*sources)
        return who

    def leave(self, request: Request, body: Any) -> Response:
        """Ends this session, or all sessions of the labeller."""
        self.labeller(request)
        everywhere = body.get("everywhere") is True
        self.sessions.end(request.cookies.get(self.cookie, ""), everywhere)
        answer = JSONResponse({})
        answer.delete_cookie(self.cookie, path="/")
        return answer

    # Pages

    def page(self, request: Request, body: Any) -> Response:
        who = self.sessions.of(request.cookies.get(self.cookie, ""))
        if who is None:
            return RedirectResponse("/enter", 303)
        facts = self.database.facts()
        words = {"name": who.name, "env": facts.get("env", ""), "task": facts.get("task", "")}
        return HTMLResponse(self.templates.get_template("label.html").render(words))

    def enter(self, request: Request, body: Any) -> Response:
        page = self.templates.get_template("enter.html")
        return HTMLResponse(page.render(command="label", passwords=self.passwords))

    def asset(self, request: Request, body: Any) -> Response:
        return asset(WEB, ASSETS, request.path_params["name"])

    def picture(self, request: Request, body: Any) -> Response:
        self.labeller(request)
        number = request.path_params["item"]
        item = self.labels.item(number) if number < 2**63 else None
        if item is None or item.picture is None:
            raise Refused(404, "this clip has no picture any more")
        keep = {"cache-control": "private, max-age=3600, immutable"}
        return Response(item.picture, media_type="image/webp", headers=keep)

    # Questions and answers

    def progress(self, request: Request, body: Any) -> Response:
        return JSONResponse(progress.of(self.database, self.labeller(request).id, time.time()))

    def next(self, request: Request, body: Any) -> Response:
        who = self.labeller(request).id
        question = self.labels.next(who)
        return JSONResponse(
            {"question": self.shown(question) if question else None}
            | {"progress": progress.of(self.database, who, time.time())}
        )

    def shown(self, question: Question) -> dict[str, Any]:
        """A question as the page gets it. It does not say what is known of the answer."""
        items = [self.labels.item(number) for number in question.shown]
        shown = [described(item) for item in items if item]
        return {"id": question.id, "prompt": question.prompt, "items": shown}

    def answer(self, request: Request, body: Any) -> Response:
        """Stores an answer: `better` is the preferred item, `order` a ranking; or `answer` is
        equal or cannot_tell. `act` names the answer, so that it may be sent again."""
        who, act = self.labeller(request).id, text(body, "act", KEY)
        question = whole(body.get("question"))
        if "order" in body:
            order = body["order"]
            if not isinstance(order, list) or len(order) > 100:
                raise Refused(400, "order is no list of items")
            new = self.labels.rank(who, question, tuple(map(whole, order)), act)
        else:
            answer = body.get("answer")
            if "better" in body:
                answer = self.labels.side(question, whole(body["better"]))
            new = self.labels.answer(who, question, str(answer), act)
        return JSONResponse({"new": new})

    def undo(self, request: Request, body: Any) -> Response:
        who = self.labeller(request).id
        return JSONResponse({"question": self.labels.undo(who, text(body, "act", KEY))})


def whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise Refused(400, f"{value!a:.40} is no number of a question or an item")
    return value


def described(item: Item) -> dict[str, Any]:
    """An item as the page gets it."""
    if item.kind == "text":
        return {"id": item.id, "kind": "text", "text": item.content.decode(errors="replace")}
    return {"id": item.id, "kind": "clip", "shape": item.shape}
