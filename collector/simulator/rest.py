"""The REST calls of the exchange, answered from the market model. Pure.

Shapes, errors and clocks as in bithumb-protocol.md section 3, with its traps: most errors arrive with
HTTP 200, ticker times run 9 h ahead, trade ids are of another number scheme than the socket's.
"""

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import parse_qs, urlsplit

from collector.simulator.current import UNIT, comparison, levels_text
from collector.simulator.events import LEVELS, SimTicker, SimTrade
from collector.simulator.fixed import ONE, PLACES, SIZE_UNIT, four_decimals, text
from collector.simulator.market import SimCandle, SimMarket
from collector.simulator.rules import Rules
from collector.simulator.times import compact, kst, utc
from collector.util.korean_time import DAY_MS, KST, KST_MS, day_start_ms

Markets = Mapping[str, SimMarket]

MINUTE_MS = 60_000
LEVELS_OF_ONE = 30
MAX_TICKERS = 200
MAX_TICKS = 500
MAX_CANDLES = 200
MAX_DAYS_AGO = 7
MAX_TARGET = 4_264
LIST = "/v1/market/all"
UNITS = (1, 3, 5, 10, 15, 30, 60, 240)


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer: status and JSON text."""

    status: int
    body: str


@dataclass(frozen=True, slots=True)
class Asked:
    """When a call was made, until when its answer has what happened, and the rules in force."""

    now_ms: int
    shown_ms: int
    rules: Rules


OBSERVED = Rules()


class Rejected(Exception):
    """The call gets an error object; most come with HTTP 200."""

    def __init__(self, name: int | str, message: str, status: int = 200) -> None:
        super().__init__(message)
        self.reply = Reply(status, json.dumps({"error": {"name": name, "message": message}}))


def answer(target: str, markets: Markets, now_ms: int, rules: Rules = OBSERVED) -> Reply:
    """Answer `GET target` (path and query)."""
    asked = Asked(now_ms, now_ms - rules.rest_lag_ms, rules)
    if len(target) > MAX_TARGET:
        return Reply(414, "")
    parts = urlsplit(target)
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    for pattern, call in _ROUTES:
        if found := pattern.fullmatch(parts.path):
            try:
                return Reply(200, f"[{','.join(call(markets, {**query, **found.groupdict()}, asked))}]")
            except Rejected as error:
                return error.reply
    return Reply(404, '{"name":"not_found","message":"No Route matched with those values"}')


def category(target: str) -> str:
    """Name the group of calls that shares a rate limit."""
    parts = target.partition("?")[0].split("/")
    return parts[2] if len(parts) > 2 else ""


def _market_all(markets: Markets, query: Mapping[str, str], _asked: Asked) -> Iterator[str]:
    for market in markets.values():
        listing = market.listing
        row = {
            "market": listing.code,
            "korean_name": listing.korean_name,
            "english_name": listing.english_name,
        }
        if query.get("isDetails") == "true":
            row["market_warning"] = "CAUTION" if listing.caution else "NONE"
        yield json.dumps(row, ensure_ascii=False)


def _ticker(markets: Markets, query: Mapping[str, str], asked: Asked) -> Iterator[str]:
    codes = _required(query, "markets").split(",")
    if len(codes) > MAX_TICKERS:
        message = f"Parameter 'markets' must be less than or equal to {MAX_TICKERS} items."
        raise Rejected("400", message, status=400)
    found = _known(markets, codes)
    if asked.rules.rest_lag_ms:
        return (_ticker_row(market.ticker_as_of(asked.shown_ms)) for market in found)
    return (_ticker_row(market.ticker(asked.now_ms)) for market in found)


def _ticker_row(ticker: SimTicker) -> str:
    closing, change, cost, signed_cost, rate, signed_rate = comparison(ticker.price, ticker.prev_close)
    (date, time), (kst_date, kst_time) = compact(utc(ticker.trade_ms)), compact(kst(ticker.trade_ms))
    skewed = ticker.trade_ms + KST_MS
    return (
        f'{{"market":"{ticker.market}","trade_date":"{date}","trade_time":"{time}",'
        f'"trade_date_kst":"{kst_date}","trade_time_kst":"{kst_time}","trade_timestamp":{skewed},'
        f'"opening_price":{text(ticker.open)},"high_price":{text(ticker.high)},'
        f'"low_price":{text(ticker.low)},"trade_price":{text(ticker.price)},'
        f'"prev_closing_price":{closing},"change":{change},"change_price":{cost},"change_rate":{rate},'
        f'"signed_change_price":{signed_cost},"signed_change_rate":{signed_rate},'
        f'"trade_volume":{text(ticker.volume)},"acc_trade_price":{text(ticker.day_value, 2 * PLACES)},'
        f'"acc_trade_price_24h":{text(ticker.value_24h, 2 * PLACES)},'
        f'"acc_trade_volume":{text(ticker.day_volume)},"acc_trade_volume_24h":{text(ticker.volume_24h)},'
        f'"highest_52_week_price":{text(max(ticker.high, ticker.prev_close * 3 // 2))},'
        f'"highest_52_week_date":"2025-10-09",'
        f'"lowest_52_week_price":{text(min(ticker.low, ticker.prev_close // 2))},'
        f'"lowest_52_week_date":"2026-02-06","timestamp":{skewed}}}'
    )


def _orderbook(markets: Markets, query: Mapping[str, str], _asked: Asked) -> Iterator[str]:
    codes = _required(query, "markets").split(",")
    depth = LEVELS_OF_ONE if len(codes) == 1 else LEVELS
    return (_book_row(market, depth) for market in _known(markets, codes))


def _book_row(market: SimMarket, depth: int) -> str:
    total_ask, total_bid, units = levels_text(market.view, depth, UNIT)
    return (
        f'{{"market":"{market.code}","timestamp":{market.view.us // 1000},"total_ask_size":{total_ask},'
        f'"total_bid_size":{total_bid},"orderbook_units":[{units}]}}'
    )


def _ticks(markets: Markets, query: Mapping[str, str], asked: Asked) -> Iterator[str]:
    (market,) = _known(markets, [_required(query, "market")])
    count, rules = _number(query, "count", 1, MAX_TICKS), asked.rules
    midnight, before = _before(query, asked.now_ms)
    if before is None:
        before = asked.now_ms + 1
    least = {"crosses": 0, "ends": _midnight(before - 1), "strict": midnight}[rules.midnight]
    trades = market.listed(least, min(before, asked.shown_ms + 1))
    if "cursor" in query:
        trades = trades[: _place(trades, _integer(query, "cursor"), rules)]
    return (_tick_row(made, rules.rest_ids) for made in reversed(trades[-count:]))


def _place(trades: list[SimTrade], cursor: int, rules: Rules) -> int:
    """Return how many of `trades` a page before `cursor` may show."""
    if rules.cursor == "refused":
        raise Rejected(400, "Invalid parameter 'cursor'.", status=400)
    if rules.cursor == "ignored" or rules.rest_ids == "none":
        return len(trades)
    find = bisect_right if rules.cursor == "inclusive" else bisect_left
    return find(trades, cursor, key=lambda made: _rest_id(made, rules.rest_ids))


def _rest_id(made: SimTrade, ids: str) -> int:
    match ids:
        case "stream":
            return made.id
        case "shared":
            return made.ms * 10_000
        case _:
            return made.rest_id


def _tick_row(made: SimTrade, ids: str) -> str:
    date, time = utc(made.ms)
    closing, _, _, change, _, _ = comparison(made.price, made.prev_close)
    number = "" if ids == "none" else f',"sequential_id":{_rest_id(made, ids)}'
    return (
        f'{{"market":"{made.market}","trade_date_utc":"{date}","trade_time_utc":"{time}",'
        f'"timestamp":{made.ms},"trade_price":{text(made.price)},"trade_volume":{text(made.volume)},'
        f'"prev_closing_price":{closing},"change_price":{change},'
        f'"ask_bid":"{"BID" if made.buy else "ASK"}"{number}}}'
    )


def _midnight(ms: int) -> int:
    """Return the start of the Korean day of `ms`."""
    return day_start_ms(ms)


def _before(query: Mapping[str, str], now_ms: int) -> tuple[int, int | None]:
    """Return the start of the day that is asked for, and the millisecond the trades must be older than.

    `to` is a Korean time of day, without a date.
    """
    if "to" not in query and "daysAgo" not in query:
        return _midnight(now_ms), None
    days = _number(query, "daysAgo", 1, MAX_DAYS_AGO) if "daysAgo" in query else 0
    clock = re.fullmatch(r"([01]\d|2[0-3]):?([0-5]\d):?([0-5]\d)", query.get("to", "00:00:00"))
    if clock is None:
        raise Rejected(400, "Invalid parameter 'to'.", status=400)
    midnight = _midnight(now_ms) - days * DAY_MS
    hours, minutes, seconds = map(int, clock.groups())
    return midnight, midnight + ((hours * 60 + minutes) * 60 + seconds) * 1000


def _minutes(markets: Markets, query: Mapping[str, str], asked: Asked) -> Iterator[str]:
    unit = int(query["unit"])
    if unit not in UNITS:
        raise Rejected(400, "Invalid unit.", status=400)
    (market,) = _known(markets, [_required(query, "market")])
    candles = _candles(market, unit * MINUTE_MS, query, asked)
    volume = _rounded if asked.rules.candle_volumes == "rounded" else text
    return (f'{_candle_fields(market.code, *each, volume)},"unit":{unit}}}' for each in candles)


def _days(markets: Markets, query: Mapping[str, str], asked: Asked) -> Iterator[str]:
    (market,) = _known(markets, [_required(query, "market")])
    previous = market.listing.price
    for open_ms, candle in _candles(market, DAY_MS, query, asked):
        change = candle.close - previous
        rate = round(abs(change) * ONE / previous) * (-1 if change < 0 else 1)
        yield (
            f'{_candle_fields(market.code, open_ms, candle)},"prev_closing_price":{text(previous)},'
            f'"change_price":{text(change)},"change_rate":{text(rate)}}}'
        )


def _rounded(volume: int) -> str:
    """Write a volume with four decimals."""
    return four_decimals((volume + SIZE_UNIT // 2) // SIZE_UNIT)


def _candles(
    market: SimMarket, length_ms: int, query: Mapping[str, str], asked: Asked
) -> list[tuple[int, SimCandle]]:
    """Merge minutes into candles aligned to Korean midnight, newest first; no trades, no candle."""
    before = _candle_end(query)
    merged: dict[int, SimCandle] = {}
    for open_ms, minute in market.minutes_as_of(asked.shown_ms).items():
        start = open_ms - (open_ms + KST_MS) % length_ms
        if before is None or start < before:
            merged[start] = _merged(merged.get(start), minute)
    return sorted(merged.items(), reverse=True)[: _number(query, "count", 1, MAX_CANDLES)]


def _merged(candle: SimCandle | None, later: SimCandle) -> SimCandle:
    if candle is None:
        return later
    return SimCandle(
        candle.open,
        max(candle.high, later.high),
        min(candle.low, later.low),
        later.close,
        candle.volume + later.volume,
        candle.value + later.value,
        later.last_ms,
    )


def _candle_fields(code: str, open_ms: int, candle: SimCandle, volume: Callable[[int], str] = text) -> str:
    return (
        f'{{"market":"{code}","candle_date_time_utc":"{"T".join(utc(open_ms))}",'
        f'"candle_date_time_kst":"{"T".join(kst(open_ms))}","opening_price":{text(candle.open)},'
        f'"high_price":{text(candle.high)},"low_price":{text(candle.low)},"trade_price":{text(candle.close)},'
        f'"timestamp":{candle.last_ms},"candle_acc_trade_price":{text(candle.value, 2 * PLACES)},'
        f'"candle_acc_trade_volume":{volume(candle.volume)}'
    )


def _candle_end(query: Mapping[str, str]) -> int | None:
    """Return `to` as epoch milliseconds: Korean wall time without an offset; one gives HTTP 400."""
    if "to" not in query:
        return None
    if not re.fullmatch(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d", query["to"]):
        raise Rejected(400, "Invalid parameter 'to'.", status=400)
    try:
        moment = datetime.fromisoformat(query["to"]).replace(tzinfo=KST)
    except ValueError:
        raise Rejected(400, "Invalid parameter 'to'.", status=400) from None
    return (moment - datetime.fromtimestamp(0, KST)) // timedelta(milliseconds=1)


def _required(query: Mapping[str, str], name: str) -> str:
    if not query.get(name):
        raise Rejected(400, "Missing request parameter error. Check the required parameters!")
    return query[name]


def _known(markets: Markets, codes: list[str]) -> list[SimMarket]:
    """Look the codes up, in any case; one bad code fails the whole call."""
    try:
        return [markets[code.upper()] for code in codes]
    except KeyError:
        raise Rejected(404, "Code not found") from None


def _integer(query: Mapping[str, str], name: str) -> int:
    value = query[name]
    if not re.fullmatch(r"\d{1,20}", value):
        raise Rejected(400, f"Invalid parameter '{name}'.", status=400)
    return int(value)


def _number(query: Mapping[str, str], name: str, least: int, most: int) -> int:
    value = _integer(query, name) if name in query else least
    if not least <= value <= most:
        raise Rejected(400, f"Parameter '{name}' must be between {least} and {most}.", status=400)
    return value


_Call = Callable[[Markets, Mapping[str, str], Asked], Iterator[str]]
_ROUTES: tuple[tuple[re.Pattern[str], _Call], ...] = (
    (re.compile(LIST), _market_all),
    (re.compile("/v1/ticker"), _ticker),
    (re.compile("/v1/orderbook"), _orderbook),
    (re.compile("/v1/trades/ticks"), _ticks),
    (re.compile(r"/v1/candles/minutes/(?P<unit>\d{1,3})"), _minutes),
    (re.compile("/v1/candles/days"), _days),
)
