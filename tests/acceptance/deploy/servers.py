"""Redis servers as an operator would set them up: a master with a replica and Sentinels, TLS, an ACL."""

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from collector.host.redis_server import find_binary
from tests.acceptance.scenarios.processes import Process
from tests.acceptance.scenarios.waits import until
from tests.doubles.ports import free_port

MASTER = "prices"
PASSWORD = "pass/word:1"  # noqa: S105 - of a server that lives for one test; needs quoting in an address
SENTINEL_PASSWORD = "tower-7-secret"  # noqa: S105
DOWN_AFTER_MS = 1000
_RUN = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"


class Server:
    """One server process with its configuration file; `arguments` follow the file."""

    def __init__(
        self, folder: Path, name: str, lines: Iterable[str], *arguments: str, password: str = PASSWORD
    ) -> None:
        self.port = free_port()
        self._password = password
        home = folder / name
        home.mkdir(parents=True)
        configuration = home / "server.conf"
        basics = ("bind 127.0.0.1", f'dir "{home}"', "daemonize no", "protected-mode no")
        configuration.write_text("\n".join((*basics, *(line.format(port=self.port) for line in lines), "")))
        argv = ("-c", _RUN, find_binary(), str(configuration), *arguments)
        self.process = Process(name, argv, {}, home)

    def start(self) -> "Server":
        """Start it and wait until it answers."""
        self.process.start().wait_until(self.answers, 10)
        return self

    def client(self) -> redis.Redis:
        """Return a plain client of this very server."""
        return redis.Redis(
            port=self.port, password=self._password, socket_timeout=2, retry=Retry(NoBackoff(), 0)
        )

    def answers(self) -> bool:
        """Whether it takes commands."""
        with suppress(redis.RedisError), self.client() as client:
            return bool(client.ping())
        return False

    def kill(self) -> None:
        """`kill -9`."""
        if self.process.pid is not None:
            os.kill(self.process.pid, signal.SIGKILL)

    def end(self) -> None:
        """End it, whatever state it is in."""
        self.process.kill()


class Cluster:
    """A master, a replica and three Sentinels that ask for a password of their own."""

    def __init__(self, folder: Path) -> None:
        secrets = (f'requirepass "{PASSWORD}"', f'masterauth "{PASSWORD}"')
        kept = ("port {port}", "appendonly yes", "repl-diskless-sync-delay 0", *secrets)
        self.first = Server(folder, "first", kept)
        self.second = Server(folder, "second", (*kept, f"replicaof 127.0.0.1 {self.first.port}"))
        watched = (
            "port {port}",
            f'requirepass "{SENTINEL_PASSWORD}"',
            f'sentinel sentinel-pass "{SENTINEL_PASSWORD}"',
            f"sentinel monitor {MASTER} 127.0.0.1 {self.first.port} 2",
            f'sentinel auth-pass {MASTER} "{PASSWORD}"',
            f"sentinel down-after-milliseconds {MASTER} {DOWN_AFTER_MS}",
            f"sentinel failover-timeout {MASTER} 5000",
        )
        self.sentinels = [
            Server(folder, f"sentinel{number}", watched, "--sentinel", password=SENTINEL_PASSWORD)
            for number in range(3)
        ]

    def __enter__(self) -> "Cluster":
        try:
            for server in (self.first, self.second, *self.sentinels):
                server.start()
            until(self.is_complete, 20, "the Sentinels know the replica and one another")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for server in (*self.sentinels, self.second, self.first):
            server.end()

    @property
    def url(self) -> str:
        """The address for `REDIS_URL`; one Sentinel in it does not exist, as may happen."""
        hosts = [f"127.0.0.1:{port}" for port in (free_port(), *(s.port for s in self.sentinels))]
        return ";".join(f"sentinel://{host}" for host in hosts) + "/0"

    @property
    def env(self) -> dict[str, str]:
        """Everything a role needs to find the master."""
        return {
            "REDIS_URL": self.url.replace("sentinel://", "sentinel://:pass%2Fword%3A1@", 1),
            "COLLECTOR_REDIS__SENTINEL_MASTER": MASTER,
            "COLLECTOR_REDIS__SENTINEL_PASSWORD": SENTINEL_PASSWORD,
        }

    def state(self) -> dict[str, object]:
        """Return what the first Sentinel says of the master."""
        with self.sentinels[0].client() as client:
            return dict(client.sentinel_masters()[MASTER])

    def is_complete(self) -> bool:
        """Whether a failover could be done now."""
        state = self.state()
        replica = self.second.client().info("replication")
        linked = replica["role"] == "slave" and replica["master_link_status"] == "up"
        return linked and state["num-slaves"] == 1 and state["num-other-sentinels"] == 2

    def kill_master(self) -> float:
        """`kill -9` the master; return the seconds until all Sentinels name the replica."""
        self.first.kill()
        begin = time.monotonic()

        def is_over() -> bool:
            named = []
            for sentinel in self.sentinels:
                with sentinel.client() as client:
                    named.append(client.sentinel_get_master_addr_by_name(MASTER))
            return {port for _, port in named} == {self.second.port}

        until(is_over, 30, "the Sentinels promote the replica")
        until(lambda: self.second.client().info("replication")["role"] == "master", 10, "it is the master")
        return time.monotonic() - begin
