"""What the exchange's list says of markets, in a real Redis."""

from datetime import UTC, datetime

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from collector.listener.market_states import MarketStates
from collector.settings import Settings
from collector.store.read import Reader
from collector.store.redis_client import connect
from collector.store.store import Store
from collector.util.korean_time import date_of
from tests.samples.rows import ticker, trade

NOW_MS = int(datetime(2026, 11, 29, 15, 0, tzinfo=UTC).timestamp() * 1000)


def test_the_exchanges_day_begins_at_midnight_in_korea() -> None:
    """15:00 UTC the day before."""
    assert (str(date_of(NOW_MS)), str(date_of(NOW_MS - 1))) == ("2026-11-30", "2026-11-29")


def test_every_market_ever_seen_is_listed_or_not(redis_url: str, settings: Settings) -> None:
    """Also one that the listener never had; which of them ends is told by their tickers."""
    with connect(redis_url, settings) as client:
        store, reader = Store(client, settings.store), Reader(client, settings)
        store.put_trades([trade(1, market="KRW-OLD")])
        store.put_tickers([ticker(market="KRW-END", delisting_date="2026-11-30"), ticker(market="KRW-OLD")])
        states = MarketStates(client, settings)
        assert states.note(["KRW-NEW", "KRW-END"], {"KRW-END": "CAUTION"}, NOW_MS) == {"KRW-END"}
        assert states.note(["KRW-NEW", "KRW-END"], {"KRW-END": "CAUTION"}, NOW_MS - 1) == set()
        rows = {row.market: (row.state, row.warning, row.delisting_date) for row in reader.market_rows()}
        assert rows == {
            "KRW-END": ("active", "caution", "2026-11-30"),
            "KRW-OLD": ("unlisted", None, None),
        }
        states.note(["KRW-NEW"], {}, NOW_MS)
        assert {row.market: row.state for row in reader.market_rows()} == {
            "KRW-END": "delisted",
            "KRW-OLD": "unlisted",
        }


@pytest.mark.server
def test_a_redis_that_is_away_costs_one_look(settings: Settings) -> None:
    """The next list is a minute away."""
    away = redis.Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0))
    assert MarketStates(away, settings).note(["KRW-BTC"], {}, NOW_MS) == set()
