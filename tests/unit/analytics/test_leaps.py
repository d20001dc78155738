"""A time that is far ahead of all others is doubted until another agrees."""

import pytest

from collector.analytics.leaps import LEAP_MS, Moment, Stamp, is_newer, newest_moment, newest_trades
from tests.samples.rows import BTC, T0, book, ticker, trade

DAY_MS = 86_400_000
ETH = "KRW-ETH"


def made(ms: int, market: str = BTC, received_ms: int = T0) -> object:
    return trade(1, market=market, exchange_ms=ms, received_ms=received_ms)


@pytest.mark.parametrize(
    ("events", "moment"),
    [
        ([], Moment()),
        ([made(T0), made(T0 - 5)], Moment(T0)),
        ([made(T0 + LEAP_MS)], Moment(T0 + LEAP_MS)),
        ([made(T0 - DAY_MS)], Moment(T0 - DAY_MS)),
        ([made(T0), made(T0 + DAY_MS)], Moment(T0, T0 + DAY_MS, BTC)),
        ([made(T0), made(T0 + DAY_MS), made(T0 + DAY_MS + 1)], Moment(T0, T0 + DAY_MS + 1, BTC)),
        # This clock is a day slow: two markets agree, and so does a ticker.
        ([made(T0 + DAY_MS), made(T0 + DAY_MS + 9, ETH)], Moment(T0 + DAY_MS + 9)),
        ([ticker(exchange_ms=T0 + DAY_MS, received_ms=T0), made(T0 + DAY_MS, ETH)], Moment(T0 + DAY_MS)),
        # A day slow, and one stamp is a further day ahead.
        (
            [made(T0 + DAY_MS), made(T0 + DAY_MS, ETH), made(T0 + 2 * DAY_MS, "KRW-XRP")],
            Moment(T0 + DAY_MS, T0 + 2 * DAY_MS, "KRW-XRP"),
        ),
    ],
)
def test_how_far_the_exchange_has_come(events: list, moment: Moment) -> None:
    """What is not ahead of its arrival counts, and what two markets agree on."""
    assert newest_moment(events) == moment
    assert newest_moment(events[::-1]) == moment


def test_the_newest_trade_of_each_market() -> None:
    """Tickers are none."""
    rows = [made(T0 + 1), made(T0), made(T0 - 5, ETH), ticker(exchange_ms=T0 + 9)]
    assert newest_trades(rows) == {BTC: T0 + 1, ETH: T0 - 5}  # type: ignore[arg-type]


@pytest.mark.parametrize("unit", [1, 1000], ids=["ms", "us"])
@pytest.mark.parametrize(
    ("state", "known", "newer"),
    [
        ((T0 + 1, T0 + 1), (T0, T0), True),
        ((T0, T0), (T0 + 1, T0 + 1), False),
        ((T0, T0 + 1), (T0, T0), True),
        ((T0, T0), (T0, T0), False),
        # What is stamped a day ahead shows for a moment: whatever comes after it replaces it.
        ((T0 + DAY_MS, T0), (T0, T0), True),
        ((T0 + 5, T0 + 6), (T0 + DAY_MS, T0), True),
        ((T0 - 5, T0 - 4), (T0 + DAY_MS, T0), False),
        # A clock that is a day slow, or fast, makes no difference.
        ((T0 + DAY_MS + 5, T0 + 5), (T0 + DAY_MS, T0), True),
        ((T0 + DAY_MS - 5, T0 + 5), (T0 + DAY_MS, T0), False),
    ],
)
def test_which_state_is_newer(state: tuple[int, int], known: tuple[int, int], newer: bool, unit: int) -> None:
    """By stamp, then by arrival; a stamp far ahead freezes nothing."""
    assert is_newer(Stamp(state[0] * unit, state[1]), Stamp(known[0] * unit, known[1])) is newer


def test_stamps_are_of_books_and_tickers() -> None:
    """Books are in microseconds."""
    assert Stamp(book().exchange_us, T0).ahead_ms == 0
