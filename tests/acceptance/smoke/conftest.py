"""pytest-celery's containers around our own image; skipped aloud where no Docker engine answers.

pytest-celery supplies Redis as broker and result backend, the network and the life cycle; the worker is our
image with our command, because that is what runs in production (its own worker image would have to be built
from the network with another app). One Redis plays both parts, as in our settings.
"""

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from pytest_celery import (
    CeleryTestSetup,
    CeleryTestWorker,
    CeleryWorkerContainer,
    RedisContainer,
    RedisTestBackend,
    RedisTestBroker,
)
from pytest_docker_tools import build, container, fxtr
from pytest_docker_tools.wrappers import container as container_module

from tests.doubles import containers

ROOT = Path(__file__).resolve().parents[3]
WORKER_START_S = 60
#: Stands in for the public image, which no registry gives out here: Debian's package in an image of ours.
PROMETHEUS = "bithumb-prometheus:test"
PROMETHEUS_DOCKERFILE = """
FROM debian:bookworm-slim
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends prometheus && mkdir /prometheus
ENTRYPOINT ["prometheus"]
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs the engine, and more time than others to start containers."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.docker)
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session", autouse=True)
def engine() -> Iterator[docker.DockerClient]:
    """The Docker engine, or a skip that says that there is none."""
    containers.need_engine("anything in containers")
    client = docker.from_env(timeout=60)
    with pytest.MonkeyPatch.context() as patch:
        if not runs_in_a_container_of(client):
            # A stray /.dockerenv makes pytest-docker-tools talk to addresses that only containers reach.
            patch.setattr(container_module, "tests_inside_container", lambda: False)
        yield client
    client.close()


def runs_in_a_container_of(client: docker.DockerClient) -> bool:
    """Tell whether the engine knows this very machine as one of its containers."""
    try:
        client.containers.get(socket.gethostname())
    except docker.errors.NotFound:
        return False
    return True


class WorkerContainer(CeleryWorkerContainer):
    """A worker of ours: all queues, our app, nothing injected."""

    @classmethod
    def command(cls, *args: str, **_: Any) -> list[str]:
        queues = "trade,orderbook,ticker,analysis"
        return [
            "celery",
            "-A",
            "tasks",
            "worker",
            "-n",
            "smoke@%h",
            "-Q",
            queues,
            "--loglevel",
            "INFO",
            *args,
        ]

    @classmethod
    def worker_queue(cls) -> str:
        return "trade"

    @classmethod
    def initial_env(cls, celery_worker_cluster_config: dict, initial: dict | None = None) -> dict:
        return {"REDIS_URL": celery_worker_cluster_config["celery_broker_cluster_config"]["urls"][0]}


# BuildKit is not needed; the host's network is, where containers have no way out.
collector_image = build(path=str(ROOT), tag="bithumb-collector:test", network_mode="host")

default_redis_broker = container(
    image="{default_redis_broker_image}",
    ports=fxtr("default_redis_broker_ports"),
    network="{default_pytest_celery_network.name}",
    tmpfs={"/data": ""},  # the public image declares a volume there, which would outlive the test
    wrapper_class=RedisContainer,
    command=fxtr("default_redis_broker_command"),
    timeout=60,
)

default_worker_container = container(
    image="{collector_image.id}",
    environment=fxtr("default_worker_env"),
    network="{default_pytest_celery_network.name}",
    wrapper_class=WorkerContainer,
    command=fxtr("default_worker_command"),
    timeout=WORKER_START_S,
)


@pytest.fixture
def default_redis_broker_image() -> str:
    return "redis:7-alpine"


@pytest.fixture
def default_worker_container_cls() -> type[CeleryWorkerContainer]:
    return WorkerContainer


@pytest.fixture
def celery_broker(celery_redis_broker: RedisTestBroker) -> RedisTestBroker:
    """Redis alone: the default would be Redis and RabbitMQ, one after the other."""
    return celery_redis_broker


@pytest.fixture
def celery_backend(celery_broker: RedisTestBroker) -> RedisTestBackend:
    """The broker's Redis in its second part.

    Its `teardown()` is left out: it looks at every object of the process for forgotten results, which wakes
    the lazy tasks of our own app where another test has imported it.
    """
    return RedisTestBackend(celery_broker.container)


@pytest.fixture
def worker(celery_setup: CeleryTestSetup) -> CeleryTestWorker:
    """The worker, once it has said that it is ready."""
    assert celery_setup.ready()
    return celery_setup.worker


@pytest.fixture(scope="session")
def prometheus_image() -> None:
    """An image with Prometheus, built once and kept."""
    containers.need_client("Prometheus beside our containers")
    words = ["docker", "build", "--quiet", "--network", "host", "--tag", PROMETHEUS, "-"]
    built = subprocess.run(words, input=PROMETHEUS_DOCKERFILE, capture_output=True, text=True)
    if built.returncode:
        pytest.skip(f"no image with Prometheus could be built: {built.stderr[-200:]}")
