"""Analyses of several or of all markets."""

from decimal import Decimal
from itertools import combinations

from collector.analyses import results
from collector.analyses.fields import DEFAULT_WINDOW, LONG_WINDOW, Limit, Markets, Times, Window, Windows
from collector.analyses.registry import Answer, analysis
from collector.analyses.scope import ALL_MARKETS, Span, candles_of, open_reader, span_of
from collector.analytics import profile, rankings, risk
from collector.analytics.candles import Minute
from collector.errors import ConfigurationError, NoData
from collector.market_names import tidy_list
from collector.store.read import Reader

#: Pairs correlated at once, some seconds of work.
PAIR_MINUTES_MAX = 400_000


@analysis(explained_by=risk.correlation, answers=results.Correlations)
def correlation(market: Markets, window: Window = LONG_WINDOW, *, limit: Limit = 20) -> Answer:
    """Correlation of the markets' minute returns, strongest first; of one market with every other."""
    reader = open_reader()
    span = span_of(reader, window)
    asked = reader.several(market)
    pairs = list(combinations(asked, 2))
    if len(asked) == 1:
        pairs = [(asked[0], other) for other in reader.markets() if other != asked[0]]
    if len(pairs) * span.length > PAIR_MINUTES_MAX:
        raise ConfigurationError(
            f"{len(pairs)} pairs x {span.length} minutes is too much at once: name fewer or a shorter window"
        )
    names = dict.fromkeys([*asked, *(name for pair in pairs for name in pair)])
    prices = {
        name: profile.closes(minutes, span.opens, _price_before(reader, name, span, minutes))
        for name, minutes in candles_of(reader, names, span, span.length).items()
    }
    strength = {
        row: abs(row.correlation) for row in risk.correlation(prices, pairs) if row.correlation is not None
    }
    strongest = sorted(strength, key=strength.__getitem__, reverse=True)
    return span.answer(tidy_list(market), pair_count=len(strongest), correlations=strongest[:limit])


def _price_before(reader: Reader, market: str, span: Span, minutes: dict[int, Minute]) -> Decimal | None:
    """Return the price as the window began, if a first minute without trades makes it matter."""
    return None if span.start_ms in minutes else reader.price_before(market, span.start_ms)


@analysis(explained_by=rankings.top_movers, answers=results.TopMovers)
def top_movers(
    market: Markets = ALL_MARKETS, window: Window = DEFAULT_WINDOW, *, limit: Limit = 10
) -> Answer:
    """The markets that rose and fell most over the window."""
    reader = open_reader()
    span = span_of(reader, window)
    ends = {
        name: (reader.price_before(name, span.start_ms), reader.price_before(name, span.as_of_ms + 1))
        for name in reader.several(market)
    }
    return span.answer(tidy_list(market), rankings.top_movers(ends, window, limit))


@analysis(explained_by=rankings.volume_spikes, answers=results.VolumeSpikes)
def volume_spikes(
    market: Markets = ALL_MARKETS,
    window: Window = DEFAULT_WINDOW,
    *,
    windows: Windows = 12,
    times: Times = Decimal(3),
    limit: Limit = 10,
) -> Answer:
    """The markets that trade far more than in the windows before."""
    reader = open_reader()
    span = span_of(reader, window)
    candles = candles_of(reader, reader.several(market), span, span.length * (windows + 1))
    first_ms = min((open_ms for minutes in candles.values() for open_ms in minutes), default=span.as_of_ms)
    whole = rankings.whole_windows(first_ms, span.as_of_ms, span.length, windows)
    if not whole:
        raise NoData(f"the data does not reach back to a whole {window} before the last one")
    figures = rankings.volume_spikes(candles, span.as_of_ms, span.length, whole, times)
    spikes = figures.spikes[:limit]
    return span.answer(tidy_list(market), figures, spike_count=len(figures.spikes), spikes=spikes)
