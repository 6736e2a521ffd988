"""What the servers of pages share: handlers in threads, refusals in one line, files of the page."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from spinward.errors import SpinwardError
from spinward.people.guard import Refused
from spinward.people.labels import Gone

Log = Callable[[str], None]
Handler = Callable[[Request, Any], Response]


def endpoint(handler: Handler, log: Log) -> Any:
    """`handler` in a thread, with its body parsed; a mistake of the client is one line."""

    async def answered(request: Request) -> Response:
        try:
            body = parsed(await request.body()) if request.method == "POST" else {}
            return await run_in_threadpool(handler, request, body)
        except Refused as refused:
            return refusal(request, refused, log)
        except Gone as gone:
            return refusal(request, Refused(409, str(gone)), log)
        except ClientDisconnect:
            return refusal(request, Refused(413, "a body that is too long or cut off"), log)
        except SpinwardError as error:
            return refusal(request, Refused(400, str(error)), log)

    return answered


def refusal(request: Request, refused: Refused, log: Log) -> Response:
    log(f"refused {request.method} {request.url.path!a:.120}: {refused.reason}")
    more = {"retry-after": str(round(refused.retry_s + 0.5))} if refused.retry_s else {}
    return JSONResponse({"error": refused.reason}, refused.status, more)


def asset(folder: Path, kinds: Mapping[str, str], name: str) -> Response:
    """A file of a page, if it is one of these names."""
    if name not in kinds:
        raise Refused(404, "no such file")
    return Response((folder / name).read_bytes(), media_type=kinds[name])


def parsed(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise Refused(400, "a body that is no JSON") from None
    if not isinstance(content, dict):
        raise Refused(400, "a body that is no JSON object")
    return content


def text(body: dict[str, Any], name: str, longest: int, default: str | None = None) -> str:
    value = body.get(name, default)
    if not isinstance(value, str) or len(value) > longest or (default is None and not value):
        raise Refused(400, f"{name} must be a text of at most {longest} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Refused(400, f"{name} has half a character") from None
    return value
