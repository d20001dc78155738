"""The older protocol's words, `/pub/ws` (bithumb-protocol.md section 2).

Every value is a string, symbols are `BASE_QUOTE`, times are Korean wall time. Each request is acknowledged
by a status. Books come as changes that nothing anchors, or as repeated whole books of 30 levels.
"""

import json
from collections.abc import Iterable, Iterator, Mapping

from collector.simulator.events import Event, Side, SimBook, SimTicker, SimTrade
from collector.simulator.fixed import PLACES, plain
from collector.simulator.market import SimMarket
from collector.simulator.requests import Refused, Subscription, parse_legacy
from collector.simulator.times import compact, kst, kst_micros

MAX_VOLUME_POWER = 500


class LegacyDialect:
    """Speaks `/pub/ws`."""

    path = "/pub/ws"
    greeting: tuple[bytes, ...] = (b'{"status":"0000","resmsg":"Connected Successfully"}',)
    acknowledgement: tuple[bytes, ...] = (b'{"status":"0000","resmsg":"Filter Registered Successfully"}',)
    closes_on_refusal = False
    binary = False

    def parse(self, text: str, before: Subscription) -> Subscription:
        """Read a filter; it adds its type to those before. Raises `Refused`."""
        return parse_legacy(text, before)

    def refusal(self, refused: Refused) -> bytes:
        """Write the status of a bad filter; the socket stays open."""
        return _compact({"status": refused.name, "resmsg": refused.message})

    def live(self, events: Iterable[Event], subscription: Subscription, now_ms: int) -> list[bytes]:  # noqa: ARG002
        """Return what `subscription` gets of `events`: trades of one symbol share a frame."""
        wanted = {stream.channel: stream for stream in subscription.streams}
        trades: dict[str, list[SimTrade]] = {}
        frames: list[bytes] = []
        for event in events:
            symbol = to_symbol(event.market)
            if type(event) is SimTrade:
                if symbol in subscription.wanted("transaction"):
                    trades.setdefault(symbol, []).append(event)
            elif type(event) is SimBook:
                if symbol in subscription.wanted("orderbookdepth") and (changes := _changes(symbol, event)):
                    frames.append(_depth_frame(changes, event.us))
                if symbol in subscription.wanted("orderbooksnapshot"):
                    frames.append(snapshot_frame(symbol, event))
            elif type(event) is SimTicker and symbol in subscription.wanted("ticker"):
                frames += (ticker_frame(symbol, event, window) for window in wanted["ticker"].windows)
        return [transaction_frame(symbol, made) for symbol, made in trades.items()] + frames

    def snapshots(
        self, subscription: Subscription, markets: Mapping[str, SimMarket], now_ms: int
    ) -> list[bytes]:
        """Return the states a new filter starts with; changes and trades have none."""
        frames: list[bytes] = []
        for stream in subscription.streams[-1:]:
            for symbol in stream.codes:
                market = markets.get(to_code(symbol))
                if market is not None and stream.channel == "orderbooksnapshot":
                    frames.append(snapshot_frame(symbol, market.view))
                elif market is not None and stream.channel == "ticker":
                    ticker = market.ticker(now_ms)
                    frames += (ticker_frame(symbol, ticker, window) for window in stream.windows)
        return frames


def to_symbol(code: str) -> str:
    """`KRW-BTC` -> `BTC_KRW`."""
    quote, _, base = code.partition("-")
    return f"{base}_{quote}"


def to_code(symbol: str) -> str:
    """`BTC_KRW` -> `KRW-BTC`."""
    base, _, quote = symbol.partition("_")
    return f"{quote}-{base}"


def transaction_frame(symbol: str, trades: Iterable[SimTrade]) -> bytes:
    """Write trades of one symbol, the oldest first; side 2 is a buy, and there is no id."""
    listed = [
        {
            "symbol": symbol,
            "buySellGb": "2" if made.buy else "1",
            "contPrice": plain(made.price),
            "contQty": plain(made.volume),
            "contAmt": plain(made.price * made.volume, 2 * PLACES),
            "contDtm": kst_micros(made.us),
            "updn": "up" if made.buy else "dn",
        }
        for made in trades
    ]
    return _compact({"type": "transaction", "content": {"list": listed}})


def snapshot_frame(symbol: str, book: SimBook) -> bytes:
    """Write a whole book of up to 30 levels a side."""
    asks, bids = ([[plain(price), plain(size)] for price, size in side] for side in (book.asks, book.bids))
    content = {"symbol": symbol, "datetime": str(book.us), "asks": asks, "bids": bids}
    return _compact({"type": "orderbooksnapshot", "content": content})


def ticker_frame(symbol: str, ticker: SimTicker, window: str) -> bytes:
    """Write the figures over `window`: since midnight for `MID`, else a day's; the rate in percent."""
    date, time = compact(kst(ticker.trade_ms))
    midnight = window == "MID"
    change = ticker.price - ticker.open
    power = ticker.buy_volume * 10_000 // (ticker.sell_volume or ticker.buy_volume or 1)
    content = {
        "symbol": symbol,
        "tickType": window,
        "date": date,
        "time": time,
        "openPrice": plain(ticker.open),
        "closePrice": plain(ticker.price),
        "lowPrice": plain(ticker.low),
        "highPrice": plain(ticker.high),
        "value": plain(ticker.day_value if midnight else ticker.value_24h, 2 * PLACES),
        "volume": plain(ticker.day_volume if midnight else ticker.volume_24h),
        "sellVolume": plain(ticker.sell_volume),
        "buyVolume": plain(ticker.buy_volume),
        "prevClosePrice": plain(ticker.prev_close),
        "chgRate": _signed(round(change * 10_000 / ticker.open), 2),
        "chgAmt": _signed(change, PLACES),
        "volumePower": plain(min(power, MAX_VOLUME_POWER * 100), 2),
    }
    return _compact({"type": "ticker", "content": content})


def _depth_frame(changes: list[dict[str, str]], us: int) -> bytes:
    return _compact({"type": "orderbookdepth", "content": {"list": changes, "datetime": str(us)}})


def _changes(symbol: str, book: SimBook) -> list[dict[str, str]]:
    """List the levels that differ from the book before; quantity 0 removes one."""
    sides = (("ask", book.old_asks, book.asks), ("bid", book.old_bids, book.bids))
    return [
        {
            "symbol": symbol,
            "orderType": name,
            "price": plain(price),
            "quantity": plain(size),
            # The number of orders at the level, which the model does not know.
            "total": str(1 + size % 9 if size else 0),
        }
        for name, old, new in sides
        for price, size in _differences(old, new)
    ]


def _differences(old: Side, new: Side) -> Iterator[tuple[int, int]]:
    if old is new:
        return
    before, after = dict(old), dict(new)
    yield from ((price, 0) for price in before if price not in after)
    yield from ((price, size) for price, size in new if before.get(price) != size)


def _signed(value: int, places: int) -> str:
    return plain(value, places) if value >= 0 else "-" + plain(-value, places)


def _compact(frame: object) -> bytes:
    return json.dumps(frame, separators=(",", ":")).encode()
