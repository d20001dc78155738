"""The current protocol's words: `ticker`, `trade` and `orderbook` frames in DEFAULT and SIMPLE form.

Field names, order and units as in bithumb-protocol.md 1.3 to 1.5. Frames are written as text, not through a
JSON encoder: numbers keep the spelling the exchange uses.
"""

import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from collector.simulator.events import CHANNELS, LEVELS, E, Event, Side, SimBook, SimTicker, SimTrade, stamped
from collector.simulator.fixed import ONE, PLACES, SIZE_UNIT, four_decimals, size_text, text
from collector.simulator.market import SimMarket
from collector.simulator.requests import Refused, Subscription, parse_current
from collector.simulator.times import compact, kst
from collector.util.korean_time import KST_MS

_PADDING = ((0, 0),) * 30
REALTIME, SNAPSHOT = "REALTIME", "SNAPSHOT"
NULL = "null"
UP = b'{"status":"UP"}'

#: DEFAULT name -> SIMPLE name, for every field of every frame.
SHORT = {
    "type": "ty", "code": "cd", "opening_price": "op", "high_price": "hp", "low_price": "lp",
    "trade_price": "tp", "prev_closing_price": "pcp", "change": "c", "change_price": "cp",
    "signed_change_price": "scp", "change_rate": "cr", "signed_change_rate": "scr", "trade_volume": "tv",
    "acc_trade_volume": "atv", "acc_trade_volume_24h": "atv24h", "acc_trade_price": "atp",
    "acc_trade_price_24h": "atp24h", "trade_date": "tdt", "trade_time": "ttm", "trade_timestamp": "ttms",
    "ask_bid": "ab", "acc_ask_volume": "aav", "acc_bid_volume": "abv", "highest_52_week_price": "h52wp",
    "highest_52_week_date": "h52wdt", "lowest_52_week_price": "l52wp", "lowest_52_week_date": "l52wdt",
    "market_state": "ms", "is_trading_suspended": "its", "delisting_date": "dd", "market_warning": "mw",
    "timestamp": "tms", "stream_type": "st", "total_ask_size": "tas", "total_bid_size": "tbs",
    "orderbook_units": "obu", "ask_price": "ap", "bid_price": "bp", "ask_size": "as", "bid_size": "bs",
    "level": "lv", "sequential_id": "sid",
}  # fmt: skip


class CurrentDialect:
    """Speaks `/websocket/v1`. Stateful only to write a repeated book's levels once.

    Args:
        snapshot_trades: how many of the last trades of a market open a subscription.
    """

    path = "/websocket/v1"
    greeting: tuple[bytes, ...] = ()
    acknowledgement: tuple[bytes, ...] = ()
    closes_on_refusal = True
    binary = True

    def __init__(self, snapshot_trades: int = 1, kst: str = "none") -> None:
        self._snapshot_trades = snapshot_trades
        self._kst = kst
        #: (market code, simple) -> (asks, bids, text up to the levels' end) of the last book written.
        self._written: dict[tuple[str, bool], tuple[object, object, str]] = {}

    def parse(self, text: str, before: Subscription) -> Subscription:  # noqa: ARG002 - it replaces
        """Read a request; it replaces the one before. Raises `Refused`."""
        return parse_current(text)

    def refusal(self, refused: Refused) -> bytes:
        """Write the error that announces the server's close."""
        error = {"name": refused.name, "message": refused.message}
        return json.dumps({"error": error}, ensure_ascii=False, separators=(",", ":")).encode()

    def live(self, events: Iterable[Event], subscription: Subscription, now_ms: int) -> list[bytes]:
        """Return the REALTIME frames among `events` that `subscription` asked for."""
        trades, books = subscription.wanted("trade"), subscription.wanted("orderbook")
        tickers, simple = subscription.wanted("ticker"), subscription.simple
        frames: list[bytes] = []
        for event in map(self._stamped, events):
            if type(event) is SimBook:
                if event.market in books:
                    frames.append(self.book_frame(event, REALTIME, simple))
            elif type(event) is SimTrade:
                if event.market in trades:
                    frames.append(trade_frame(event, now_ms, REALTIME, simple))
            elif type(event) is SimTicker and event.market in tickers:
                frames.append(ticker_frame(event, REALTIME, simple))
        return frames

    def snapshots(
        self, subscription: Subscription, markets: Mapping[str, SimMarket], now_ms: int
    ) -> list[bytes]:
        """Return the SNAPSHOT frames of a new subscription: one per type and code that has data."""
        frames: list[bytes] = []
        for stream in subscription.streams:
            for code in stream.codes:
                if stream.snapshot and code in markets:
                    frames += self._snapshot(stream.channel, markets[code], now_ms, subscription.simple)
        return frames

    def _snapshot(self, channel: str, market: SimMarket, now_ms: int, simple: bool) -> list[bytes]:
        if channel == "orderbook":
            return [self.book_frame(self._stamped(market.view), SNAPSHOT, simple)]
        if channel == "ticker":
            return [ticker_frame(self._stamped(market.ticker(now_ms)), SNAPSHOT, simple)]
        last = map(self._stamped, market.last_shown(self._snapshot_trades))
        return [trade_frame(made, now_ms, SNAPSHOT, simple) for made in last]

    def _stamped(self, event: E) -> E:
        return stamped(event, KST_MS) if CHANNELS[type(event)] == self._kst else event

    def book_frame(self, book: SimBook, stream_type: str, simple: bool) -> bytes:
        """Write a whole book; its time is in microseconds and comes after the levels."""
        known = self._written.get((book.market, simple))
        if known is None or known[0] is not book.asks or known[1] is not book.bids:
            known = book.asks, book.bids, _levels(book, simple)
            self._written[book.market, simple] = known
        if simple:
            return f'{known[2]},"lv":1,"tms":{book.us},"st":"{stream_type}"}}'.encode()
        return f'{known[2]},"level":1,"timestamp":{book.us},"stream_type":"{stream_type}"}}'.encode()


def trade_frame(made: SimTrade, now_ms: int, stream_type: str, simple: bool) -> bytes:
    """Write one trade, one object."""
    date, time = kst(made.ms)
    form = _TRADE_SIMPLE if simple else _TRADE
    return (
        form
        % (
            made.market,
            text(made.price),
            text(made.volume),
            "BID" if made.buy else "ASK",
            *comparison(made.price, made.prev_close)[:3],
            date,
            time,
            made.ms,
            made.id,
            now_ms,
            stream_type,
        )
    ).encode()


def ticker_frame(ticker: SimTicker, stream_type: str, simple: bool) -> bytes:
    """Write a market's summary; rates are ratios, values carry all their digits."""
    return ((_TICKER_SIMPLE if simple else _TICKER) % (*ticker_figures(ticker), stream_type)).encode()


def ticker_figures(ticker: SimTicker) -> tuple[str | int, ...]:
    """Return every value of a ticker frame but the last, as written."""
    date, time = compact(kst(ticker.trade_ms))
    return (
        ticker.market,
        *(text(price) for price in (ticker.open, ticker.high, ticker.low, ticker.price)),
        *comparison(ticker.price, ticker.prev_close),
        text(ticker.volume),
        *(text(volume) for volume in (ticker.day_volume, ticker.volume_24h)),
        *(text(value, 2 * PLACES) for value in (ticker.day_value, ticker.value_24h)),
        date,
        time,
        ticker.trade_ms,
        "BID" if ticker.buy else "ASK",
        text(ticker.sell_volume),
        text(ticker.buy_volume),
        text(max(ticker.high, ticker.prev_close * 3 // 2)),
        "2025-10-09",
        text(min(ticker.low, ticker.prev_close // 2)),
        "2026-02-06",
        "true" if ticker.suspended else "false",
        "CAUTION" if ticker.caution else "NONE",
        ticker.ms,
    )


def comparison(price: int, prev_close: int) -> tuple[str, str, str, str, str, str]:
    """Write all that follows from a previous close: null where there is none.

    Return the close, the change in a word, the change of price, the same with its sign, and so the rate.
    """
    if not prev_close:
        return (NULL,) * 6
    difference = price - prev_close
    change = "EVEN" if not difference else "RISE" if difference > 0 else "FALL"
    sign = "-" if difference < 0 else ""
    cost, rate = text(abs(difference)), text(round(abs(difference) * ONE / prev_close))
    return text(prev_close), f'"{change}"', cost, sign + cost, rate, sign + rate


def levels_text(book: SimBook, depth: int, form: str) -> tuple[str, str, str]:
    """Write the best `depth` levels; return (total ask size, total bid size, units).

    A side that is short is padded with price 0 and size 0, as on the wire.
    """
    asks, bids = book.asks[:depth], book.bids[:depth]
    short = len(bids) - len(asks)
    padded = zip((*asks, *_PADDING[: max(short, 0)]), (*bids, *_PADDING[: max(-short, 0)]), strict=True)
    units = ",".join([_unit(form, *ask, *bid) for ask, bid in padded])
    return four_decimals(_total(asks)), four_decimals(_total(bids)), units


@lru_cache(maxsize=1 << 16)
def _unit(form: str, ask: int, ask_size: int, bid: int, bid_size: int) -> str:
    """Write one pair of levels; most stay the same from book to book."""
    return form % (text(ask), text(bid), size_text(ask_size), size_text(bid_size))


def _total(side: Side) -> int:
    """Add the sizes as they are printed, in units of 10^-4."""
    half = SIZE_UNIT // 2
    return sum([(size + half) // SIZE_UNIT for _, size in side])


def _levels(book: SimBook, simple: bool) -> str:
    total_ask, total_bid, units = levels_text(book, LEVELS, _UNIT_SIMPLE if simple else UNIT)
    if simple:
        return f'{{"ty":"orderbook","cd":"{book.market}","tas":{total_ask},"tbs":{total_bid},"obu":[{units}]'
    return (
        f'{{"type":"orderbook","code":"{book.market}","total_ask_size":{total_ask},'
        f'"total_bid_size":{total_bid},"orderbook_units":[{units}]'
    )


def _shortened(form: str) -> str:
    """Replace every long field name of a form by its short one."""
    return re.sub(r'"(\w+)":', lambda name: f'"{SHORT[name[1]]}":', form)


UNIT = '{"ask_price":%s,"bid_price":%s,"ask_size":%s,"bid_size":%s}'
_TRADE = (
    '{"type":"trade","code":"%s","trade_price":%s,"trade_volume":%s,"ask_bid":"%s","prev_closing_price":%s,'
    '"change":%s,"change_price":%s,"trade_date":"%s","trade_time":"%s","trade_timestamp":%d,'
    '"sequential_id":%d,"timestamp":%d,"stream_type":"%s"}'
)
_TICKER = (
    '{"type":"ticker","code":"%s","opening_price":%s,"high_price":%s,"low_price":%s,"trade_price":%s,'
    '"prev_closing_price":%s,"change":%s,"change_price":%s,"signed_change_price":%s,"change_rate":%s,'
    '"signed_change_rate":%s,"trade_volume":%s,"acc_trade_volume":%s,"acc_trade_volume_24h":%s,'
    '"acc_trade_price":%s,"acc_trade_price_24h":%s,"trade_date":"%s","trade_time":"%s",'
    '"trade_timestamp":%d,"ask_bid":"%s","acc_ask_volume":%s,"acc_bid_volume":%s,'
    '"highest_52_week_price":%s,"highest_52_week_date":"%s","lowest_52_week_price":%s,'
    '"lowest_52_week_date":"%s","market_state":"ACTIVE","is_trading_suspended":%s,"delisting_date":"",'
    '"market_warning":"%s","timestamp":%d,"stream_type":"%s"}'
)
_UNIT_SIMPLE, _TRADE_SIMPLE, _TICKER_SIMPLE = _shortened(UNIT), _shortened(_TRADE), _shortened(_TICKER)
