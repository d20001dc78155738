"""Messages on a real Redis, and every way it can refuse, within the socket timeout."""

import json
import os
import signal
import sys
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from kombu.compression import decompress

from collector import batch as batches
from collector import settings as settings_module
from collector.batch import Kind
from collector.errors import BrokerUnavailable
from collector.host.redis_server import PrivateRedis
from collector.listener.app import connect_redis
from collector.publish.publisher import envelope_of
from collector.publish.sender import TASKS, Envelope, Names, Note, Sender
from collector.settings import RedisSettings, Settings
from tests.samples.events import T0, book, gap, ticker, trade

pytestmark = pytest.mark.server

TIMEOUT_S = 0.5
WAIT_S = 5.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRedis]:
    """A Redis that may be frozen, filled and locked."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("data"), redis=RedisSettings(max_memory_mb=64))
    with PrivateRedis(settings) as it:
        yield it


@pytest.fixture
def client(server: PrivateRedis) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url) as it:
        it.flushall()
        yield it


@pytest.fixture
def new_sender(server: PrivateRedis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Sender]]:
    """Make senders as a listener process does: configured by celeryconfig, which reads the environment."""
    made: list[Sender] = []

    def make(url: str = server.url, expires_s: int | None = 30) -> Sender:
        monkeypatch.setenv("REDIS_URL", url)
        monkeypatch.setenv("COLLECTOR_PUBLISH__SOCKET_TIMEOUT_S", str(TIMEOUT_S))
        monkeypatch.delitem(sys.modules, "collector.broker.config", raising=False)
        settings_module.current.cache_clear()
        made.append(Sender(connect_redis(settings_module.current()), expires_s))
        return made[-1]

    yield make
    for sender in made:
        sender.close()
    settings_module.current.cache_clear()
    sys.modules.pop("collector.broker.config", None)


def letter(*rows: Any, kind: Kind = Kind.TRADE, queues: int = 1) -> Envelope:
    return envelope_of(batches.make(kind, rows, listener="t", now_ms=T0), queues)


def received(client: redis.Redis, queue: str) -> list[dict[str, Any]]:
    """Return the messages of a queue, oldest first, with the task's arguments under `args`."""
    messages = [json.loads(raw) for raw in reversed(client.lrange(queue, 0, -1))]
    for message in messages:
        body = b64decode(message["body"])
        if message["headers"].get("compression"):
            body = decompress(body, message["headers"]["compression"])
        message["args"] = json.loads(body)[0]
    return messages


def test_a_batch_is_one_task_with_one_argument(
    client: redis.Redis, new_sender: Callable[..., Sender]
) -> None:
    """The argument is the batch's own text; the message is compressed and says when it was made."""
    sent = letter(*(trade(number) for number in range(200)))
    new_sender().send(sent)
    (message,) = received(client, "trade")
    headers = message["headers"]
    assert message["args"] == [sent.text]
    assert (headers["task"], headers["id"], headers["created_ms"]) == ("tasks.ingest.trades", sent.id, T0)
    assert headers["ignore_result"] is True
    assert headers["compression"] == "application/zstd"
    assert message["content-type"] == "application/json"
    assert len(message["body"]) < len(sent.text) / 3
    assert len(headers["argsrepr"]) < 60


def test_a_message_is_what_celery_itself_would_send(
    client: redis.Redis, new_sender: Callable[..., Sender]
) -> None:
    """Every header and property of `send_task`, but for what it writes twice, and the same body."""
    sent = letter(trade())
    new_sender().send(sent)
    with Celery("other", config_source="collector.broker.config", set_as_current=False) as app:
        app.send_task(
            "tasks.ingest.trades",
            args=(sent.text,),
            task_id=sent.id,
            argsrepr=f"(1 rows, {len(sent.text)} bytes)",
            kwargsrepr="{}",
            ignore_result=True,
            headers={"created_ms": T0, "from_ms": T0, "to_ms": T0},
        )
    ours, celerys = received(client, "trade")
    for message in (ours, celerys):
        message.pop("body")  # differs in white space
        for name in ("delivery_tag", "reply_to", "argsrepr", "kwargsrepr"):
            message["properties"].pop(name, None)
    assert ours == celerys


@pytest.mark.parametrize(
    ("kind", "row", "queue", "expires"),
    [
        (Kind.TRADE, trade(), "trade", False),
        (Kind.GAP, gap(), "trade", False),
        (Kind.TICKER, ticker(), "ticker", True),
        (Kind.ORDERBOOK, book(), "orderbook", True),
    ],
)
def test_each_kind_goes_to_its_task_and_queue_and_only_states_expire(
    kind: Kind, row: Any, queue: str, expires: bool, client: redis.Redis, new_sender: Callable[..., Sender]
) -> None:
    """A fact waits as long as it must."""
    new_sender().send(letter(row, kind=kind))
    (message,) = received(client, queue)
    assert message["headers"]["task"] == TASKS[kind]
    assert (message["headers"]["expires"] is not None) == expires


def test_a_replay_lets_nothing_expire(client: redis.Redis, new_sender: Callable[..., Sender]) -> None:
    """Workers may need longer than a recording is."""
    new_sender(expires_s=None).send(letter(ticker(), kind=Kind.TICKER))
    assert received(client, "ticker")[0]["headers"]["expires"] is None


def test_batches_and_notes_of_them_go_in_one_step(
    client: redis.Redis, new_sender: Callable[..., Sender]
) -> None:
    """All of them, each in its queue and in their order; only what is noted is noted."""
    letters = [letter(trade(1)), letter(book(), kind=Kind.ORDERBOOK), letter(trade(2))]
    names = Names("n", "n-due", "n-from")
    notes = {each.id: Note(names, b"body", each.id, T0 + 5, T0) for each in (letters[0], letters[2])}
    new_sender().send_noted(letters, notes)
    assert [message["headers"]["id"] for message in received(client, "trade")] == [
        letters[0].id,
        letters[2].id,
    ]
    assert [message["args"] for message in received(client, "orderbook")] == [[letters[1].text]]
    ids = {letters[0].id.encode(), letters[2].id.encode()}
    assert client.hgetall("n") == dict.fromkeys(ids, b"body")
    assert dict(client.zrange("n-due", 0, -1, withscores=True)) == dict.fromkeys(ids, T0 + 5)
    assert dict(client.zrange("n-from", 0, -1, withscores=True)) == dict.fromkeys(ids, T0)


@contextmanager
def full(client: redis.Redis) -> Iterator[None]:
    """No memory is left in here: `noeviction`, and a limit far below what is used."""
    client.config_set("maxmemory", client.info("memory")["used_memory"] // 2)
    try:
        yield
    finally:
        client.config_set("maxmemory", 64 << 20)


def test_a_full_redis_takes_neither_batch_nor_note(
    client: redis.Redis, new_sender: Callable[..., Sender]
) -> None:
    """Half of them would be a note of what was never sent, or a batch that nothing remembers."""
    sender, sent = new_sender(), letter(trade())
    note = Note(Names("n", "n-due", "n-from"), b"body", sent.id, T0, T0)
    sender.send(letter(ticker(), kind=Kind.TICKER))
    with full(client), refused():
        sender.send_noted([sent], {sent.id: note})
    assert not client.exists("trade", "n", "n-due", "n-from")


def test_shards_have_their_queues(client: redis.Redis, new_sender: Callable[..., Sender]) -> None:
    """A share's queue is used as named, also if this process was not configured for it."""
    new_sender().send(letter(trade(), queues=8))
    assert len(received(client, "trade.5")) == 1


def test_rate_limits_are_broadcast(client: redis.Redis, new_sender: Callable[..., Sender]) -> None:
    """Each limit reaches every worker, as a call of Celery's remote control; no worker need be there."""
    limits = {"tasks.analysis.vwap": "1/h", "tasks.analysis.walls": "12.5/s"}
    with client.pubsub(ignore_subscribe_messages=True) as workers:
        workers.psubscribe("*celery.pidbox*")
        workers.get_message(timeout=1)  # the subscription itself, after which nothing is missed
        new_sender().limit_rates(limits)
        calls = [workers.get_message(timeout=WAIT_S) for _ in limits]
    sent = [json.loads(b64decode(json.loads(message["data"])["body"])) for message in calls if message]
    assert {call["arguments"]["task_name"]: call["arguments"]["rate_limit"] for call in sent} == limits
    assert {(call["method"], call["destination"]) for call in sent} == {("rate_limit", None)}


@contextmanager
def refused(within_s: float = 2 * TIMEOUT_S + 0.5) -> Iterator[pytest.ExceptionInfo[BrokerUnavailable]]:
    """What happens inside must be refused in one line, in time."""
    started = time.monotonic()
    with pytest.raises(BrokerUnavailable) as failure:
        yield failure
    assert time.monotonic() - started < within_s
    assert "\n" not in str(failure.value)


def test_nobody_listens(new_sender: Callable[..., Sender]) -> None:
    """Refused at once."""
    sender = new_sender("redis://127.0.0.1:1/0")
    with refused():
        sender.send(letter(trade()))
    with refused():
        sender.limit_rates({"tasks.analysis.vwap": "1/h"})


def test_the_wrong_password(server: PrivateRedis, new_sender: Callable[..., Sender]) -> None:
    """Never with the password in the message."""
    port = server.url.rpartition(":")[2]
    sender = new_sender(f"redis://:hunter2@127.0.0.1:{port}")
    with refused() as failure:
        sender.send(letter(trade()))
    assert "hunter2" not in str(failure.value)


def test_a_full_redis(client: redis.Redis, new_sender: Callable[..., Sender]) -> None:
    """`noeviction` and no memory left: refused, and taken again as soon as there is room."""
    sender = new_sender()
    sender.send(letter(trade()))
    with full(client), refused():
        sender.send(letter(*(trade(number) for number in range(2000))))
    sender.send(letter(trade()))
    assert len(received(client, "trade")) == 2


def test_a_frozen_redis(server: PrivateRedis, client: redis.Redis, new_sender: Callable[..., Sender]) -> None:
    """It accepts and never answers: given up within the socket timeout, and used again once it thaws."""
    sender = new_sender()
    sender.send(letter(trade()))
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    try:
        for _ in range(2):
            with refused():
                sender.send(letter(trade()))
    finally:
        os.kill(server.pid, signal.SIGCONT)
    sender.send(letter(trade()))
    assert len(received(client, "trade")) >= 2


def test_a_redis_that_closes_all_connections(client: redis.Redis, new_sender: Callable[..., Sender]) -> None:
    """The next send may fail once; the one after it works."""
    sender = new_sender()
    sender.send(letter(trade()))
    client.client_kill_filter(_type="normal", skipme=True)
    try:
        sender.send(letter(trade()))
    except BrokerUnavailable:
        sender.send(letter(trade()))
    assert len(received(client, "trade")) >= 2


def test_a_redis_that_is_restarted(tmp_path: Path, new_sender: Callable[..., Sender]) -> None:
    """Gone: refused. Back on the same address: taken, with the same sender."""
    settings = Settings(data_dir=tmp_path, redis=RedisSettings(max_memory_mb=32))
    with PrivateRedis(settings) as own:
        sender = new_sender(own.url)
        sender.send(letter(trade()))
        address = own.url
    with refused():
        sender.send(letter(trade()))
    with PrivateRedis(settings) as again:
        if again.url != address:
            pytest.skip("the port was taken meanwhile")
        sender.send(letter(trade()))
        with redis.Redis.from_url(again.url) as own_client:
            assert len(received(own_client, "trade")) >= 1


def test_a_send_that_hangs_is_ended_by_another_thread(
    new_sender: Callable[..., Sender], server: PrivateRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop need not wait for the socket timeout."""
    monkeypatch.setattr(f"{__name__}.TIMEOUT_S", 30.0)
    sender = new_sender()
    sender.send(envelope_of(batches.make(Kind.TRADE, [trade(1)], listener="t", now_ms=T0), 1))
    failures: list[BaseException] = []

    def send() -> None:
        with pytest.raises(BrokerUnavailable) as failure:
            sender.send(envelope_of(batches.make(Kind.TRADE, [trade(2)], listener="t", now_ms=T0), 1))
        failures.append(failure.value)

    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    try:
        thread = threading.Thread(target=send)
        thread.start()
        time.sleep(0.3)
        assert thread.is_alive()
        sender.interrupt()
        thread.join(WAIT_S)
        assert not thread.is_alive()
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert failures
