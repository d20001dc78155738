"""Read the stored results: the Python API behind `collector show`.

    from tasks.read import Reader, to_json

    with Reader() as reader:
        for candle in reader.candles("KRW-BTC", "5m", limit=12):
            print(candle.open_time, candle.close, candle.base_volume)
        print(reader.ticker("KRW-BTC").price)

Rows are frozen structs with the fields of the JSON output, in its order: `Candle`, `Volume`,
`Change`, `Book`, `TickerRow`, `TradeRow`, `GapRow`, `MarketRow`, `Health`. Prices and volumes are `Decimal`,
`open_time` an aware `datetime` in UTC, all other times epoch milliseconds UTC. Lists are oldest first and
empty where there are no rows; an unknown market raises `NoData`.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Self, TypeVar, overload

import msgspec
import redis

from collector import market_names
from collector.analytics.book_window import BookSample
from collector.analytics.candles import Candle, Minute, align, interval_ms, view
from collector.analytics.change import Change, End, changes, end_before
from collector.analytics.completeness import Known, Ongoing, is_open, ongoing, watch_of
from collector.analytics.dedup import executions
from collector.analytics.depth import Book
from collector.analytics.market_states import Listing, MarketRow, market_row
from collector.analytics.proof import Completeness, Proof
from collector.analytics.volume import Volume, volumes
from collector.analytics.windows import WINDOWS, window_start_ms
from collector.batch import waited_ms
from collector.errors import BrokerUnavailable, NoData
from collector.host.redis_server import find_url
from collector.model import MINUTE_MS, Channel, Gap, Ticker
from collector.routing import ORDERBOOK, TICKER, all_queues, trade_queues
from collector.settings import Settings, current
from collector.store.condition import Condition, condition_of
from collector.store.dead_letters import DeadLetter, DeadLetters
from collector.store.history import History, Opens
from collector.store.keys import Keys
from collector.store.proofs import Proofs
from collector.store.redis_client import connect, translated
from collector.store.rows import GapRow, Health, TickerRow, TradeRow, plain, to_json
from collector.store.store import VALUE, decode_ticker
from collector.store.stored_books import read_books
from collector.store.stored_trades import read_rows

__all__ = [
    "Book",
    "Candle",
    "Change",
    "Completeness",
    "GapRow",
    "Health",
    "MarketRow",
    "Reader",
    "TickerRow",
    "TradeRow",
    "Volume",
    "plain",
    "to_json",
]

_SCAN_COUNT = 5000
#: Reads a stored sample of a book.
decode_sample = msgspec.json.Decoder(BookSample).decode
decode_listing = msgspec.json.Decoder(Listing).decode
#: Minutes of trades read in one round trip.
MINUTES_AT_ONCE = 60

Row = TypeVar("Row")


class Reader:
    """Read results from Redis.

    Args:
        source: a client, an address, or None for the Redis of the settings (`REDIS_URL`, else the private
            server found through the data folder). A client that is passed in is not
            closed by `close` or at the end of a `with`.
        settings: those of this process by default.

    A market can be written as `KRW-BTC`, `btc` or `BTC/KRW`; the rows have its code. The methods that other
    packages build on take codes only: `opens`, `known`, `minutes`, `minutes_of`, `ends_before`,
    `book_samples`, `last_trade_ms`, `open_trade_gaps`.

    Every method can raise `NoData` (the market is unknown or ambiguous) and `BrokerUnavailable` (Redis does
    not answer).
    """

    def __init__(self, source: redis.Redis | str | None = None, settings: Settings | None = None) -> None:
        self._settings = settings or current()
        if source is None:
            source = find_url(self._settings)
        self._is_own = isinstance(source, str)
        self._redis = connect(source, self._settings) if isinstance(source, str) else source
        self._keys = Keys(self._settings.store.key_prefix)
        self._history = History(self._redis, self._settings)
        self._proofs = Proofs(self._history)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection, unless a client was passed in."""
        if self._is_own:
            self._redis.close()

    def markets(self) -> list[str]:
        """Return every market ever seen, sorted."""
        with translated():
            return sorted(_text(market) for market in self._redis.smembers(self._keys.markets))

    def market_rows(self) -> list[MarketRow]:
        """Return the state at the exchange of every market ever seen, sorted by name."""
        names = self.markets()
        with translated():
            stored = self._redis.hgetall(self._keys.listings)
        listings = {_text(market): decode_listing(value) for market, value in stored.items()}
        tickers = {ticker.market: ticker for ticker in self.whole_tickers()}
        newest = self.last_trade_ms(names)
        return [market_row(name, tickers.get(name), listings.get(name), newest.get(name)) for name in names]

    def as_of_ms(self) -> int | None:
        """Return the time of the newest trade or ticker of any market: where rolling windows end."""
        with translated():
            known = self._redis.hget(self._keys.newest, "as_of")
        return int(known) if known else None

    @overload
    def ticker(self, market: str) -> TickerRow: ...
    @overload
    def ticker(self, market: None = None) -> list[TickerRow]: ...
    def ticker(self, market: str | None = None) -> TickerRow | list[TickerRow]:
        """Return the newest ticker of `market`; without a market those of all, as `tickers` does.

        Raises:
            NoData: also where the market has no ticker yet.
        """
        return self.tickers() if market is None else _only(self.tickers([market]), market, "ticker")

    def tickers(self, markets: Iterable[str] | str | None = None) -> list[TickerRow]:
        """Return the newest ticker of each of `markets` that has one, in their order.

        Args:
            markets: names, or one text such as `btc,eth` or `KRW-*`; None for all.
        """
        return [msgspec.convert(ticker, TickerRow, from_attributes=True) for ticker in self._tickers(markets)]

    def whole_tickers(self) -> list[Ticker]:
        """Return the newest ticker of every market as it was received."""
        return self._tickers(None)

    @overload
    def book(self, market: str) -> Book: ...
    @overload
    def book(self, market: None = None) -> list[Book]: ...
    def book(self, market: str | None = None) -> Book | list[Book]:
        """Return the newest order book of `market`; without a market those of all, as `books` does.

        Raises:
            NoData: also where the market has no order book yet.
        """
        return self.books() if market is None else _only(self.books([market]), market, "order book")

    def books(self, markets: Iterable[str] | str | None = None) -> list[Book]:
        """Return the newest order book of each of `markets` that has one, in their order.

        Args:
            markets: as for `tickers`.
        """
        return list(read_books(self._redis, self._keys, self._codes(markets)))

    def book_samples(self, market: str, from_ms: int, to_ms: int) -> list[BookSample]:
        """Return the samples of the book of `market` from `from_ms` to `to_ms`, oldest first."""
        with translated():
            stored = self._redis.lrange(self._keys.book_samples(market), 0, -1)
        samples = map(decode_sample, stored)
        return [sample for sample in samples if from_ms <= sample.exchange_ms <= to_ms]

    def kept_answers(self, analysis: str, arguments: Sequence[str]) -> list[dict[str, Any]]:
        """Return the kept results of a periodic analysis, oldest first."""
        with translated():
            stored = self._redis.lrange(self._keys.answers(analysis, arguments), 0, -1)
        return [msgspec.json.decode(value) for value in stored]

    def candles(
        self,
        market: str,
        interval: str = "1m",
        from_ms: int | None = None,
        to_ms: int | None = None,
        limit: int | None = None,
    ) -> list[Candle]:
        """Return the candles that open in `from_ms … to_ms`, the newest `limit` of them.

        Raises:
            ConfigurationError: no such interval.
        """
        market = self.check(market)
        length_ms = interval_ms(interval)
        found = self.opens([market])
        stored, known = set(found[market]), self.known(found)[market]
        first_ms, last_ms = self._bounds(known)
        opens: dict[int, list[int]] = {}
        for open_ms in sorted(stored | set(known.losses.minutes(first_ms, last_ms))):
            candle_ms = align(open_ms, length_ms)
            if (from_ms is None or candle_ms >= from_ms) and (to_ms is None or candle_ms <= to_ms):
                opens.setdefault(candle_ms, []).append(open_ms)
        chosen = [each for candle_ms in sorted(opens)[-(limit or 0) :] for each in opens[candle_ms]]
        minutes = self._history.minutes({market: stored.intersection(chosen)})[market]
        found_of = self._history.verdicts({market: chosen})[market]
        verdicts = {open_ms: found_of.of(open_ms, minutes.get(open_ms)) for open_ms in chosen}
        return view(market, minutes, interval, known, missing=chosen, verdicts=verdicts)

    def volume(self, market: str) -> list[Volume]:
        """Return the traded volume of the last 1m 5m 15m 1h 24h."""
        market = self.check(market)
        as_of_ms = self.as_of_ms()
        opens = self.opens([market])
        known = self.known(opens)[market]
        if as_of_ms is None or known.is_empty:
            return []
        start_ms = window_start_ms(as_of_ms, max(WINDOWS.values()))
        return volumes(market, self.minutes_of(opens, start_ms, as_of_ms)[market], as_of_ms, known)

    def changes(self, market: str) -> list[Change]:
        """Return the change of price over the last 1m 5m 15m 1h 24h and since the previous close."""
        market = self.check(market)
        as_of_ms = self.as_of_ms()
        tickers = self._tickers([market])
        found = self.opens([market])
        if as_of_ms is None or not (tickers or found[market]):
            return []
        # Only closes are needed: of the newest candle, and of the newest before each window.
        ends = [as_of_ms + 1, *(window_start_ms(as_of_ms, length) for length in WINDOWS.values())]
        wanted = {open_ms for end in ends for open_ms in [ms for ms in found[market] if ms < end][-1:]}
        minutes = self._history.minutes({market: wanted})[market]
        ticker = tickers[0] if tickers else None
        return changes(market, minutes, ticker, as_of_ms, self.known(found)[market])

    def trades(
        self, market: str, from_ms: int | None = None, to_ms: int | None = None, limit: int | None = None
    ) -> list[TradeRow]:
        """Return the stored trades in `from_ms … to_ms`, the newest `limit` of them."""
        market = self.check(market)
        rows: list[TradeRow] = []
        minutes = self._kept_minutes(market, from_ms, to_ms)
        while minutes and not (limit and len(rows) >= limit):
            minutes, newest = minutes[:-MINUTES_AT_ONCE], minutes[-MINUTES_AT_ONCE:]
            rows = [row for row in self._trades_of(market, newest) if _within(row, from_ms, to_ms)] + rows
        return rows[-limit:] if limit else rows

    def candle_stretch(self, market: str) -> tuple[int, int] | None:
        """Return the first and the last millisecond of the candles of `market`, None where it has none."""
        opens = self.opens([market])[market]
        return (opens[0], opens[-1] + MINUTE_MS - 1) if opens else None

    def trade_stretch(self, market: str) -> tuple[int, int] | None:
        """Return the times of the oldest and the newest kept trade of `market`, None where none is kept."""
        opens = self.opens([market])[market]
        with translated():
            pipeline = self._redis.pipeline(transaction=False)
            for minute_ms in opens:
                pipeline.exists(self._keys.trades(market, minute_ms))
            kept = [minute_ms for minute_ms, found in zip(opens, pipeline.execute(), strict=True) if found]
        trades = self._trades_of(market, dict.fromkeys((kept[0], kept[-1]))) if kept else []
        return (trades[0].exchange_ms, trades[-1].exchange_ms) if trades else None

    def gaps(self, market: str | None = None) -> list[GapRow]:
        """Return the gaps of `market`, or of all, of every channel, oldest first.

        An outage in progress is a gap of each of its markets that ends with the newest data.
        """
        names = self.markets() if market is None else [self.check(market)]
        gaps = self._gaps(names) + self._proofs.outages(names, self.as_of_ms())
        gaps.sort(key=lambda gap: (gap.from_ms, gap.to_ms, gap.market, gap.channel))
        return [
            GapRow(gap.market, gap.channel, gap.from_ms, gap.to_ms, gap.word, gap.recovered) for gap in gaps
        ]

    def completeness(self, markets: Iterable[str] | str | None = None) -> list[Completeness]:
        """Return how far the trades of each of `markets` are proven, by name.

        Args:
            markets: names, or one text such as `btc,eth` or `KRW-*`; None for all.
        """
        as_of_ms = self.as_of_ms()
        return [] if as_of_ms is None else [*self._proofs.of_markets(self._codes(markets), as_of_ms)]

    def health(self) -> Health:
        """Return live listeners and workers, queue lengths and the sums of all counters."""
        listeners = self.listeners()
        counters = Counter(self.counters())
        for listener in listeners:
            counters.update(listener.pop("counters", {}))
        counted = dict(sorted(counters.items()))
        return Health(listeners, self.queues(), self.workers(), counted, self.condition(), self.proof())

    def proof(self) -> Proof:
        """Return the proven time of all markets together, with open gaps and recovered trades."""
        return self._proofs.summary(self.markets())

    def condition(self) -> Condition | None:
        """Return memory and disk of Redis, None where its user has no right to read them."""
        try:
            with translated():
                info = self._redis.info()
        except BrokerUnavailable as error:
            if isinstance(error.__cause__, redis.exceptions.NoPermissionError):
                return None
            raise
        return condition_of(info, self._settings.pressure.redis_memory_high)

    def listeners(self) -> list[dict[str, Any]]:
        """Return the newest report of each live listener, with its `counters`."""
        return self._reports(self._keys.listener("*"))

    def workers(self) -> list[dict[str, Any]]:
        """Return the newest report of each live worker."""
        return self._reports(self._keys.worker("*"))

    def counters(self) -> dict[str, int]:
        """Return the counters of the workers."""
        with translated():
            known = self._redis.hgetall(self._keys.counters)
        return {_text(name): int(number) for name, number in known.items()}

    def queues(self) -> dict[str, int]:
        """Return the numbers of waiting batches by queue, of unacknowledged batches, of dead letters."""
        names = all_queues(self._settings.batch.trade_queues)
        with translated():
            pipeline = self._redis.pipeline(transaction=False)
            for name in names:
                pipeline.llen(name)
            pipeline.hlen("unacked")
            pipeline.llen(self._keys.dead_letters)
            return dict(zip((*names, "unacked", "dead-letters"), pipeline.execute(), strict=True))

    def oldest_ages_ms(self, now_ms: int) -> dict[str, int]:
        """Return how long the oldest batch of each ingest queue has waited, 0 where none waits.

        Under conflation a queue stays short however late its batches are.
        """
        names = [*trade_queues(self._settings.batch.trade_queues), ORDERBOOK, TICKER]
        with translated():
            pipeline = self._redis.pipeline(transaction=False)
            for name in names:
                pipeline.lindex(name, -1)
            oldest = pipeline.execute()
        return {name: waited_ms(message, now_ms) for name, message in zip(names, oldest, strict=True)}

    def dead_letters(self, limit: int | None = None) -> list[DeadLetter]:
        """Return the newest `limit` batches that could not be stored, oldest first."""
        return DeadLetters(self._redis, self._settings.store).list(limit)

    def recovered_trades(self, markets: Sequence[str]) -> dict[str, int]:
        """Return the number of trades of each of `markets` that only a backfill brought."""
        if not markets:
            return {}
        with translated():
            counts = self._redis.hmget(self._keys.recovered, list(markets))
        return {market: int(count or 0) for market, count in zip(markets, counts, strict=True)}

    def last_trade_ms(self, markets: Sequence[str]) -> dict[str, int]:
        """Return the time of the newest stored trade of those of `markets` that have one."""
        return self._history.last_trade_ms(markets)

    def open_trade_gaps(self, markets: Sequence[str]) -> list[Gap]:
        """Return the open gaps in the trades of `markets`."""
        return [gap for gap in self._gaps(markets) if is_open(gap)]

    def lasting(self) -> dict[str, Ongoing]:
        """Return the outages in progress by market, with their beginning and reason."""
        watches = self._history.watches()
        found = {market: ongoing(watch_of(market, watches)) for market in self.markets()}
        return {market: loss for market, loss in found.items() if loss}

    def opens(self, markets: Iterable[str]) -> Opens:
        """Return the opens of all stored one-minute candles of each market, oldest first.

        Other methods take them as an argument. For several markets they are large, so read them once.
        """
        return self._history.opens(markets)

    def known(self, opens: Opens) -> dict[str, Known]:
        """Return what may be missing of the trades of each market, and the beginning of its data."""
        return self._history.known(opens)

    def minutes_of(self, opens: Opens, from_ms: int, to_ms: int) -> dict[str, dict[int, Minute]]:
        """Return the stored one-minute candles of each market that open in `from_ms … to_ms`, by open."""
        return self._history.minutes(
            {market: [ms for ms in times if from_ms <= ms <= to_ms] for market, times in opens.items()}
        )

    def ends_before(self, opens: Opens, time_ms: int) -> dict[str, End | None]:
        """Return the close of the newest stored candle of each market that opened before `time_ms`."""
        newest = {market: [ms for ms in times if ms < time_ms][-1:] for market, times in opens.items()}
        found = self._history.minutes(newest)
        return {market: end_before(minutes, time_ms) for market, minutes in found.items()}

    def minutes(self, market: str, from_ms: int, to_ms: int) -> dict[int, Minute]:
        """Return the same as `minutes_of` for one market."""
        return self.minutes_of(self.opens([market]), from_ms, to_ms)[market]

    def check(self, market: str) -> str:
        """Return the code of a market in any accepted spelling (`collector.market_names`).

        Raises:
            NoData: the market is unknown or ambiguous; the message suggests similar markets.
        """
        with translated():
            known = self._redis.sismember(self._keys.markets, market)
        return market if known else market_names.one(market, self.markets())

    def several(self, text: str) -> list[str]:
        """Return the codes of a comma-separated list of markets and patterns such as `KRW-E*`.

        Raises:
            NoData: as `check`, or a pattern matches no market.
        """
        return market_names.several(text, self.markets())

    # -- how it is stored

    def _bounds(self, known: Known) -> tuple[int, int]:
        """Return the interval in which minutes can be recognised as missing."""
        lasting = known.losses.lasting
        until_ms = max(self.as_of_ms() or 0, lasting.seen_ms if lasting else 0)
        kept_ms = self._settings.store.candle_retention_h * 3_600_000
        return max(known.from_ms, until_ms - kept_ms), until_ms

    def _kept_minutes(self, market: str, from_ms: int | None, to_ms: int | None) -> list[int]:
        return [
            open_ms
            for open_ms in self.opens([market])[market]
            if (from_ms is None or open_ms + MINUTE_MS > from_ms) and (to_ms is None or open_ms <= to_ms)
        ]

    def _trades_of(self, market: str, minutes: Iterable[int]) -> list[TradeRow]:
        slots = [(market, minute_ms) for minute_ms in minutes]
        stored = [pair for rows in read_rows(self._redis, self._keys, slots) for pair in rows.items()]
        stored.sort(key=lambda pair: pair[0])
        return [
            TradeRow(market, row.id, row.price, row.volume, row.side, ms, row.received_ms)
            for ms, rows in stored
            for row in executions(rows)
        ]

    def _tickers(self, markets: Iterable[str] | str | None) -> list[Ticker]:
        return [decode_ticker(value) for value in self._states(Channel.TICKER, markets)]

    def _codes(self, markets: Iterable[str] | str | None) -> list[str]:
        match markets:
            case None:
                return self.markets()
            case str():
                return self.several(markets)
            case _:
                return [self.check(market) for market in markets]

    def _states(self, channel: Channel, markets: Iterable[str] | str | None) -> list[bytes]:
        codes = self._codes(markets)
        with translated():
            pipeline = self._redis.pipeline(transaction=False)
            for name in codes:
                pipeline.hget(self._keys.state(channel, name), VALUE)
            return [value for value in pipeline.execute() if value]

    def _gaps(self, markets: Sequence[str]) -> list[Gap]:
        return [gap for gaps in self._history.gaps(markets).values() for gap in gaps]

    def _reports(self, pattern: str) -> list[dict[str, Any]]:
        with translated():
            keys = sorted(self._redis.scan_iter(pattern, count=_SCAN_COUNT))
            values = self._redis.mget(keys) if keys else []
        return [msgspec.json.decode(value) for value in values if value]


def _only(rows: Sequence[Row], market: str, what: str) -> Row:
    """Return the one row of `market`.

    Raises:
        NoData: there is none.
    """
    if not rows:
        raise NoData(f"{market} has no {what} yet")
    return rows[0]


def _within(row: TradeRow, from_ms: int | None, to_ms: int | None) -> bool:
    return (from_ms is None or row.exchange_ms >= from_ms) and (to_ms is None or row.exchange_ms <= to_ms)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
