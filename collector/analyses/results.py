"""What each analysis answers, as pydantic models: workers check answers, `tasks.ask.result` returns one.

Over the wire an answer is the same in plain JSON, decimals as text. A figure that has no value (a share of
nothing, a price of nobody) is null.
"""

from decimal import Decimal

from pydantic import BaseModel, ConfigDict

from collector.model import Side


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


class Burst(Result):
    """Trades in quick succession."""

    from_ms: int
    to_ms: int
    trade_count: int
    relative_rate: Decimal | None
    buy_volume: Decimal
    sell_volume: Decimal
    quote_volume: Decimal
    from_price: Decimal
    to_price: Decimal


class Bursts(TradesResult):
    """In the order of time."""

    trade_count: int
    bursts: list[Burst]


class Sweep(Result):
    """One taker through several levels."""

    side: Side
    from_ms: int
    to_ms: int
    levels: int
    trade_count: int
    base_volume: Decimal
    quote_volume: Decimal
    from_price: Decimal
    to_price: Decimal
    cost_bps: Decimal | None


class Sweeps(TradesResult):
    """In the order of time."""

    trade_count: int
    sweeps: list[Sweep]


class Run(Result):
    """Trades of one side without one of the other between them."""

    side: Side
    from_ms: int
    to_ms: int
    trade_count: int
    base_volume: Decimal


class Runs(TradesResult):
    """The test of Wald and Wolfowitz, and the longest runs."""

    trade_count: int
    buy_count: int
    sell_count: int
    run_count: int
    expected_run_count: Decimal | None
    z_score: Decimal | None
    runs: list[Run]


class Vpin(TradesResult):
    """From 0 (every bucket balanced) to 1 (every bucket one-sided)."""

    vpin: Decimal | None
    buckets: int
    bucket_volume: Decimal | None
    trade_count: int


class ProfileRow(Result):
    """Prices from `from_price` up to, not including, `to_price`."""

    from_price: Decimal
    to_price: Decimal
    base_volume: Decimal
    buy_volume: Decimal
    sell_volume: Decimal
    value_area: bool


class VolumeProfile(TradesResult):
    """Rows from the lowest price up."""

    step: Decimal
    point_of_control_from: Decimal
    point_of_control_to: Decimal
    value_area_from: Decimal
    value_area_to: Decimal
    value_area_share: Decimal | None
    base_volume: Decimal
    rows: list[ProfileRow]


class RealisedVolatility(TradesResult):
    """Of the whole window, and by the year."""

    realised_variance: Decimal | None
    realised_volatility: Decimal | None
    annualised_volatility: Decimal | None
    return_count: int


class Pair(Result):
    """Two markets."""

    market: str
    other: str
    correlation: Decimal | None
    return_count: int


class Correlations(MarketsResult):
    """The strongest of `pair_count` pairs."""

    pair_count: int
    correlations: list[Pair]


class Mover(Result):
    """A market's change over the window; `since_ms` and `complete` as in `TradesResult`."""

    market: str
    window: str
    change_rate: Decimal | None
    from_price: Decimal | None
    to_price: Decimal | None
    since_ms: int | None
    complete: bool


class TopMovers(MarketsResult):
    """The strongest first; who did not move is in neither list."""

    market_count: int
    rising_count: int
    falling_count: int
    risers: list[Mover]
    fallers: list[Mover]


class Spike(Result):
    """A market's quote volume beside the usual one."""

    market: str
    relative_volume: Decimal
    quote_volume: Decimal
    usual_volume: Decimal
    trade_count: int


class VolumeSpikes(MarketsResult):
    """The strongest first; `windows` is how many windows are usual."""

    market_count: int
    windows: int
    spike_count: int
    spikes: list[Spike]


class DepthPoint(Result):
    """What could be traded up to `price`."""

    price: Decimal
    distance_bps: Decimal | None
    base_volume: Decimal
    quote_volume: Decimal


class DepthCurve(BookResult):
    """Both sides, best level first."""

    mid: Decimal | None
    bids: list[DepthPoint]
    asks: list[DepthPoint]


class Fill(Result):
    """What a market order would get."""

    side: Side
    filled: Decimal
    unfilled: Decimal
    quote_volume: Decimal
    levels: int
    average_price: Decimal | None
    worst_price: Decimal | None
    slippage: Decimal | None
    slippage_bps: Decimal | None


class Slippage(BookResult):
    """An order to buy and one to sell."""

    size: Decimal
    mid: Decimal | None
    orders: list[Fill]


class LevelImbalance(Result):
    """Of the best `levels` of both sides."""

    levels: int
    imbalance: Decimal | None
    bid_depth: Decimal
    ask_depth: Decimal


class BookImbalance(BookResult):
    """Of all the levels asked for, and of the best 1, 2 … of them."""

    levels: int
    imbalance: Decimal | None
    bid_depth: Decimal
    ask_depth: Decimal
    by_levels: list[LevelImbalance]


class Wall(Result):
    """A level far larger than usual; `side` is `bid` or `ask`."""

    side: str
    price: Decimal
    size: Decimal
    relative_size: Decimal
    distance_bps: Decimal | None


class Walls(BookResult):
    """Nearest to the mid first."""

    walls: list[Wall]


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
