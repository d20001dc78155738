"""Health of one container, for Docker's HEALTHCHECK: exit status 0 or 1 and one line that says why.

    healthcheck.py listener              its own health key in Redis lives (it is written every second or so)
    healthcheck.py worker NAME           the same of the worker started with `-n NAME@%h`
    healthcheck.py http PORT PATH        this container answers there with status 200

A file of its own instead of a `collector` command: it runs every few seconds in every container, and to
import a Redis client costs ten times what one question over a plain socket does. Sentinels and TLS get one.
"""

import http.client
import os
import socket
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

TIMEOUT_S = 8
REDIS_PORT = 6379
#: What Docker and Podman start as process 1 where a container has an init.
INITS = {"docker-init", "tini", "catatonit"}


def key_of(kind: str, name: str) -> str:
    """Return the health key of this container's listener or worker."""
    host, prefix = socket.gethostname(), setting("COLLECTOR_STORE__KEY_PREFIX", "bithumb:")
    if kind == "worker":
        return f"{prefix}health:worker:{name}@{host}"
    shard = setting("COLLECTOR_SHARD", "1/1")
    return f"{prefix}health:listener:{host}-{listener()}-{shard.replace('/', 'of')}"


def setting(name: str, default: str) -> str:
    """Return a variable as `collector.settings` reads it: in any case, and empty stands for the default."""
    found = {key.upper(): value for key, value in os.environ.items()}
    return found.get(name) or default


def listener() -> int:
    """Return the listener's process: 1, or what the init that is process 1 has started."""
    if Path("/proc/1/comm").read_text().strip() not in INITS:
        return 1
    return int(Path("/proc/1/task/1/children").read_text().split()[0])


def exists(url: str, key: str) -> bool:
    """Tell whether Redis has `key`.

    Raises:
        OSError: Redis can't be reached, refuses or does not answer in time.
    """
    parts = urlsplit(url)
    if parts.scheme != "redis" or parts.query:
        return exists_by_client(url, key)
    words = [["SELECT", parts.path.strip("/") or "0"], ["EXISTS", key]]
    if parts.password:
        words.insert(0, ["AUTH", *filter(None, [unquote(parts.username or "")]), unquote(parts.password)])
    with socket.create_connection((parts.hostname, parts.port or REDIS_PORT), TIMEOUT_S) as connection:
        connection.sendall(b"".join(map(command, words)))
        with connection.makefile("rb") as replies:
            lines = [replies.readline().decode().strip() for _ in words]
    errors = [line for line in lines if not line.startswith(("+", ":"))]
    if errors:
        raise OSError(f"Redis refuses: {errors[0] or 'it hung up'}")
    return lines[-1] == ":1"


def command(words: list[str]) -> bytes:
    """Return one command in Redis' protocol."""
    parts = [f"*{len(words)}"]
    for word in words:
        parts += (f"${len(word.encode())}", word)
    return "\r\n".join((*parts, "")).encode()


def exists_by_client(url: str, key: str) -> bool:
    """The same through the package's own client, which knows Sentinels and TLS."""
    from collector import settings
    from collector.host import redis_client
    from collector.store.redis_client import translated

    with redis_client.connect(url, settings.load()) as client, translated():
        return bool(client.exists(key))


def http_status(port: str, path: str) -> str:
    """Return what is wrong with the answer of this container; empty if nothing."""
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=TIMEOUT_S)
    connection.request("GET", path)
    status = connection.getresponse().status
    return "" if status == http.HTTPStatus.OK else f"HTTP {status}"


def main(kind: str, *arguments: str) -> int:
    try:
        if kind == "http":
            trouble = http_status(*arguments)
        else:
            key = key_of(kind, *(arguments or ("",)))
            trouble = "" if exists(os.environ["REDIS_URL"], key) else f"no key {key}"
    except Exception as error:  # noqa: BLE001 - whatever it is, the container is not healthy
        trouble = f"{type(error).__name__}: {error}"
    print(trouble or "healthy")
    return 1 if trouble else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
