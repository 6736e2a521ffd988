"""A page of one person on this computer, who comes by a secret link."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from spinward.people.guard import Guard, Places, Refused
from spinward.people.handling import asset, endpoint, text
from spinward.people.link import SecretLink

WEB = Path(__file__).parent / "web"
COMMON = {
    "enter.js": "text/javascript", "page.css": "text/css", "icon.svg": "image/svg+xml",
}  # fmt: skip


class PrivatePage:
    """The handlers that such pages share: signing in and out, the page, and its files."""

    def __init__(
        self, link: SecretLink, command: str, template: str, script: str, places: Places,
        say: Callable[[str], None],
    ) -> None:  # fmt: skip
        from jinja2 import Environment, FileSystemLoader

        self.link, self.command, self.template, self.places = link, command, template, places
        self.say, self.assets = say, COMMON | {script: "text/javascript"}
        self.templates = Environment(loader=FileSystemLoader(WEB), autoescape=True)

    def app_of(self, posts: Mapping[str, Any]) -> Any:
        """The ASGI application, with these handlers of posts besides."""
        gets = {"/": self.page, "/enter": self.enter, "/static/{name}": self.asset}
        routes = [Route(path, endpoint(handler, self.say)) for path, handler in gets.items()]
        for name, post in {**posts, "session": self.sign_in, "leave": self.leave}.items():
            routes.append(Route(f"/api/{name}", endpoint(post, self.say), methods=["POST"]))
        return Guard(Starlette(routes=routes), self.places, self.say)

    def words(self) -> dict[str, Any]:
        """What the page's template is filled with."""
        return {}

    def require_known(self, request: Request) -> None:
        """Raises Refused for a request of nobody who is signed in."""
        if not self.link.known(request):
            raise Refused(401, "not signed in")

    def page(self, request: Request, body: Any) -> Response:
        if not self.link.known(request):
            return RedirectResponse("/enter", 303)
        return HTMLResponse(self.templates.get_template(self.template).render(self.words()))

    def enter(self, request: Request, body: Any) -> Response:
        page = self.templates.get_template("enter.html")
        return HTMLResponse(page.render(command=self.command, passwords=False))

    def sign_in(self, request: Request, body: Any) -> Response:
        if not self.link.is_token(text(body, "token", 200, "")):
            raise Refused(401, "the link is not valid")
        return self.link.signed_in(JSONResponse({}))

    def leave(self, request: Request, body: Any) -> Response:
        return self.link.signed_out(request, JSONResponse({}))

    def asset(self, request: Request, body: Any) -> Response:
        return asset(WEB, self.assets, request.path_params["name"])
