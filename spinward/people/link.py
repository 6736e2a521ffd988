"""Sign-in by a secret link, for pages of one person on this computer."""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

SESSION_S = 7 * 24 * 3600.0
SESSIONS = 100  # that are open at once


class SecretLink:
    """The sessions of those who have the token of a link. They end with the server."""

    def __init__(self, token: str, cookie: str, clock: Callable[[], float] = time.time) -> None:
        self.token, self.cookie, self.clock = token, cookie, clock
        self.sessions: dict[bytes, float] = {}  # digests of secrets: when they end

    def is_token(self, token: str) -> bool:
        return hmac.compare_digest(digest(token), digest(self.token))

    def known(self, request: Request) -> bool:
        """Whether a request is of an open session."""
        end = self.sessions.get(digest(request.cookies.get(self.cookie, "")), 0.0)
        return end > self.clock()

    def signed_in(self, answer: Response) -> Response:
        """`answer` with the cookie of a new session."""
        secret, now = secrets.token_urlsafe(32), self.clock()
        kept = sorted((end, key) for key, end in self.sessions.items() if end > now)
        self.sessions = {key: end for end, key in kept[-SESSIONS + 1 :]}
        self.sessions[digest(secret)] = now + SESSION_S
        answer.set_cookie(self.cookie, secret, httponly=True, samesite="strict", path="/")
        return answer

    def signed_out(self, request: Request, answer: Response) -> Response:
        """`answer` without the cookie, after the session is over."""
        self.sessions.pop(digest(request.cookies.get(self.cookie, "")), None)
        answer.delete_cookie(self.cookie, path="/")
        return answer


def digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


def cookie_of(page: str, where: Any) -> str:
    """The name of a page's cookie. Cookies do not tell one port from another."""
    digits = hashlib.sha256(str(where).encode(errors="replace")).hexdigest()
    return f"spinward-{page}-{digits[:12]}"
