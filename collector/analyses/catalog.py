"""Every analysis there is; to import this module registers all of them.

They are asked for by `collector analyze`, Flower, or `celery -A tasks call tasks.analysis.vwap`.

Each takes a market and mostly a window such as `15m`, and returns a dict of strings, integers and lists, so
that any client can read it. Windows end at the newest event (`collector.analytics.windows`). What can't be
answered is `NoData` or `ConfigurationError`, raised in this process and answered by a worker
(`collector.analyses.refusal`): its one-line message reaches the caller. `docs/analyses.md` lists them all:
`python -m tasks.analysis` prints it.
"""

from collector.analyses.books import (
    book_changes,
    book_imbalance,
    depth_curve,
    slippage,
    spread,
    walls,
)
from collector.analyses.markets import correlation, top_movers, volume_spikes
from collector.analyses.registry import ANALYSIS_BY_NAME, Answer, find, names, reference
from collector.analyses.trades import (
    bursts,
    changes,
    imbalance,
    large_trades,
    realised_volatility,
    runs,
    sweeps,
    twap,
    volume,
    volume_profile,
    vpin,
    vwap,
)

__all__ = [
    "ANALYSIS_BY_NAME",
    "Answer",
    "book_changes",
    "book_imbalance",
    "bursts",
    "changes",
    "correlation",
    "depth_curve",
    "find",
    "imbalance",
    "large_trades",
    "names",
    "realised_volatility",
    "reference",
    "runs",
    "slippage",
    "spread",
    "sweeps",
    "top_movers",
    "twap",
    "volume",
    "volume_profile",
    "volume_spikes",
    "vpin",
    "vwap",
    "walls",
]
