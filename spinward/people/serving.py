"""Opens the labelling page on a network address, by the rules of what may be reached from where."""

import ipaddress
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from spinward.errors import SettingsError
from spinward.people.accounts import Accounts
from spinward.people.database import Database
from spinward.people.guard import Places, local

LOOPBACK = ("127.0.0.1", "localhost", "::1")
CONNECTIONS = 200


class Address(NamedTuple):
    """Where the page is served, and how it is protected there."""

    host: str = "127.0.0.1"
    port: int = 8600
    certificate: str = ""  # files of TLS, in PEM format
    key: str = ""
    behind: str = ""  # the public URL of a proxy in front, which speaks TLS

    @property
    def beyond(self) -> bool:
        """Whether others than this computer may reach the page."""
        return self.host not in LOOPBACK or bool(self.behind)

    @property
    def secure(self) -> bool:
        return bool(self.certificate or self.behind)


def check(address: Address, accounts: Accounts, names: list[str]) -> None:
    """Raises SettingsError for an address that is not protected, before anything is opened."""
    if bool(address.certificate) != bool(address.key):
        raise SettingsError("TLS needs both --tls-cert and --tls-key")
    for path in filter(None, (address.certificate, address.key)):
        if not Path(path).is_file():
            raise SettingsError(f"there is no file {path}")
    if address.behind:
        url = urlsplit(address.behind)
        if url.scheme != "https" or not url.hostname or url.path.strip("/"):
            raise SettingsError(
                f"--behind-proxy {address.behind}: expected the proxy's public address, such as "
                "https://labels.example.org"
            )
    check_port(address)
    if address.beyond and not address.secure:
        raise SettingsError(
            f"--host {address.host} can be reached from other computers: give --tls-cert and "
            "--tls-key, or --behind-proxy URL, so that passwords and answers are not readable on "
            "the way; or leave --host out and use an SSH tunnel"
        )
    if address.beyond:
        known = {r["name"] for r in accounts.database.rows(
            "SELECT name FROM labeller WHERE password NOT NULL")}  # fmt: skip
        if lacking := [name for name in names if name not in known] or (not known and ["nobody"]):
            raise SettingsError(
                f"--host {address.host} needs passwords, and {lacking[0]} has none: set one with "
                "spinward label RUN --name NAME --password"
            )


def check_port(address: Address) -> None:
    if not 0 <= address.port < 2**16:
        raise SettingsError(f"--port {address.port} must be between 0 and 65535")


def places(address: Address, port: int) -> Places:
    """The names that requests may use."""
    if address.behind:
        url = urlsplit(address.behind.lower())
        return Places((url.netloc,), (f"https://{url.netloc}",))
    if address.host in LOOPBACK and not address.certificate:
        return local(port)
    names = {address.host} if not is_any(address.host) else own_names()
    names |= set(LOOPBACK[:2]) if address.host in LOOPBACK else set()
    hosts = [f"[{n}]" if ":" in n else n for n in names]
    with_port = [f"{n.lower()}:{port}" for n in hosts] + (
        [n.lower() for n in hosts] * (port == 443)
    )
    scheme = "https" if address.certificate else "http"
    return Places(tuple(with_port), tuple(f"{scheme}://{h}" for h in with_port))


def is_any(host: str) -> bool:
    """Whether a host stands for all addresses of this computer."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def own_names() -> set[str]:
    """The names and addresses of this computer, as far as it knows."""
    names = {socket.gethostname(), socket.getfqdn(), *LOOPBACK}
    for entry in socket.getaddrinfo(socket.gethostname(), None):
        names.add(str(entry[4][0]).partition("%")[0])
    return names


def listening(address: Address) -> socket.socket:
    """An open socket.

    Raises:
        SettingsError: the port is taken, or the host is none of this computer's.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind((address.host, address.port))
        opened.listen()  # so that a link works as soon as it is printed
    except OSError as error:
        opened.close()
        raise SettingsError(
            f"cannot listen on {address.host}, port {address.port}: {error.strerror or error}; "
            "choose another --port"
        ) from None
    return opened


def serve(
    database: Database, address: Address, opened: socket.socket, log: Callable[[str], None]
) -> None:
    """Serves the page until the process is asked to stop.

    Raises:
        SettingsError: the files of TLS cannot be used.
    """
    from spinward.people.server import Server

    at = places(address, opened.getsockname()[1])
    app = Server(database, at, address.beyond, address.secure, log).app()
    answer(app, address, opened)


def answer(app: Any, address: Address, opened: socket.socket) -> None:
    """Answers requests with `app` until the process is asked to stop.

    Raises:
        SettingsError: the files of TLS cannot be used.
    """
    import uvicorn

    tls: dict[str, Any] = {}
    if address.certificate:
        tls = {"ssl_certfile": address.certificate, "ssl_keyfile": address.key}
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, date_header=False,
        proxy_headers=bool(address.behind), forwarded_allow_ips="127.0.0.1", lifespan="off",
        limit_concurrency=CONNECTIONS, timeout_keep_alive=30, h11_max_incomplete_event_size=16384,
        timeout_graceful_shutdown=3, http="h11", ws="none", **tls,
    )  # fmt: skip
    try:
        config.load()
    except OSError as error:
        raise SettingsError(f"the files of TLS cannot be used: {error}") from None
    uvicorn.Server(config).run(sockets=[opened])
