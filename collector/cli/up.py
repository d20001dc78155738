"""`collector up`: Redis, workers and listener on one machine, supervised."""

import asyncio
import logging
import shutil
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from collector.cli.program import near, typed
from collector.cli.run import INTERRUPTED
from collector.cli.serve import listen_near, page_url
from collector.cli.store import open_running
from collector.errors import ConfigurationError
from collector.host.redis_server import PrivateRedis, is_owned
from collector.host.services import FLOWER_PORT, log_dir, redis_role, roles
from collector.host.supervisor import Service, Supervisor
from collector.settings import Settings
from collector.util.network import way_to

log = logging.getLogger(__name__)

#: Marks a data folder whose contents a demo invented; they are never mixed with real data.
DEMO_MARK = "DEMO"
_DEMO_DATA = ("redis", "spool", "logs", "archive", "listener", "truth.jsonl", DEMO_MARK)


def up(settings: Settings, *, workers: int, flower_port: int | None, serve: bool = True) -> int:
    """Run everything until SIGINT or SIGTERM, Flower too where it has a port; return the exit code."""
    for url in (settings.exchange.rest_url, settings.exchange.websocket_url):
        way_to(url)  # a proxy that can't be used is one line now, not a listener that never starts
    clear_demo(settings.data_dir)
    port = page_port(settings) if serve else None
    with all_roles(settings, workers=workers, flower_port=flower_port, serve_port=port, alerts=True) as (
        found,
        _,
    ):
        supervisor = Supervisor(found, log_dir(settings))
        print(_greeting(settings, workers, flower_port, port), flush=True)
        asyncio.run(supervisor.run())
    print(_farewell(supervisor.killed))
    return INTERRUPTED if supervisor.is_interrupted else 0


@contextmanager
def all_roles(
    settings: Settings,
    *,
    workers: int,
    flower_port: int | None = None,
    serve_port: int | None = None,
    listener: bool = True,
    alerts: bool = False,
) -> Iterator[tuple[list[Service], str]]:
    """Yield the roles and the address of Redis, a private server of our own where `REDIS_URL` is empty.

    Raises:
        ConfigurationError: no private server is possible, or Flower's port is in use.
        BrokerUnavailable: the Redis of `REDIS_URL` refuses or does not answer.
    """
    if flower_port is not None:
        _check_port(flower_port)
    url = settings.redis_url.get_secret_value()
    server = None
    if url:
        with open_running(settings):
            pass  # one line now, not a restart of everything every few seconds
    else:
        server = PrivateRedis(settings)
        server.prepare()
        url = server.url
    try:
        found = roles(
            settings,
            url=url,
            workers=workers,
            python=sys.executable,
            flower=flower_port is not None,
            flower_port=flower_port or FLOWER_PORT,
            serve_port=serve_port,
            alerts=alerts,
        )
        if not listener:
            found = [role for role in found if role.name != "listener"]
        if server is not None:
            found.insert(0, redis_role(server, settings.redis.start_timeout_s))
        yield found, url
    finally:
        if server is not None:
            server.release()


def clear_demo(data_dir: Path) -> None:
    """Remove what a demo left in this folder.

    Raises:
        ConfigurationError: the demo is still running.
    """
    if not (data_dir / DEMO_MARK).exists():
        return
    if is_owned(data_dir):
        raise ConfigurationError(
            f"a demo is running in {data_dir}: stop it, or give this one its own COLLECTOR_DATA_DIR"
        )
    log.info("removing the simulated data of a demo from %s", data_dir)
    for name in _DEMO_DATA:
        path = data_dir / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def page_port(settings: Settings) -> int | None:
    """Return a port for the page, the next free one where that of the settings is in use.

    None without its extra, and where no port can be used.
    """
    if find_spec("fastapi") is None or find_spec("uvicorn") is None:
        return None
    try:
        with listen_near(settings.serve.host, settings.serve.port) as listening:
            return int(listening.getsockname()[1])
    except ConfigurationError:
        return None


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ConfigurationError(
                f"port {port} on 127.0.0.1 can't be used for Flower ({error.strerror}): "
                "stop what uses it, or choose another with --flower-port"
            ) from error


def _farewell(killed: Sequence[str]) -> str:
    """Log how it ended; the listener has logged what it could not send."""
    if not killed:
        return "stopped"
    kept = "its unsent data are backfilled at the next start" if "listener" in killed else ""
    return "; ".join(filter(None, (f"stopped; killed after the time limit: {', '.join(killed)}", kept)))


def _greeting(settings: Settings, workers: int, flower_port: int | None, serve_port: int | None) -> str:
    lines = [
        f"exchange  {settings.exchange.websocket_url}",
        f"markets   {','.join(settings.markets)}",
        f"runs      sockets: {settings.redundancy}, ingest workers: {workers}; Ctrl-C ends all",
        f"data      {near(settings.data_dir)}",
        f"look      {typed(settings, 'show candles KRW-BTC')}",
        f"          {typed(settings, 'top')}",
    ]
    if serve_port:
        lines.append(f"serving {page_url(settings.serve.host, serve_port)}")
    if flower_port:
        lines.append(f"flower    http://127.0.0.1:{flower_port}")
    return "\n".join(lines)
