"""How far what is stored is proven: read in bulk, decided in `collector.analytics.proof`."""

from collections import Counter
from collections.abc import Iterator, Sequence

from collector.analytics.completeness import is_open, outage_of, watch_of
from collector.analytics.proof import Completeness, Proof, completeness, opens_between, proof
from collector.model import Channel, Gap
from collector.store.history import History

#: Markets whose minutes of a day are held at once.
AT_ONCE = 50


class Proofs:
    """Reads proofs.

    Every method raises:
        BrokerUnavailable: Redis does not answer.
    """

    def __init__(self, history: History) -> None:
        self._history = history

    def of_markets(self, markets: Sequence[str], as_of_ms: int) -> Iterator[Completeness]:
        """Yield how far each of `markets` is proven, in their order.

        Args:
            markets: codes.
            as_of_ms: time of the newest data.
        """
        recovered = self._history.recovered_trades()
        for start in range(0, len(markets), AT_ONCE):
            yield from self._of_few(markets[start : start + AT_ONCE], as_of_ms, recovered)

    def summary(self, markets: Sequence[str]) -> Proof:
        """Return how far all that is collected is proven; `markets` are all that were ever seen."""
        history = self._history
        return proof(
            history.watches(),
            history.proven_until(),
            history.trade_gap_counts(markets),
            history.recovered_trades().values(),
        )

    def outages(self, markets: Sequence[str], as_of_ms: int | None) -> list[Gap]:
        """Return the outage of each market that lasts, as the gap it would be if it ended now."""
        watches = self._history.watches()
        return [
            Gap(
                market,
                Channel.TRADE,
                loss.from_ms,
                max(loss.from_ms, loss.seen_ms, as_of_ms or 0),
                loss.reason,
            )
            for market in markets
            if (loss := outage_of(watch_of(market, watches)))
        ]

    def _of_few(
        self, markets: Sequence[str], as_of_ms: int, recovered: dict[str, int]
    ) -> Iterator[Completeness]:
        history = self._history
        opens = history.opens(markets)
        known, gaps = history.known(opens), history.gaps(markets)
        outages = Counter(gap.market for gap in self.outages(markets, as_of_ms))
        spans = {market: opens_between(known[market], as_of_ms) for market in markets}
        minutes = history.minutes(
            {market: {*opens[market]}.intersection(spans[market]) for market in markets}
        )
        verdicts = history.verdicts(spans)
        for market in markets:
            yield completeness(
                market,
                minutes[market],
                verdicts[market].of,
                known[market],
                open_gaps=sum(map(is_open, gaps[market])) + outages[market],
                recovered_trades=recovered.get(market, 0),
                opens=spans[market],
            )
