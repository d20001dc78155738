"""Analyses of several or of all markets."""

from decimal import Decimal
from itertools import combinations

from collector.analyses import results
from collector.analyses.fields import DEFAULT_WINDOW, LONG_WINDOW, Limit, Markets, Times, Window, Windows
from collector.analyses.inputs import ALL_MARKETS, candles_of, markets_answer, open_reader, opens_of, span_of
from collector.analyses.registry import Answer, analysis
from collector.analytics import profile, rankings, risk
from collector.analytics.windows import window_start_ms
from collector.errors import ConfigurationError, NoData
from collector.market_names import tidy_list

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
    opens = opens_of(reader, names, span.length)
    candles = candles_of(reader, opens, span, span.length)
    ends = reader.ends_before(opens, span.start_ms)
    prices = {
        name: profile.closes(minutes, span.opens, end.price if (end := ends[name]) else None)
        for name, minutes in candles.items()
    }
    strength = {
        row: abs(row.correlation) for row in risk.correlation(prices, pairs) if row.correlation is not None
    }
    strongest = sorted(strength, key=strength.__getitem__, reverse=True)
    return markets_answer(
        span,
        tidy_list(market),
        reader.known(opens),
        span.start_ms,
        pair_count=len(strongest),
        correlations=strongest[:limit],
    )


@analysis(explained_by=rankings.top_movers, answers=results.TopMovers)
def top_movers(
    market: Markets = ALL_MARKETS, window: Window = DEFAULT_WINDOW, *, limit: Limit = 10
) -> Answer:
    """The markets that rose and fell most over the window."""
    reader = open_reader()
    span = span_of(reader, window)
    names = reader.several(market)
    opens = reader.opens(names)
    starts = reader.ends_before(opens, span.start_ms)
    newest = reader.ends_before(opens, span.as_of_ms + 1)
    known = reader.known(opens)
    ends = {name: (starts[name], newest[name]) for name in names}
    figures = rankings.top_movers(ends, window, limit, span.start_ms, known)
    return markets_answer(span, tidy_list(market), known, span.start_ms, figures)


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
    opens = opens_of(reader, reader.several(market), span.length * (windows + 1))
    candles = candles_of(reader, opens, span, span.length * (windows + 1))
    first_ms = min((open_ms for minutes in candles.values() for open_ms in minutes), default=span.as_of_ms)
    whole = rankings.whole_windows(first_ms, span.as_of_ms, span.length, windows)
    if not whole:
        raise NoData(f"the data does not reach back to a whole {window} before the last one")
    figures = rankings.volume_spikes(candles, span.as_of_ms, span.length, whole, times)
    return markets_answer(
        span,
        tidy_list(market),
        reader.known(opens),
        window_start_ms(span.as_of_ms, span.length * (whole + 1)),
        figures,
        spike_count=len(figures.spikes),
        spikes=figures.spikes[:limit],
    )
