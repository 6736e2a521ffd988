"""The board: the runs of a folder as pages, behind the same guard as the labelling page."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route

from spinward.board import health, reading, searches, views
from spinward.board.curves import RunCurves
from spinward.board.reading import RunRow
from spinward.board.runs import readable, runs_of, searches_of
from spinward.board.searches import SearchRow
from spinward.errors import SpinwardError
from spinward.people.guard import Guard, Places, Refused
from spinward.people.handling import asset, endpoint, text
from spinward.people.link import SecretLink, cookie_of
from spinward.people.server import ASSETS as PEOPLE_ASSETS
from spinward.people.server import WEB as PEOPLE_WEB
from spinward.store import files

WEB = Path(__file__).parent / "web"
ASSETS = {
    "board.js": "text/javascript", "chart.js": "text/javascript", "board.css": "text/css",
}  # fmt: skip
COMPARED = 12  # runs on one page
METRIC = 200  # characters of a metric's name
CHUNK = 2**16  # bytes of a video sent at once


class BoardServer:
    """The handlers of a folder's pages. Whoever has the `token` may see everything in it."""

    def __init__(
        self, folder: Path, token: str, places: Places, log: Callable[[str], None]
    ) -> None:
        from jinja2 import Environment, FileSystemLoader

        self.runs, self.searches, self.curves = runs_of(folder), searches_of(folder), RunCurves()
        self.places, self.log = places, log
        self.link = SecretLink(token, cookie_of("board", folder.absolute()))
        self.templates = Environment(
            loader=FileSystemLoader([WEB, PEOPLE_WEB]), autoescape=True, trim_blocks=True
        )
        self.templates.filters |= views.FILTERS

    def app(self) -> Any:
        """The ASGI application."""
        gets = {
            "/": self.list, "/enter": self.enter, "/static/{name}": self.asset,
            "/run/{run}": self.run, "/compare": self.compare, "/api/curve/{run}": self.curve,
            "/video/{run}/{name}": self.video, "/search/{search}": self.search,
            "/trials/{search}": self.trials,
        }  # fmt: skip
        routes = [Route(path, endpoint(handler, self.log)) for path, handler in gets.items()]
        for name, post in {"session": self.sign_in, "leave": self.leave}.items():
            routes.append(Route(f"/api/{name}", endpoint(post, self.log), methods=["POST"]))
        return Guard(Starlette(routes=routes), self.places, self.log)

    # Who is asking

    def require(self, request: Request) -> None:
        if not self.link.known(request):
            raise Refused(401, "not signed in")

    def enter(self, request: Request, body: Any) -> Response:
        """The page to sign in. Without JavaScript, a form sends the secret in the address, which
        the answer replaces at once."""
        token = request.query_params.get("token", "")
        if token and self.link.is_token(token):
            return self.link.signed_in(RedirectResponse("/", 303))
        page = self.templates.get_template("enter.html").render(
            command="board", board=True, wrong=bool(token)
        )
        return HTMLResponse(page, 401 if token else 200)

    def sign_in(self, request: Request, body: Any) -> Response:
        if not self.link.is_token(text(body, "token", 200, "")):
            raise Refused(401, "the link is not valid")
        return self.link.signed_in(JSONResponse({}))

    def leave(self, request: Request, body: Any) -> Response:
        self.require(request)
        return self.link.signed_out(request, JSONResponse({}))

    # Pages

    def list(self, request: Request, body: Any) -> Response:
        if not self.link.known(request):
            return RedirectResponse("/enter", 303)
        by, wanted = (request.query_params.get(n, "") for n in ("sort", "filter"))
        rows = self.runs.rows()
        ordered = views.sorted_rows(rows, by)
        shown = {k: r for k, r in ordered.items() if views.matches(r, wanted)}
        facts = {
            "total": len(rows), "running": sum(r.state == "running" for r in rows.values()),
            "bytes": sum(r.bytes for r in rows.values()), "free": free(self.runs.folder),
        }  # fmt: skip
        words: dict[str, Any] = {"rows": shown, "facts": facts, "sort": by, "filter": wanted}
        tuned = self.searches.rows()
        words["searches"] = {k: r for k, r in tuned.items() if views.search_matches(r, wanted)}
        return self.page("list.html", folder=readable(str(self.runs.folder)), **words)

    def run(self, request: Request, body: Any) -> Response:
        if not self.link.known(request):
            return RedirectResponse("/enter", 303)
        key, row = request.path_params["run"], self.row(request.path_params["run"])
        config, shards = views.settings(row.path), files.numbered(row.path / "shards")
        warnings = dict.fromkeys((*row.warnings, *health.damage(row.path, shards, deep=True)))
        try:
            row = row._replace(last=reading.newest_values([self.curves.points(row)]))
        except (SpinwardError, OSError) as error:
            warnings[str(error)] = None
        words: dict[str, Any] = {"settings": config, "warnings": list(warnings)}
        words |= {"videos": views.videos(row.path), "texts": views.texts(row.path)}
        return self.page("run.html", key=key, row=row, speed=views.speed(row), **words)

    def search(self, request: Request, body: Any) -> Response:
        """The trials of a search, and what it answers."""
        if not self.link.known(request):
            return RedirectResponse("/enter", 303)
        key = request.path_params["search"]
        row = self.search_row(key)
        shown = searches.picture(row.path) is not None
        return self.page("search.html", key=key, row=row, picture=shown)

    def compare(self, request: Request, body: Any) -> Response:
        """The curves of several runs, and the settings in which they differ."""
        if not self.link.known(request):
            return RedirectResponse("/enter", 303)
        keys = list(dict.fromkeys(request.query_params.getlist("run")))[:COMPARED]
        rows = {key: self.row(key) for key in keys}
        different, equal = views.difference([views.settings(r.path) for r in rows.values()])
        return self.page("compare.html", rows=rows, different=different, equal=equal)

    def page(self, name: str, **words: Any) -> Response:
        return HTMLResponse(self.templates.get_template(name).render(words))

    def row(self, key: str) -> RunRow:
        row = self.runs.row(key)
        if row is None:
            raise Refused(404, "no such run")
        return row

    def search_row(self, key: str) -> SearchRow:
        row = self.searches.row(key)
        if row is None:
            raise Refused(404, "no such search")
        return row

    # Parts of pages

    def curve(self, request: Request, body: Any) -> Response:
        self.require(request)
        row, metric = (
            self.row(request.path_params["run"]),
            request.query_params.get("metric", ""),
        )
        if len(metric) > METRIC:
            raise Refused(400, f"a metric's name has at most {METRIC} characters")
        content = self.curves.curve(row, metric or views.headline(row))
        data = json.dumps(content | {"state": row.state}, allow_nan=False)
        return Response(data, media_type="application/json")

    def video(self, request: Request, body: Any) -> Response:
        self.require(request)
        row, name = self.row(request.path_params["run"]), request.path_params["name"]
        path = views.videos(row.path).get(name)
        if path is None:
            raise Refused(404, "no such video")
        return sent(path, row.path, views.VIDEOS[path.suffix.lower()])

    def trials(self, request: Request, body: Any) -> Response:
        """The picture of a search's trials."""
        self.require(request)
        row = self.search_row(request.path_params["search"])
        path = searches.picture(row.path)
        if path is None:
            raise Refused(404, "no such picture")
        return sent(path, row.path, "image/png")

    def asset(self, request: Request, body: Any) -> Response:
        name = request.path_params["name"]
        if name in ASSETS:
            return asset(WEB, ASSETS, name)
        return asset(PEOPLE_WEB, PEOPLE_ASSETS, name)


def sent(path: Path, folder: Path, kind: str) -> Response:
    """A file of a folder, in chunks."""
    file = files.opened(path, folder, "rb")

    def content() -> Iterator[bytes]:
        with file:
            while part := file.read(CHUNK):
                yield part

    return StreamingResponse(content(), media_type=kind)


def free(folder: Path) -> int:
    """The bytes that are free on the disk of a folder."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0
