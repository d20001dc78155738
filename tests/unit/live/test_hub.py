"""Who gets what: trades in order and never conflated, states newest only, a slow subscriber cut."""

import asyncio
from types import SimpleNamespace

import pytest

from collector.errors import ConfigurationError, NoData
from collector.live.events import NOTICE, Event, Selection, Wanted
from collector.live.hub import Hub, Subscriber
from collector.store.event_log import Position


def event(number: int, channel: str = "trade", market: str | None = "KRW-BTC") -> Event:
    return Event(f"{number}-0-0", channel, market, {"number": number})


def numbers(events: list[Event]) -> list[int]:
    return [each.row["number"] for each in events]


async def test_trades_are_kept_in_order_and_of_states_the_newest() -> None:
    hub, subscriber = Hub(), Subscriber()
    hub.attach(subscriber, Selection.of("trade,ticker", "KRW-BTC,KRW-E*"))
    hub.publish([event(1), event(2, "ticker"), event(3, "ticker"), event(4), event(5, market="KRW-XRP")])
    hub.publish([event(6, "ticker", "KRW-ETH"), event(7, market="KRW-ETH")], Position(7, 0))
    assert numbers(await subscriber.events(0.1)) == [1, 3, 4, 6, 7]
    assert hub.position == Position(7, 0)
    assert await subscriber.events(0.01) == []


async def test_a_slow_subscriber_is_cut_and_knows_where_to_resume() -> None:
    """The others do not notice."""
    hub, slow, fast = Hub(), Subscriber(queue_max=3), Subscriber()
    for each in (slow, fast):
        hub.attach(each, Selection.of("trade"))
    hub.publish([event(1)])
    assert numbers(await slow.events(0.1)) == [1]
    hub.publish([event(number) for number in range(2, 7)])
    assert slow.is_cut
    assert numbers(await slow.events(0.1)) == [2, 3, 4]
    assert slow.is_over
    assert slow.given == "4-0-0"
    assert numbers(await fast.events(0.1)) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("taken_after", [(), (1,), (2,), (1, 2, 3)])
async def test_ids_never_go_back_so_whoever_resumes_gets_no_trade_twice(taken_after: tuple[int, ...]) -> None:
    """A state has the id of the trade before it, and comes after that one and before the next."""
    hub, subscriber = Hub(), Subscriber()
    hub.attach(subscriber, Selection.of("trade,ticker,health"))
    given: list[Event] = []
    for step in range(1, 5):
        hub.publish([event(step)], Position(step, 0, 0))
        hub.publish([event(step, "ticker", f"KRW-{step}"), event(step, "health", None)])
        if step in taken_after:
            given += await subscriber.events(0.1)
    given += await subscriber.events(0.1)
    positions = [Position.parse(each.id) for each in given]
    assert positions == sorted(positions)
    trades = [each.id for each in given if each.channel == "trade"]
    assert trades == ["1-0-0", "2-0-0", "3-0-0", "4-0-0"]
    for each in given:
        if each.channel != "trade":
            assert each.id == f"{each.row['number']}-0-0"


async def test_one_that_is_cut_before_it_took_anything_resumes_where_it_began() -> None:
    hub, subscriber = Hub(), Subscriber(queue_max=1)
    hub.position = Position(7, 0, 0)
    hub.attach(subscriber, Selection.of("trade"))
    hub.publish([event(8), event(9)], Position(9, 0, 0))
    assert subscriber.is_cut
    assert subscriber.given == "7-0-0"


async def test_what_is_lost_goes_to_those_who_want_trades() -> None:
    hub, one, other = Hub(), Subscriber(), Subscriber()
    hub.attach(one, Selection.of("trade", "KRW-BTC"))
    hub.attach(other, Selection.of("ticker"))
    hub.publish([event(1, NOTICE, None)])
    assert numbers(await one.events(0.1)) == [1]
    assert await other.events(0.01) == []


async def test_a_subscription_ends_without_the_others() -> None:
    hub, subscriber = Hub(), Subscriber()
    trades, tickers = Selection.of("trade"), Selection.of("ticker")
    hub.attach(subscriber, trades)
    hub.attach(subscriber, tickers)
    hub.detach(subscriber, trades)
    hub.publish([event(1), event(2, "ticker")])
    assert numbers(await subscriber.events(0.1)) == [2]
    assert hub.selections() == {tickers}
    wanted = Wanted(hub.selections())
    assert [wanted.has(channel, "KRW-BTC") for channel in ("ticker", "trade", "ticker")] == [
        True,
        False,
        True,
    ]
    hub.detach(subscriber)
    assert len(hub) == 0


async def test_one_that_waits_is_woken_and_one_that_is_closed_ends() -> None:
    hub, subscriber = Hub(), Subscriber()
    hub.attach(subscriber, Selection.of("health"))
    waiting = asyncio.create_task(subscriber.events(5))
    await asyncio.sleep(0)
    hub.publish([event(1, "health", None)])
    assert numbers(await waiting) == [1]
    hub.close()
    assert await subscriber.events(5) == []
    assert subscriber.is_over


@pytest.mark.parametrize(
    ("channels", "markets", "why"),
    [
        ("", "", "no channel"),
        ("trades", "", "no channel 'trades'"),
        ("candle.2m", "", "no channel 'candle.2m'"),
        ("trade", ",".join(["KRW-BTC"] * 1001), "more than 1000 markets"),
    ],
)
def test_what_can_not_be_asked_for(channels: str, markets: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        Selection.of(channels, markets)


def test_names_become_codes_and_patterns_stay() -> None:
    known = ["KRW-BTC", "KRW-ETH", "BTC-ETH"]
    assert Selection.of("trade", "btc,krw-e*").resolved(known).markets == ("KRW-BTC", "KRW-E*")
    with pytest.raises(NoData, match="XYZ"):
        Selection.of("trade", "XYZ").resolved(known)


async def test_the_last_word_about_a_candle_is_not_lost_to_the_next_minute() -> None:
    """Both are given, each once, though they came together; whoever never reads is cut."""
    hub, reader, sleeper = Hub(), Subscriber(), Subscriber(queue_max=2)
    for each in (reader, sleeper):
        hub.attach(each, Selection.of("candle.1m"))
    minutes = [Event("", "candle.1m", "KRW-BTC", SimpleNamespace(open_ms=ms)) for ms in (0, 0, 60_000)]
    hub.publish(minutes)
    assert [each.row.open_ms for each in await reader.events(0.1)] == [0, 60_000]
    assert not sleeper.is_cut
    hub.publish([Event("", "candle.1m", "KRW-BTC", SimpleNamespace(open_ms=120_000))])
    assert sleeper.is_cut
    assert not reader.is_cut
