"""What each analysis answers, as pydantic models: workers check answers, `tasks.ask.result` returns one.

Over the wire an answer is the same in plain JSON, decimals as text. A figure that has no value (a share of
nothing, a price of nobody) is null.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, TypeVar

import msgspec
from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from collector.analytics import bookstats, change, profile, rankings, risk, trade_clustering
from collector.model import Side

S = TypeVar("S", bound=msgspec.Struct)


class _AsStruct:
    """Has pydantic check a row with the struct of the analytics that it was computed as."""

    def __get_pydantic_core_schema__(
        self, source: type[msgspec.Struct], _: GetCoreSchemaHandler
    ) -> CoreSchema:
        def check(value: object) -> msgspec.Struct:
            if isinstance(value, Mapping) and (strange := value.keys() - set(source.__struct_fields__)):
                raise ValueError(f"{source.__name__} has no field {', '.join(sorted(strange))}")
            try:
                return msgspec.convert(value, source)
            except msgspec.ValidationError as error:
                raise ValueError(str(error)) from error

        written = core_schema.plain_serializer_function_ser_schema(msgspec.structs.asdict)
        return core_schema.no_info_plain_validator_function(check, serialization=written)


#: A row of a list: the struct itself, checked.
Row = Annotated[S, _AsStruct()]


class Result(BaseModel):
    """A checked answer; a field that is not in it is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class WindowResult(Result):
    """Of the window `from_ms … to_ms`; times are epoch milliseconds, UTC."""

    market: str
    window: str
    from_ms: int
    to_ms: int


class TradesResult(WindowResult):
    """Of one market's trades.

    `complete` is false where some may be missing; `since_ms` is where our data begin, if the window begins
    before them.
    """

    since_ms: int | None
    complete: bool


class MarketsResult(WindowResult):
    """Of several markets: `incomplete_count` of them are not `complete`, as in `TradesResult`.

    `since_ms` is where the data of all begin, if the window begins before them.
    """

    since_ms: int | None
    complete: bool
    incomplete_count: int


class BookResult(Result):
    """Of the newest book."""

    market: str
    exchange_ms: int


class Vwap(TradesResult):
    """A share of nothing is no price."""

    vwap: Decimal | None
    base_volume: Decimal
    quote_volume: Decimal
    trade_count: int


class Twap(TradesResult):
    """None before the first known price."""

    twap: Decimal | None


class Imbalance(TradesResult):
    """From -1 (all sell) to 1 (all buy)."""

    imbalance: Decimal | None
    buy_volume: Decimal
    sell_volume: Decimal


class LargeTrade(Result):
    """A trade with its value in the quote currency; no score where the MAD is 0."""

    id: int
    price: Decimal
    volume: Decimal
    side: Side
    exchange_ms: int
    value: Decimal
    z_score: Decimal | None


class LargeTrades(TradesResult):
    """Those that stand out, and how many were looked at."""

    trade_count: int
    trades: list[LargeTrade]


class Volume(TradesResult):
    """Volumes in the base currency, `quote_volume` in the quote currency."""

    base_volume: Decimal
    quote_volume: Decimal
    buy_volume: Decimal
    sell_volume: Decimal
    vwap: Decimal | None
    trade_count: int


class Changes(TradesResult):
    """A signed ratio, and the prices it is of."""

    change_rate: Decimal | None
    from_price: Decimal | None
    to_price: Decimal | None
    high: Decimal
    low: Decimal


class Bursts(TradesResult):
    """In the order of time."""

    trade_count: int
    bursts: list[Row[trade_clustering.Burst]]


class Sweeps(TradesResult):
    """In the order of time."""

    trade_count: int
    sweeps: list[Row[trade_clustering.Sweep]]


class Runs(TradesResult):
    """The test of Wald and Wolfowitz, and the longest runs."""

    trade_count: int
    buy_count: int
    sell_count: int
    run_count: int
    expected_run_count: Decimal | None
    z_score: Decimal | None
    runs: list[Row[trade_clustering.Run]]


class Vpin(TradesResult):
    """From 0 (every bucket balanced) to 1 (every bucket one-sided)."""

    vpin: Decimal | None
    buckets: int
    bucket_volume: Decimal | None
    trade_count: int


class VolumeProfile(TradesResult):
    """Rows from the lowest price up."""

    step: Decimal
    point_of_control_from: Decimal
    point_of_control_to: Decimal
    value_area_from: Decimal
    value_area_to: Decimal
    value_area_share: Decimal | None
    base_volume: Decimal
    rows: list[Row[profile.ProfileRow]]


class RealisedVolatility(TradesResult):
    """Of the whole window, and by the year."""

    realised_variance: Decimal | None
    realised_volatility: Decimal | None
    annualised_volatility: Decimal | None
    return_count: int


class Correlations(MarketsResult):
    """The strongest of `pair_count` pairs."""

    pair_count: int
    correlations: list[Row[risk.Correlation]]


class TopMovers(MarketsResult):
    """The strongest first; who did not move is in neither list."""

    market_count: int
    rising_count: int
    falling_count: int
    risers: list[Row[change.Change]]
    fallers: list[Row[change.Change]]


class VolumeSpikes(MarketsResult):
    """The strongest first; `windows` is how many windows are usual."""

    market_count: int
    windows: int
    spike_count: int
    spikes: list[Row[rankings.Spike]]


class DepthCurve(BookResult):
    """Both sides, best level first."""

    mid: Decimal | None
    bids: list[Row[bookstats.DepthPoint]]
    asks: list[Row[bookstats.DepthPoint]]


class Slippage(BookResult):
    """An order to buy and one to sell."""

    size: Decimal
    mid: Decimal | None
    orders: list[Row[bookstats.Fill]]


class BookImbalance(BookResult):
    """Of all the levels asked for, and of the best 1, 2 … of them."""

    levels: int
    imbalance: Decimal | None
    bid_depth: Decimal
    ask_depth: Decimal
    by_levels: list[Row[bookstats.LevelImbalance]]


class Walls(BookResult):
    """Nearest to the mid first."""

    walls: list[Row[bookstats.Wall]]


class Spread(WindowResult):
    """Of the sampled books that have both sides; distances in the quote currency and in basis points."""

    book_count: int
    min_spread: Decimal | None
    median_spread: Decimal | None
    max_spread: Decimal | None
    mean_spread: Decimal | None
    mean_spread_bps: Decimal | None
    time_weighted_spread_bps: Decimal | None
    newest_spread: Decimal | None


class BookChanges(WindowResult):
    """Of the sampled books, each against the one it replaced."""

    book_count: int
    changed_count: int
    added: int
    removed: int
    resized: int
    mean_changed_levels: Decimal | None
    best_moved_count: int
    best_moved_share: Decimal | None
