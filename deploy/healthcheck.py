"""Health of one container, for Docker's HEALTHCHECK: exit status 0 or 1 and one line with the reason.

    healthcheck.py listener              its own health key in Redis lives (it is written every second or so)
    healthcheck.py worker NAME           the same of the worker started with `-n NAME@%h`
    healthcheck.py http PORT PATH        this container answers there with status 200

Keys, settings and the Redis client are those of the package. That takes 0.3 s of CPU, so it runs every 30 s.
"""

import http.client
import socket
import sys
from pathlib import Path

TIMEOUT_S = 8
#: What Docker and Podman start as process 1 where a container has an init.
INITS = {"docker-init", "tini", "catatonit"}


def missing_key(kind: str, name: str) -> str:
    """Return the health key of this container's listener or worker if Redis does not have it, else ''."""
    from collector import settings
    from collector.host import redis_client
    from collector.store.keys import Keys, listener_name
    from collector.store.redis_client import translated

    found = settings.load()
    keys, host = Keys(found.store.key_prefix), socket.gethostname()
    is_worker = kind == "worker"
    key = (
        keys.worker(f"{name}@{host}")
        if is_worker
        else keys.listener(listener_name(host, listener(), found.shard))
    )
    with redis_client.connect(found.redis_url.get_secret_value(), found) as client, translated():
        return "" if client.exists(key) else key


def listener() -> int:
    """Return the listener's process: 1, or what the init that is process 1 has started."""
    if Path("/proc/1/comm").read_text().strip() not in INITS:
        return 1
    return int(Path("/proc/1/task/1/children").read_text().split()[0])


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
            key = missing_key(kind, *(arguments or ("",)))
            trouble = f"no key {key}" if key else ""
    except Exception as error:  # noqa: BLE001 - whatever it is, the container is not healthy
        trouble = f"{type(error).__name__}: {error}"
    print(trouble or "healthy")
    return 1 if trouble else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
