"""Everything workers count, under the names an operator looks up in `collector show health`."""

from enum import StrEnum


class Counter(StrEnum):
    """Names in the `counters` hash. Trades are counted in the commit itself, so that number is exact."""

    BATCHES = "batches"
    BATCHES_INVALID = "batches_invalid"
    BATCHES_DEAD = "batches_dead"
    TRADES_COUNTED = "trades_counted"
    TRADES_DUPLICATE = "trades_duplicate"
    TRADES_RECOVERED = "trades_recovered"
    TRADES_TOO_LATE = "trades_too_late"
    BOOKS_STORED = "books_stored"
    BOOKS_MERGED = "books_merged"
    BOOKS_STALE = "books_stale"
    TICKERS_STORED = "tickers_stored"
    TICKERS_MERGED = "tickers_merged"
    TICKERS_STALE = "tickers_stale"
    BOOKS_EXPIRED = "books_expired"
    TICKERS_EXPIRED = "tickers_expired"
    TASKS_EXPIRED = "tasks_expired"
    GAPS_STORED = "gaps_stored"
    GAPS_FOUND = "gaps_found"
    DEAD_LETTERS_DROPPED = "dead_letters_dropped"
    ALERTS_FIRED = "alerts_fired"
    ALERTS_DELIVERED = "alerts_delivered"
    ALERTS_RETRIED = "alerts_retried"
    ALERTS_DEAD = "alerts_dead"


MEANING: dict[Counter, str] = {
    Counter.BATCHES: "batches stored, redelivered ones included",
    Counter.BATCHES_INVALID: "batches that broke the contract, now dead letters",
    Counter.BATCHES_DEAD: "batches that became dead letters for any reason",
    Counter.TRADES_COUNTED: "trades added to a candle: each execution once",
    Counter.TRADES_DUPLICATE: "copies of trades that were known already",
    Counter.TRADES_RECOVERED: "trades counted that a backfill brought and no socket had brought before",
    Counter.TRADES_TOO_LATE: "trades of a minute whose ids are forgotten: not counted, recorded as a gap",
    Counter.BOOKS_STORED: "order books that replaced the one before",
    Counter.BOOKS_MERGED: "order books replaced by a newer one of their own batch",
    Counter.BOOKS_STALE: "order books older than the stored one",
    Counter.TICKERS_STORED: "tickers that replaced the one before",
    Counter.TICKERS_MERGED: "tickers replaced by a newer one of their own batch",
    Counter.TICKERS_STALE: "tickers older than the stored one",
    Counter.BOOKS_EXPIRED: "order books dropped because they had waited longer than `STATE_EXPIRES_S`",
    Counter.TICKERS_EXPIRED: "tickers dropped because they had waited longer than `STATE_EXPIRES_S`",
    Counter.TASKS_EXPIRED: "analyses and periodic jobs dropped because they had waited too long",
    Counter.GAPS_STORED: "gaps opened, extended or recovered",
    Counter.GAPS_FOUND: "gaps that workers opened: what was in batches that became dead letters",
    Counter.DEAD_LETTERS_DROPPED: "dead letters pushed out by newer ones",
    Counter.ALERTS_FIRED: "alerts that fired",
    Counter.ALERTS_DELIVERED: "alerts that a channel accepted",
    Counter.ALERTS_RETRIED: "deliveries of alerts that failed and are tried again",
    Counter.ALERTS_DEAD: "deliveries of alerts that were given up; `collector alert log` shows them",
}
