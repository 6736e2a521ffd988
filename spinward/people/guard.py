"""What every request to a local page must pass: the Host, the Origin, and limits of size.

A page of another site can send requests to this computer, and a name of another site can resolve to
this computer (DNS rebinding). So the Host must be one that the server was started for, on every
method, and a request that changes something must name the server's own origin.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

BODY = 64 * 1024  # bytes of a request's body
HEAD = 16 * 1024  # bytes of all headers
PATH = 512  # characters of a path with its query
READS = ("GET", "HEAD")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class Refused(Exception):
    """A request that is refused, with its status and one line."""

    def __init__(self, status: int, reason: str, retry_s: float = 0.0) -> None:
        super().__init__(reason)
        self.status, self.reason, self.retry_s = status, reason, retry_s


class Places(NamedTuple):
    """Where a server is reached."""

    hosts: tuple[str, ...]  # as the header Host has them: name:port
    origins: tuple[str, ...]  # scheme://name:port


def local(port: int) -> Places:
    """The places of a server on loopback."""
    hosts = tuple(f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]"))
    return Places(hosts, tuple(f"http://{host}" for host in hosts))


def check(places: Places, method: str, target: str, headers: Mapping[str, str]) -> None:
    """Raises Refused for a request that another site may have caused, or that is too large."""
    host = headers.get("host", "")
    if host.lower() not in places.hosts:
        raise Refused(421, f"foreign Host {host!a:.80}")
    origin = headers.get("origin")
    if origin is not None and origin.lower() not in places.origins:
        raise Refused(403, f"foreign Origin {origin!a:.80}")
    if method not in (*READS, "POST"):
        raise Refused(405, f"method {method!a:.20}")
    site = headers.get("sec-fetch-site", "same-origin")
    if method == "POST":
        if origin is None:
            raise Refused(403, "a POST without an Origin")
        if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            raise Refused(415, "a body that is not application/json")
    if site not in ("same-origin", "none"):
        raise Refused(403, f"a request from another site ({site!a:.20})")
    if len(target) > PATH:
        raise Refused(414, "a path that is too long")
    if sum(len(k) + len(v) for k, v in headers.items()) > HEAD:
        raise Refused(431, "headers that are too long")
    length = headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit() or int(length[:12]) > BODY:
        raise Refused(413, f"a body of {length!a:.20} bytes; at most {BODY:,} are read")


class Guard:
    """An ASGI middleware that refuses, limits, logs, and adds the headers of a safe page."""

    def __init__(self, app: Any, places: Places, log: Callable[[str], None]) -> None:
        self.app, self.places, self.log = app, places, log

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1008})
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        target = scope["path"] + "?" + scope["query_string"].decode("latin-1")
        try:
            check(self.places, scope["method"], target, headers)
        except Refused as refused:
            self.log(f"refused {scope['method']!a:.20} {target!a:.120}: {refused.reason}")
            return await self.refuse(refused, send)
        await self.app(scope, limited(receive), guarded(send))

    async def refuse(self, refused: Refused, send: Any) -> None:
        start = {"type": "http.response.start", "status": refused.status}
        plain = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
        await guarded(send)({**start, "headers": plain})
        body = f"refused: {refused.reason}\n".encode()
        await send({"type": "http.response.body", "body": body})


def limited(receive: Any) -> Any:
    """`receive`, which gives no more than `BODY` bytes and then says that the client is gone."""
    left = BODY

    async def each() -> Any:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        return message if left >= 0 else {"type": "http.disconnect"}

    return each


def guarded(send: Any) -> Any:
    """`send` with the headers of a safe page."""

    async def each(message: Any) -> None:
        if message["type"] == "http.response.start":
            own = [(k.encode(), v.encode()) for k, v in HEADERS.items()]
            known = {k.lower() for k, _ in message.get("headers", [])}
            more = [] if b"cache-control" in known else [(b"cache-control", b"no-store")]
            message = {**message, "headers": [*message.get("headers", []), *own, *more]}
        await send(message)

    return each
