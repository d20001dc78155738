"""States of markets: each word of the exchange, and what the list adds to a ticker."""

import pytest

from collector.analytics.market_states import Listing, MarketState, is_ending, market_row, state_of
from tests.samples.rows import BTC, T0, ticker

LISTED, AWAY = Listing(True), Listing(False)


@pytest.mark.parametrize(
    ("said", "listing", "state"),
    [
        ({}, None, MarketState.ACTIVE),
        ({"market_state": "ACTIVE", "trading_suspended": False}, LISTED, MarketState.ACTIVE),
        ({"market_state": "ACTIVE", "trading_suspended": True}, LISTED, MarketState.SUSPENDED),
        ({"market_state": "PREVIEW", "trading_suspended": True}, LISTED, MarketState.PREVIEW),
        ({"market_state": "DELISTED"}, LISTED, MarketState.DELISTED),
        ({"market_state": "HALTED"}, LISTED, MarketState.SUSPENDED),
        ({"market_state": "active"}, LISTED, MarketState.ACTIVE),
        ({"market_state": None, "trading_suspended": None}, LISTED, MarketState.ACTIVE),
        ({"delisting_date": "2026-12-01"}, LISTED, MarketState.ACTIVE),
        ({"delisting_date": "2026-12-01"}, AWAY, MarketState.DELISTED),
        ({"market_state": "ACTIVE"}, AWAY, MarketState.UNLISTED),
    ],
)
def test_every_word_has_its_state(
    said: dict[str, object], listing: Listing | None, state: MarketState
) -> None:
    """Unknown words are no reason to take a market for one that trades."""
    assert state_of(ticker(**said), listing) is state


def test_a_market_that_nothing_is_said_of_is_active() -> None:
    """Before its first ticker and the first list; a list alone tells that it is away."""
    assert (state_of(None, None), state_of(None, LISTED)) == (MarketState.ACTIVE, MarketState.ACTIVE)
    assert state_of(None, AWAY) is MarketState.UNLISTED


@pytest.mark.parametrize(
    ("from_ticker", "from_list", "warning"),
    [
        ("CAUTION", None, "caution"),
        ("NONE", None, None),
        ("NONE", "CAUTION", "caution"),
        ("CAUTION", "NONE", None),
        (None, None, None),
        ("", "", None),
    ],
)
def test_the_list_warns_before_the_ticker(
    from_ticker: str | None, from_list: str | None, warning: str | None
) -> None:
    """A quiet market has no new ticker, the list is read every minute."""
    row = market_row(BTC, ticker(market_warning=from_ticker), Listing(True, from_list), T0)
    assert (row.warning, row.last_trade_ms, row.delisting_date) == (warning, T0, None)


@pytest.mark.parametrize(
    ("said", "ending"),
    [
        ({"delisting_date": "2026-11-30"}, True),
        ({"delisting_date": "20261130"}, True),
        ({"delisting_date": "2026-11-29T15:00:00"}, True),
        ({"delisting_date": "2026-12-01"}, False),
        ({"delisting_date": "soon"}, False),
        ({"market_state": "DELISTED"}, True),
        ({}, False),
    ],
)
def test_a_delisting_is_announced_by_date_or_by_state(said: dict[str, object], ending: bool) -> None:
    """Whatever form the date has; a day to come is no end yet."""
    assert is_ending(ticker(**said), "2026-11-30") is ending
    assert is_ending(None, "2026-11-30") is False
