"""Alerts through a real worker to a real receiver: down, slow, refusing; and after a worker's death."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from collector.alerts import channels
from collector.alerts.delivery import send
from collector.alerts.engine import Firing
from collector.alerts.evaluation import Evaluation
from collector.alerts.ledger import Ledger
from collector.alerts.rules import Kind, parse
from collector.errors import ConfigurationError, StoreConflict
from collector.settings import AlertSettings, Settings
from collector.store.keys import Keys
from collector.store.store import Store
from tests.doubles.receiver import Receiver, receiving
from tests.samples.rows import BTC, T0, trade

SIGNED_BY = "of-the-webhook"
QUEUE = ("-Q", "alert", "-P", "threads", "-c", "4")
FAST = {
    "COLLECTOR_ALERT__RULES": "trade btc above 100 cooldown 0s",
    "COLLECTOR_ALERT__BACKOFF_INITIAL_S": "0.2",
    "COLLECTOR_ALERT__BACKOFF_MAX_S": "0.4",
    "COLLECTOR_ALERT__TIMEOUT_S": "1",
    "COLLECTOR_ALERT__WEBHOOK_SECRET": SIGNED_BY,
    "COLLECTOR_WORKER__VISIBILITY_TIMEOUT_S": "5",
}
Start = Callable[..., Any]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that listens."""
    with receiving() as found:
        yield found


@pytest.fixture
def ledger(client: redis.Redis, settings: Settings) -> Ledger:
    """What fired, and where it went."""
    return Ledger(client, settings)


@pytest.fixture
def start(start_worker: Start, receiver: Receiver, client: redis.Redis, keys: Keys, eventually: Any) -> Start:
    """A function that starts a worker, and returns once it evaluates."""

    def begin(**more: str) -> Any:
        client.delete(keys.alert("evaluator"))  # of one that was killed
        worker = start_worker(*QUEUE, **FAST | more, COLLECTOR_ALERT__CHANNELS=f"ops={receiver.url}")
        eventually(lambda: client.exists(keys.alert("state")), 20, "the evaluator's first commit")
        return worker

    return begin


def states(ledger: Ledger) -> list[tuple[str, str]]:
    """Return state and detail of all deliveries, oldest first."""
    return [(each.state, each.detail) for logged in ledger.log(100) for each in logged.deliveries]


def test_a_firing_is_delivered_signed(
    start: Start, store: Store, receiver: Receiver, ledger: Ledger, eventually: Any
) -> None:
    """Within a second; the signature is that of https://www.standardwebhooks.com over the same id."""
    start()
    store.put_trades([trade(1, 99), trade(2, 150, exchange_ms=T0 + 5)])
    committed_s = time.time()
    eventually(lambda: receiver.received, 10, "the delivery")
    assert receiver.received[0].at_s - committed_s < 5
    (got,) = receiver.received
    assert (got.body["market"], got.body["value"], got.body["ms"]) == (BTC, "150", T0 + 5)
    stamp = int(got.headers["webhook-timestamp"])
    assert channels.signature(got.body["id"], stamp, got.raw, SIGNED_BY).items() <= got.headers.items()
    eventually(lambda: states(ledger) == [("delivered", "")], 5, "the note that it was delivered")


def test_a_receiver_that_is_down_gets_it_later(
    start: Start, store: Store, receiver: Receiver, ledger: Ledger, eventually: Any
) -> None:
    """Each firing once, when it is back; the log has why it waits, without the address."""
    start()
    receiver.stop()
    store.put_trades([trade(1, 150), trade(2, 160, exchange_ms=T0 + 5)])
    waiting = ("waiting", "can't be reached (ConnectError)")
    eventually(lambda: states(ledger) == [waiting, waiting], 10, "the failed tries")
    receiver.start()
    eventually(lambda: len(receiver.received) == 2, 10, "the deliveries")
    eventually(lambda: states(ledger) == [("delivered", "")] * 2, 5, "the notes")
    assert len(set(receiver.ids())) == 2


def test_a_refusal_is_a_dead_letter_and_can_be_retried(
    start: Start, store: Store, receiver: Receiver, ledger: Ledger, eventually: Any
) -> None:
    """410 is for good: it is tried once."""
    start()
    receiver.answers = [(410, {})]
    store.put_trades([trade(1, 150)])
    eventually(lambda: states(ledger) == [("dead", "answers 410")], 10, "the dead letter")
    assert len(receiver.received) == 1
    assert ledger.retry(None, round(time.time() * 1000)) == 1
    eventually(lambda: states(ledger) == [("delivered", "")], 10, "the second delivery")
    assert len(set(receiver.ids())) == 1


def test_errors_are_tried_again_until_it_is_given_up(
    start: Start, store: Store, receiver: Receiver, ledger: Ledger, eventually: Any
) -> None:
    """With a growing delay, so many times and no more."""
    start(COLLECTOR_ALERT__ATTEMPTS_MAX="3")
    receiver.answers = [(503, {})] * 10
    store.put_trades([trade(1, 150)])
    eventually(lambda: states(ledger) == [("dead", "answers 503")], 15, "the dead letter")
    assert len(receiver.received) == 3
    assert len(set(receiver.ids())) == 1


def test_a_receiver_that_limits_names_the_time(
    start: Start, store: Store, receiver: Receiver, ledger: Ledger, eventually: Any
) -> None:
    """429 with Retry-After is waited for, although the delay of a failure would be shorter."""
    start()
    receiver.answers = [(429, {"retry-after": "2"})]
    store.put_trades([trade(1, 150)])
    eventually(lambda: states(ledger) == [("delivered", "")], 15, "the delivery")
    first, second = receiver.received
    assert second.at_s - first.at_s >= 2


def test_a_slow_receiver_gets_the_same_id_again(
    start: Start, store: Store, receiver: Receiver, ledger: Ledger, eventually: Any
) -> None:
    """An answer that comes too late may have been taken: the receiver recognises the repetition."""
    start()
    receiver.delay_s = 1.5
    store.put_trades([trade(1, 150)])
    eventually(lambda: len(receiver.received) >= 2, 15, "the second try")
    receiver.delay_s = 0
    eventually(lambda: states(ledger)[0][0] == "delivered", 15, "the delivery")
    assert len(set(receiver.ids())) == 1


def test_trades_of_the_time_without_a_worker_fire_once(
    start: Start,
    store: Store,
    receiver: Receiver,
    ledger: Ledger,
    client: redis.Redis,
    keys: Keys,
    eventually: Any,
) -> None:
    """Killed in the middle of many; the next one goes on, and each trade has fired once."""
    worker = start(COLLECTOR_ALERT__RATE_LIMIT="1000/s")
    numbers = iter(range(1, 10_000))
    stop = threading.Event()

    def commit() -> None:
        while not stop.is_set():
            number = next(numbers)
            store.put_trades([trade(number, 200, exchange_ms=T0 + number)])
            stop.wait(0.005)

    thread = threading.Thread(target=commit)
    thread.start()
    try:
        eventually(lambda: len(receiver.received) > 20, 10, "some deliveries")
        worker.send_signal(signal.SIGKILL)
        worker.wait(10)
        time.sleep(0.5)
        start(COLLECTOR_ALERT__RATE_LIMIT="1000/s")
    finally:
        stop.set()
        thread.join(10)
    made = next(numbers) - 1
    eventually(lambda: len(ledger.log(10_000)) >= made, 20, "a firing of each trade")
    ids = [logged.firing.id for logged in ledger.log(10_000)]
    assert len(ids) == len(set(ids)) == made
    # What a dead worker held in its hands is handed out again; the receiver knows each by its id.
    for name in client.zrange(keys.alert("due"), 0, -1):
        client.zadd(keys.alert("due"), {name: 0}, xx=True)
    eventually(lambda: set(receiver.ids()) == set(ids), 20, "all deliveries")


@pytest.mark.server
@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")  # by apprise, on Python 3.11
def test_apprise_sends_what_it_knows(receiver: Receiver) -> None:
    """Its own JSON here; a refusal is a failed try, without the address."""
    firing = Firing("1.x.2", "1", "system", Kind.SYSTEM, None, "something happened", "", 1_000)
    channel = channels.parse(f"it=apprise+json://127.0.0.1:{receiver.port}/secret-path")["it"]
    assert send(channel, firing, AlertSettings()).is_accepted
    assert "something happened" in receiver.received[0].body["message"]
    receiver.answers = [(500, {})]
    refused = send(channel, firing, AlertSettings())
    assert (refused.is_accepted, refused.is_final) == (False, False)
    assert "secret-path" not in refused.detail
    unknown = channels.parse("it=apprise+nosuch://secret")["it"]
    with pytest.raises(ConfigurationError, match="apprise does not understand"):
        send(unknown, firing, AlertSettings())


def test_quiet_hours_hold_deliveries_back(client: redis.Redis, settings: Settings, store: Store) -> None:
    """They are written at once, and due when the hours end."""
    alert = AlertSettings(channels="ops=http://127.0.0.1:9/")  # type: ignore[arg-type]
    own = settings.model_copy(update={"alert": alert})
    now_s = time.time()
    hours = time.strftime("%H:%M", time.gmtime(now_s + 9 * 3600 - 3600))
    until = time.strftime("%H:%M", time.gmtime(now_s + 9 * 3600 + 7200))
    rule = parse(f"trade btc above 100 quiet {hours}-{until}")
    handed: list[tuple[str, str]] = []
    evaluation = Evaluation(client, own, {rule.id: rule}, lambda *pair: handed.append(pair))
    store.put_trades([trade(1, 150)])
    evaluation.turn()
    evaluation.turn()
    ((_, due_ms),) = client.zrange(Keys(own.store.key_prefix).alert("due"), 0, -1, withscores=True)
    assert handed == []
    assert 6_900_000 < due_ms - now_s * 1000 < 7_260_000


def test_of_two_evaluators_one_writes(client: redis.Redis, settings: Settings, store: Store) -> None:
    """The other has read what is old by then, and must not write on top of it."""
    rule = parse("trade btc above 100 cooldown 0s")
    one, other = (Evaluation(client, settings, {rule.id: rule}, lambda *_: None) for _ in range(2))
    store.put_trades([trade(1, 150)])
    one.turn()
    with pytest.raises(StoreConflict):
        other.turn()
    assert len(Ledger(client, settings).log(10)) == 1


def test_rules_of_commands_apply_while_it_runs(
    start: Start, store: Store, receiver: Receiver, ledger: Ledger, eventually: Any, tmp_path: Path
) -> None:
    """Added and removed without a restart; nothing that is logged has the address."""
    start(COLLECTOR_ALERT__RULES="none")
    store.put_trades([trade(1, 150)])
    rule = parse("price btc above 200")
    assert ledger.add(rule)
    assert not ledger.add(rule)
    number = [1]

    def crosses() -> bool:
        number[0] += 1
        price = 150 if number[0] % 2 else 250
        store.put_trades([trade(number[0], price, exchange_ms=T0 + number[0] * 61_000)])
        time.sleep(0.2)
        return bool(receiver.received)

    eventually(crosses, 15, "a firing of the new rule")
    assert receiver.received[0].body["rule_id"] == rule.id
    assert ledger.remove(rule.id)
    assert ledger.added() == {}
    assert "secret-path" not in "".join(path.read_text() for path in tmp_path.glob("*.log"))
