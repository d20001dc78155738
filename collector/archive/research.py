"""The macros of `collector query` for research: one row a market asks for, or a series. Text alone. Pure.

Formulas and sources: `docs/research.md`. Signs are those of the takers: 1 buys, -1 sells.
"""
# ruff: noqa: S608 - names and numbers of ours

#: The market that a macro is asked for: a code, or the base currency of one in won.
WANTED = "market = CASE WHEN contains(wanted, '-') THEN upper(wanted) ELSE 'KRW-' || upper(wanted) END"
_SIGN = "CASE side WHEN 'buy' THEN 1 ELSE -1 END"
_DOUBLE = "CAST({} AS DOUBLE)".format

#: Closes and signed volume by interval, each with the return and the change since the one before.
_INTERVALS = f"""
    SELECT *, close / lag(close) OVER (ORDER BY time) - 1 AS return,
        close - lag(close) OVER (ORDER BY time) AS change
    FROM (
        SELECT bucket(time, every) AS time, {_DOUBLE("arg_max(close, open_ms)")} AS close,
            {_DOUBLE("sum(quote_volume)")} AS turnover,
            {_DOUBLE("sum(buy_volume) - sum(sell_volume)")} AS flow
        FROM candles WHERE {WANTED} AND open IS NOT NULL GROUP BY 1
    )"""

_KYLE = f"""
    SELECT count(*) AS intervals, regr_slope(change, flow) AS lambda,
        regr_intercept(change, flow) AS intercept, regr_r2(change, flow) AS r2
    FROM ({_INTERVALS}) WHERE change IS NOT NULL AND flow IS NOT NULL"""

_AMIHUD = f"""
    SELECT count(*) AS intervals, avg(abs(return) / turnover) AS illiquidity
    FROM ({_INTERVALS}) WHERE return IS NOT NULL AND turnover > 0"""

_AUTOCORRELATION = f"""
    WITH signs AS (
        SELECT row_number() OVER (ORDER BY exchange_ms, exchange_order, id) AS place, {_SIGN} AS sign
        FROM trades WHERE {WANTED}
    ),
    centred AS MATERIALIZED (SELECT place, sign - avg(sign) OVER () AS sign FROM signs),
    steps AS (SELECT unnest(range(1, lags + 1)) AS lag)
    SELECT steps.lag, sum(now.sign * later.sign) / (SELECT sum(sign * sign) FROM centred) AS autocorrelation,
        count(*) AS pairs
    FROM steps, centred AS now JOIN centred AS later ON later.place = now.place + steps.lag
    GROUP BY 1 ORDER BY 1"""

#: Each trade with the mid before it and the last one within the horizon after it.
_QUOTED = f"""
    SELECT t.*, before.mid AS mid, later.mid AS later_mid
    FROM (
        SELECT exchange_ms, {_SIGN} AS sign, {_DOUBLE("price")} AS price, {_DOUBLE("volume")} AS volume
        FROM trades WHERE {WANTED}
    ) AS t
    ASOF JOIN (SELECT exchange_ms, {_DOUBLE("mid")} AS mid FROM books WHERE {WANTED} AND mid IS NOT NULL)
        AS before ON t.exchange_ms >= before.exchange_ms
    ASOF JOIN (SELECT exchange_ms, {_DOUBLE("mid")} AS mid FROM books WHERE {WANTED} AND mid IS NOT NULL)
        AS later ON t.exchange_ms + horizon_s * 1000 >= later.exchange_ms
    WHERE t.exchange_ms + horizon_s * 1000 <= (SELECT max(exchange_ms) FROM books WHERE {WANTED})"""

_SPREADS = f"""
    SELECT count(*) AS trades,
        10000 * sum(2 * sign * (price - mid) / mid * volume) / sum(volume) AS effective_bps,
        10000 * sum(2 * sign * (price - later_mid) / mid * volume) / sum(volume) AS realised_bps,
        10000 * sum(2 * sign * (later_mid - mid) / mid * volume) / sum(volume) AS impact_bps
    FROM ({_QUOTED})"""

_IMBALANCE = f"""
    SELECT time, exchange_ms, {_DOUBLE("mid")} AS mid,
        (bid_size - ask_size) / (bid_size + ask_size) AS imbalance
    FROM (
        SELECT time, exchange_ms, mid,
            {_DOUBLE("list_sum(list_transform(bids[1:levels], lambda l: l.size))")} AS bid_size,
            {_DOUBLE("list_sum(list_transform(asks[1:levels], lambda l: l.size))")} AS ask_size
        FROM books WHERE {WANTED}
    ) WHERE bid_size + ask_size > 0 ORDER BY exchange_ms"""

_SEASONALITY = f"""
    WITH minutes AS (
        SELECT time, {_DOUBLE("quote_volume")} AS turnover, trade_count,
            ln({_DOUBLE("close")} / {_DOUBLE("open")}) AS return
        FROM candles WHERE {WANTED} AND open IS NOT NULL
    )
    SELECT hour(time AT TIME ZONE zone) AS hour, count(DISTINCT CAST(time AT TIME ZONE zone AS DATE)) AS days,
        sum(turnover) / (SELECT sum(turnover) FROM minutes) AS turnover_share,
        sqrt(avg(return * return)) AS minute_volatility, avg(trade_count) AS trades_per_minute
    FROM minutes GROUP BY 1 ORDER BY 1"""


def macros() -> tuple[str, ...]:
    """Return the statements that make the macros; `bucket` has to be there."""
    return (
        f"CREATE MACRO kyle_lambda(wanted, every := '5m') AS TABLE {_KYLE}",
        f"CREATE MACRO amihud(wanted, every := '1d') AS TABLE {_AMIHUD}",
        f"CREATE MACRO sign_autocorrelation(wanted, lags := 20) AS TABLE {_AUTOCORRELATION}",
        f"CREATE MACRO spreads(wanted, horizon_s := 300) AS TABLE {_SPREADS}",
        f"CREATE MACRO imbalance_series(wanted, levels := 5) AS TABLE {_IMBALANCE}",
        f"CREATE MACRO seasonality(wanted, zone := 'Asia/Seoul') AS TABLE {_SEASONALITY}",
    )
