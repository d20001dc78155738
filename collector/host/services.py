"""The roles of `collector up` on one machine, as commands for the supervisor.

    redis         the private server, where `REDIS_URL` is empty
    ingest1 … N   `celery -A tasks worker` on the queues `trade`, `orderbook`, `ticker`; each a single process
                  (Celery's pool `solo`; docs/decisions/0009), started by `tasks.__main__`
    analysis      one worker on `analysis` and `archive`: analyses are rate-limited, and a limited task at the
                  head of a queue holds up all behind it, so they have a queue and a worker of their own;
                  of the two processes at most one archives at a time
    alerts        one worker on `alert`: evaluates the alert rules and sends what fired, in threads, so that a
                  slow receiver holds up neither the rules nor the other receivers
    flower        `celery -A tasks flower`, on request
    serve         `collector serve`: page, API and live events, where its extra is installed
    simulator     `collector simulate`, for the demo
    listener      `collector run`

Stop times add up to less than 10 s over the stages: listener 4, services 4.5, Redis 1. A listener leaves to
the disk what Redis does not take in time; a worker that stops waits for its running batches first, and ends
within 4 s whatever they do (`tasks.shutdown`).
"""

import os
import signal
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, SecretStr

from collector.host.redis_server import PrivateRedis
from collector.host.supervisor import Service, Stage
from collector.settings import NESTING, PREFIX, Settings

INGEST_QUEUES = ("trade", "orderbook", "ticker")
ANALYSIS_QUEUES = ("analysis", "archive")
ANALYSIS_PROCESSES = 2
ALERT_QUEUES = ("alert",)
#: Deliveries at once.
ALERT_THREADS = 8
FLOWER_MAX_TASKS = 2000
FLOWER_PORT = 5555
FLOWER_COLUMNS = "name,uuid,state,args,result,received,runtime,worker"
LISTENER_STOP_S = 4.0
SERVICE_STOP_S = 4.5
REDIS_STOP_S = 1.0

#: Celery's command line with our tasks; with `SAFE_PATH` whatever else is named `tasks` where we are started.
CELERY = ("-m", "tasks", "celery", "-A", "tasks")
#: Python: the working folder is not on the path.
SAFE_PATH = {"PYTHONSAFEPATH": "1"}
#: Celery: on SIGTERM stop at once and put unfinished batches back into their queue, not an hour later.
WORKER_ENV = {"REMAP_SIGTERM": "SIGQUIT"}


def roles(
    settings: Settings,
    *,
    url: str,
    workers: int,
    python: str,
    flower: bool = False,
    flower_port: int = FLOWER_PORT,
    serve_port: int | None = None,
    alerts: bool = False,
) -> list[Service]:
    """Return listener, `workers` ingest workers, the analysis worker and, on request, the others.

    Args:
        settings: handed on to every role through its environment, so command-line choices reach them.
        url: address of Redis.
        workers: ingest workers, one process each.
        python: the interpreter that has this package.
    """
    env = {**environment(settings), **SAFE_PATH, "REDIS_URL": url}
    found = [
        _worker(python, f"ingest{number + 1}", queues, ("-P", "solo"), env)
        for number, queues in enumerate(ingest_queues(settings.batch.trade_queues, workers))
    ]
    found.append(_worker(python, "analysis", ANALYSIS_QUEUES, ("-c", str(ANALYSIS_PROCESSES)), env))
    if alerts:
        found.append(
            _worker(python, "alerts", ALERT_QUEUES, ("-P", "threads", "-c", str(ALERT_THREADS)), env)
        )
    if flower:
        found.append(_flower(python, flower_port, env))
    if serve_port is not None:
        found.append(_serve(python, {**env, f"{PREFIX}SERVE{NESTING}PORT": str(serve_port)}))
    found.append(_listener(python, env))
    return found


def redis_role(server: PrivateRedis, start_timeout_s: float) -> Service:
    """Return the private server as a role; `server.prepare()` comes before, `server.release()` after."""
    return Service(
        name="redis",
        argv=tuple(server.argv),
        stop_timeout_s=REDIS_STOP_S,
        stage=Stage.REDIS,
        ready=server.answers,
        ready_timeout_s=start_timeout_s,
        pass_fds=server.pass_fds,
        reason=server.reason,
    )


def simulator_role(python: str, arguments: tuple[str, ...], env: Mapping[str, str]) -> Service:
    """Return `collector simulate` with `arguments`."""
    argv = (python, "-m", "collector", "simulate", *arguments)
    return Service("simulator", argv, env, stop_timeout_s=SERVICE_STOP_S)


def ingest_queues(trade_queues: int, workers: int) -> list[tuple[str, ...]]:
    """Return the queues of each ingest worker: all take the common ones, a queue of trades belongs to one.

    One worker per queue means that no two workers write the same candle, so optimistic commits rarely clash.
    """
    if trade_queues == 1:
        return [INGEST_QUEUES] * workers
    return [
        (*INGEST_QUEUES, *(f"trade.{queue}" for queue in range(trade_queues) if queue % workers == number))
        for number in range(workers)
    ]


def environment(settings: Settings) -> dict[str, str]:
    """Return the environment that makes `settings.load()` of another process return `settings`."""
    return dict(_variables(settings, PREFIX)) | {f"{PREFIX}DATA_DIR": str(settings.data_dir.absolute())}


def _variables(section: BaseModel, prefix: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            found += _variables(value, f"{prefix}{name.upper()}{NESTING}")
        elif not isinstance(value, SecretStr):
            found.append((f"{prefix}{name.upper()}", _text(value)))
    return found


def _text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _worker(
    python: str, name: str, queues: tuple[str, ...], pool: tuple[str, ...], env: Mapping[str, str]
) -> Service:
    argv = (
        *(python, *CELERY, "worker"),
        *("-n", f"{name}-{os.getpid()}@%h"),  # unique although two may serve one Redis from one machine
        *("-Q", ",".join(queues)),
        *pool,
        *("--loglevel", "WARNING", "--without-gossip", "--without-mingle"),
    )
    return Service(
        name, argv, {**env, **WORKER_ENV}, stop_timeout_s=SERVICE_STOP_S, death_signal=signal.SIGKILL
    )


def _flower(python: str, port: int, env: Mapping[str, str]) -> Service:
    """Flower on loopback; its API stays closed without FLOWER_BASIC_AUTH or FLOWER_UNAUTHENTICATED_API."""
    argv = (
        *(python, *CELERY, "flower"),
        *("--address=127.0.0.1", f"--port={port}", f"--max_tasks={FLOWER_MAX_TASKS}"),
        f"--tasks_columns={FLOWER_COLUMNS}",
    )
    return Service("flower", argv, env, stop_timeout_s=SERVICE_STOP_S, death_signal=signal.SIGKILL)


def _serve(python: str, env: Mapping[str, str]) -> Service:
    return Service("serve", (python, "-m", "collector", "serve"), env, stop_timeout_s=SERVICE_STOP_S)


def _listener(python: str, env: Mapping[str, str]) -> Service:
    argv = (python, "-m", "collector", "run")
    return Service("listener", argv, env, stop_timeout_s=LISTENER_STOP_S, stage=Stage.LISTENER, log=False)


def log_dir(settings: Settings) -> Path:
    """Return the folder of the roles' logs."""
    return settings.data_dir.absolute() / "logs"
