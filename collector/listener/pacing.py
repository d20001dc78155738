"""Rate limits of the analysis tasks: lowered under pressure, restored afterwards.

Used by the publisher's thread alone.
"""

from collector.analyses.catalog import names
from collector.clock import Clock
from collector.publish.publisher import Transport
from collector.routing import ANALYSES

#: Rate limits are broadcast again so often: lowered ones always, restored ones for so long. A worker that is
#: away gets no broadcast, and Celery rests up to 32 s between two tries to reach Redis.
_AGAIN_S = 10.0
_RESTORED_S = 60.0
#: Celery has no zero, and a task in a worker's hands waits by the limit it was taken under, whatever is set
#: later: much slower than this, and a short pause would hold up an analysis worker for long.
PAUSED = "12/m"


class AnalysisPacing:
    """Broadcasts the rate limits that fit the pressure.

    Args:
        full: the limit without pressure, in Celery's form: `50/s`.
    """

    def __init__(self, transport: Transport, full: str, clock: Clock) -> None:
        self._transport = transport
        self._full = full
        self._clock = clock
        self._factor: float | None = None  # unknown: a listener that died may have lowered it
        self._sent_s = self._changed_s = 0.0

    def apply(self, factor: float) -> None:
        """Set the limits to `factor` times the full one, and again for workers that come later.

        Raises:
            BrokerUnavailable: Redis refuses or does not answer in time.
        """
        now_s = self._clock.monotonic()
        is_new = factor != self._factor
        is_settled = factor == 1 and now_s - self._changed_s > _RESTORED_S
        if not is_new and (is_settled or now_s - self._sent_s < _AGAIN_S):
            return
        self._transport.limit_rates(analysis_limits(self._full, factor))
        self._factor, self._sent_s = factor, now_s
        if is_new:
            self._changed_s = now_s


def analysis_limits(full: str, factor: float) -> dict[str, str]:
    """Return the rate limit of each analysis task at `factor` (0 to 1) times the full one.

    No factor makes an analysis faster than `full`, and a smaller one never makes it faster than a larger one:
    below `PAUSED` no rate is lowered.
    """
    number, unit = full.split("/")
    lowered = f"{float(number) * factor:.12g}/{unit}"
    limit = max(lowered, min(PAUSED, full, key=_per_hour), key=_per_hour)
    return {f"{ANALYSES}{name}": limit for name in names()}


def _per_hour(limit: str) -> float:
    """Return how many tasks an hour a rate limit of Celery's allows."""
    number, unit = limit.split("/")
    return float(number) * {"s": 3600, "m": 60, "h": 1}[unit]
