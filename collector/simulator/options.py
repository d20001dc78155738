"""What can be chosen about a simulated exchange."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorOptions:
    """Choices for `Simulator`; the defaults behave as the exchange was observed to.

    Market: `markets` invented markets make `rate` trades a second in total, with `books_per_trade` and
    `tickers_per_trade` beside them. After exactly `stop_trading_after` trades all goes quiet but stays
    connected. `truth` names a file that gets one JSON line per trade, as it is made.

    Instead of the market a `recording` can be played: `speed` 1 is real time, 2 twice as fast, 0 as fast as
    the readers take it; it starts once `recording_sockets` sockets have subscribed.

    `faults` is the text form of `collector.simulator.faults`: what goes wrong, and when; `rules` that of
    `collector.simulator.rules`: how the exchange behaves where that is not known.
    """

    host: str = "127.0.0.1"
    port: int = 0

    markets: int = 20
    rate: float = 50
    seed: int = 1
    books_per_trade: float = 6
    tickers_per_trade: float = 0.5
    repeated_books: float = 0.45
    stop_trading_after: int | None = None
    trades_kept_per_market: int = 100_000
    truth: Path | None = None

    recording: Path | None = None
    speed: float = 1
    loop: bool = False
    recording_sockets: int = 1

    faults: str = ""
    rules: str = ""

    tick_s: float = 0.02
    snapshot_delay_s: float = 0.15
    idle_timeout_s: float = 60
    up_first_s: float = 3
    up_interval_s: float = 10
    connects_per_s: int = 10
    block_after_refusals: int = 50
    block_s: float = 600
    rest_requests_per_s: int = 150
    client_buffer_bytes: int = 64 << 20
    compression: bool = False
    binary: bool = True
