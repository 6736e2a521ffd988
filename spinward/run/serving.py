"""An exported policy over HTTP: observations in, actions out. The server remembers nothing."""

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import numpy as np

from spinward.errors import DamagedFileError, SettingsError
from spinward.run import exporting
from spinward.store import files

LIMIT = 8 * 2**20  # bytes of a request
CONTRACT_LIMIT = 2**22
ROWS = 4096  # observations of a request


class Served:
    """An exported policy, opened and checked."""

    def __init__(self, folder: Path):
        """Raises SettingsError where there is no exported program, DamagedFileError where a file
        is not the one that was exported."""
        if not (folder / exporting.CONTRACT).is_file():
            raise SettingsError(
                f"{folder} holds no exported policy: make one with spinward export RUN --out FOLDER"
            )
        try:
            text = files.read(folder / exporting.CONTRACT, folder, CONTRACT_LIMIT)
            self.contract = json.loads(text)
            digest = self.contract["files"].get(exporting.PROGRAM)
            self.obs, self.memory = self.contract["observations"], self.contract["memory"]
            self.start = self.contract["memory_at_start"]
            for each in (*self.obs, *self.memory):
                np.dtype(each["dtype"]), each["name"], list(each["shape"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DamagedFileError(f"{folder}: no contract of a policy: {error!r:.100}") from None
        if digest is None:
            raise SettingsError(f"{folder} holds no program that serve runs: export --to stablehlo")
        program = files.read(folder / exporting.PROGRAM, folder, 2**31)
        if hashlib.sha256(program).hexdigest() != digest:
            raise DamagedFileError(f"{folder / exporting.PROGRAM} is not what its contract says")
        exporting.require_flatbuffers()
        self.program = exporting.opened(folder)

    def act(self, request: Any) -> dict[str, Any]:
        """The answer to a request: actions, and the memory for the next one.

        Raises:
            SettingsError: the request does not fit the contract.
        """
        if not isinstance(request, dict) or "obs" not in request:
            raise SettingsError('expected {"obs": [...]}, a list of observations')
        given = request["obs"]
        parts = given if isinstance(given, dict) else {self.obs[0]["name"]: given}
        obs = [array(one, parts.get(one["name"])) for one in self.obs]
        rows = len(obs[0])
        memory = request.get("memory")
        if memory is None:
            memory = [[x] * rows for x in self.start]
        if not isinstance(memory, list) or len(memory) != len(self.memory):
            raise SettingsError(
                f"memory: expected a list of {len(self.memory)}, as it was answered"
            )
        leaves = obs + [array(one, x) for one, x in zip(self.memory, memory, strict=True)]
        if not 1 <= rows <= ROWS or any(len(x) != rows for x in leaves):
            raise SettingsError(f"expected 1 to {ROWS} observations, as many in each part")
        size = 1 << (rows - 1).bit_length()  # few sizes, so that few programs are compiled
        padded = [np.concatenate([x, np.repeat(x[-1:], size - rows, 0)]) for x in leaves]
        action, *after = (np.asarray(x)[:rows].tolist() for x in self.program(*padded))
        return {"action": action, "memory": after}


def array(about: dict[str, Any], values: Any) -> np.ndarray:
    """A part of a request as an array.

    Raises:
        SettingsError: it is missing, or has another shape.
    """
    name, shape = about["name"], about["shape"][1:]
    if values is None:
        raise SettingsError(f"{name} is missing")
    try:
        values_given = np.asarray(values, about["dtype"])
    except (ValueError, TypeError, OverflowError) as error:
        raise SettingsError(f"{name}: {error!s:.120}") from None
    if values_given.ndim != len(shape) + 1 or list(values_given.shape[1:]) != shape:
        raise SettingsError(
            f"{name} has shape {list(values_given.shape)}; expected [batch, *{shape}]"
        )
    return values_given


def application(served: Served, token: str) -> Any:
    """The web application. An empty token lets everybody in."""
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    def allowed(request: Any) -> bool:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        return not token or hmac.compare_digest(given.encode(), token.encode())

    async def contract(request: Any) -> Any:
        if not allowed(request):
            return JSONResponse({"error": "expected the header Authorization: Bearer TOKEN"}, 401)
        return JSONResponse(served.contract)

    async def act(request: Any) -> Any:
        if not allowed(request):
            return JSONResponse({"error": "expected the header Authorization: Bearer TOKEN"}, 401)
        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > LIMIT:
                return JSONResponse({"error": f"more than {LIMIT} bytes"}, 413)
        try:
            return JSONResponse(served.act(json.loads(body)))
        except SettingsError as error:
            return JSONResponse({"error": str(error)}, 400)
        except (ValueError, RecursionError) as error:
            return JSONResponse({"error": f"expected JSON: {error!s:.120}"}, 400)

    routes = [Route("/", contract), Route("/act", act, methods=["POST"])]
    return Starlette(routes=routes)
