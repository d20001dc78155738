"""Health of one container, for Docker's HEALTHCHECK: exit status 0 or 1 and one line that says why.

    healthcheck.py listener | worker     its own health key in Redis lives (it is written every second or so)
    healthcheck.py http PORT PATH        this container answers there with status 200

A file of its own instead of a `collector` command: it runs every few seconds in every container, so it
imports little.
"""

import http.client
import os
import socket
import sys

import redis

TIMEOUT_S = 3


def redis_key(kind: str) -> str:
    """Return what is wrong with the health key of this container's listener or worker; empty if nothing."""
    prefix = os.environ.get("COLLECTOR_STORE__KEY_PREFIX", "bithumb:")
    pattern = f"{prefix}health:{kind}:*{socket.gethostname()}*"
    with connect(os.environ["REDIS_URL"]) as client:
        alive = any(client.scan_iter(pattern, count=1000))
    return "" if alive else f"no key {pattern}"


def connect(url: str) -> redis.Redis:
    """Return a client; Sentinels and TLS need what is in the settings, the usual address does not."""
    if url.startswith("redis://"):
        return redis.Redis.from_url(url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)
    from collector import redis_client, settings

    return redis_client.connect(url, settings.load())


def http_status(port: str, path: str) -> str:
    """Return what is wrong with the answer of this container; empty if nothing."""
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=TIMEOUT_S)
    connection.request("GET", path)
    status = connection.getresponse().status
    return "" if status == http.HTTPStatus.OK else f"HTTP {status}"


def main(kind: str, *arguments: str) -> int:
    try:
        trouble = http_status(*arguments) if kind == "http" else redis_key(kind)
    except (OSError, redis.RedisError) as error:
        trouble = str(error)
    print(trouble or "healthy")
    return 1 if trouble else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
