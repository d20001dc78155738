"""`collector serve`: API, live events and the page."""

import logging
import signal
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from pydantic import SecretStr

from collector.cli.run import INTERRUPTED
from collector.cli.store import open_running
from collector.errors import ConfigurationError
from collector.host.redis_server import find_url
from collector.serve.guard import LOOPBACK
from collector.settings import Settings

if TYPE_CHECKING:
    import uvicorn

log = logging.getLogger(__name__)

MISSING = "collector serve needs FastAPI and uvicorn: pip install 'bithumb-collector[serve]'"
#: A message of a WebSocket client, bytes.
_MESSAGE_MAX = 64 << 10
_STOP_TIMEOUT_S = 3
#: So many ports after one that is in use are tried.
_PORTS = 20
#: A client that takes nothing of what was sent for so long is dropped, where the system can do that (Linux).
_UNREAD_S = 30


def serve(
    settings: Settings, *, host: str | None = None, port: int | None = None, token: str | None = None
) -> int:
    """Serve until SIGINT or SIGTERM; return the exit code.

    Args:
        host, port, token: instead of those of the settings.

    Raises:
        ConfigurationError: the extra is missing, no port is free, or a token is needed.
        BrokerUnavailable: Redis does not answer at the start; later it is waited for.
    """
    given = {"host": host, "port": port, "token": None if token is None else SecretStr(token)}
    own = settings.serve.model_copy(
        update={name: value for name, value in given.items() if value is not None}
    )
    settings = settings.model_copy(update={"serve": own})
    if own.host not in LOOPBACK and not own.token.get_secret_value():
        raise ConfigurationError(
            f"{own.host} can be reached by others: set COLLECTOR_SERVE__TOKEN, or serve on 127.0.0.1"
        )
    with open_running(settings):
        pass  # one line now, not a server without data
    with listen_near(own.host, own.port) as listening:
        server = new_server(find_url(settings), settings)
        port = listening.getsockname()[1]
        if port != own.port != 0:
            log.warning("port %d is in use: taking %d", own.port, port)
        address = page_url(own.host, port)
        log.info("serving %s  API %sdocs", address, address)
        received: list[int] = []
        for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn sends itself once more what has ended it
            signal.signal(number, lambda number, _: received.append(number))
        server.run(sockets=[listening])
    return INTERRUPTED if signal.SIGINT in received else 0


def page_url(host: str, port: int) -> str:
    """Return the address of the page."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def new_server(url: str, settings: Settings) -> "uvicorn.Server":
    """Return the server on the Redis at `url`.

    Raises:
        ConfigurationError: the extra is missing.
    """
    try:
        import uvicorn

        from collector.serve.app import create_app
    except ModuleNotFoundError as error:
        raise ConfigurationError(MISSING) from error
    config = uvicorn.Config(
        create_app(url, settings),
        log_config=None, access_log=False, lifespan="on", server_header=False,
        timeout_graceful_shutdown=_STOP_TIMEOUT_S, ws_max_size=_MESSAGE_MAX, ws="websockets-sansio",
        limit_concurrency=settings.serve.clients_max * 2 + 50,
    )  # fmt: skip
    return uvicorn.Server(config)


def listen_near(host: str, port: int) -> socket.socket:
    """Return a bound socket: on `port`, or where that is in use on the next one that is free.

    Raises:
        ConfigurationError: the address can't be used.
    """
    last = min(port + _PORTS, 65535)
    for further in range(port, last):
        with suppress(ConfigurationError):
            return listen(host, further)
    return listen(host, last)


def listen(host: str, port: int) -> socket.socket:
    """Return a bound socket; port 0 takes a free one.

    Raises:
        ConfigurationError: the address can't be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family)  # closed by the caller
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # the sockets of clients inherit it
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD_S * 1000)
    try:
        found.bind((host, port))
        found.listen()  # whoever comes before all is ready waits
    except OSError as error:
        found.close()
        raise ConfigurationError(
            f"port {port} on {host} can't be used ({error.strerror}): stop what uses it, "
            "or set COLLECTOR_SERVE__PORT"
        ) from error
    return found
