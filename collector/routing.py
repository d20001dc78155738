"""Names of tasks and queues, and which task goes where. No imports: listeners and tools may read it too."""

INGEST_TRADES = "tasks.ingest.trades"
INGEST_ORDERBOOKS = "tasks.ingest.orderbooks"
INGEST_TICKERS = "tasks.ingest.tickers"
INGEST_GAPS = "tasks.ingest.gaps"

ARCHIVE_RUN = "tasks.archive.run"
ARCHIVE_SWEEP = "tasks.archive.sweep"

PERIODIC_RUN = "tasks.periodic.run"
PERIODIC_SAMPLE = "tasks.periodic.sample_books"

ALERT_DELIVER = "tasks.alerts.deliver"

#: Every analysis task's name starts with this.
ANALYSES = "tasks.analysis."

TRADE = "trade"
ORDERBOOK = "orderbook"
TICKER = "ticker"
ANALYSIS = "analysis"
ARCHIVE = "archive"
ALERT = "alert"

#: One queue per channel, so that a flood of books never delays a trade. Gaps travel with the trades.
QUEUES = (TRADE, ORDERBOOK, TICKER, ANALYSIS, ARCHIVE, ALERT)

ROUTES: dict[str, dict[str, str]] = {
    INGEST_TRADES: {"queue": TRADE},
    INGEST_GAPS: {"queue": TRADE},
    INGEST_ORDERBOOKS: {"queue": ORDERBOOK},
    INGEST_TICKERS: {"queue": TICKER},
    f"{ANALYSES}*": {"queue": ANALYSIS},
    "tasks.periodic.*": {"queue": ANALYSIS},
    "tasks.archive.*": {"queue": ARCHIVE},
    "tasks.alerts.*": {"queue": ALERT},
}


def trade_queues(count: int) -> tuple[str, ...]:
    """Return the queues trades may come through: `trade`, and `trade.0 …` where there are several."""
    return (TRADE, *(f"{TRADE}.{number}" for number in range(count if count > 1 else 0)))


def all_queues(count: int) -> tuple[str, ...]:
    """Return every queue a worker should listen to."""
    return (*trade_queues(count), ORDERBOOK, TICKER, ANALYSIS, ARCHIVE, ALERT)
