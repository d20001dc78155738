"""One minute of one market: whatever the copies, their order and their batches, the candle is the same."""

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from collector.analytics.candles import Minute, view
from collector.analytics.dedup import Row
from collector.analytics.exact import EXACT
from collector.analytics.minutes import Absorbed, absorb
from collector.model import Side, Source, Trade
from tests.samples.plain import PlainCandle, candles
from tests.samples.rows import T0, batches, copies, trade

Stored = dict[tuple[str, int], tuple[Minute, dict[int, list[Row]]]]


def fed(rounds: list[list[Trade]]) -> Stored:
    """Absorb batches one after the other, as one worker would."""
    stored: Stored = {}
    for batch in rounds:
        for key in {(copy.market, copy.minute_ms) for copy in batch}:
            minute, rows = stored.get(key, (None, {}))
            rows = {ms: list(known) for ms, known in rows.items()}
            absorbed = absorb(minute, rows, [copy for copy in batch if (copy.market, copy.minute_ms) == key])
            assert absorbed.minute
            stored[key] = absorbed.minute, rows
    return stored


def as_plain(minute: Minute) -> PlainCandle:
    """Return a stored candle in the form of the plain computation."""
    numbers = (minute.first.price, minute.high, minute.low, minute.last.price)
    volumes = (EXACT.add(minute.buy_volume, minute.sell_volume), minute.quote_volume)
    sides = (minute.buy_volume, minute.sell_volume)
    return PlainCandle(*map(Fraction, (*numbers, *volumes, *sides)), trade_count=minute.trade_count)


@given(st.data(), copies())
@settings(max_examples=120, deadline=None)
def test_the_candle_depends_on_the_set_of_copies_alone(data: st.DataObject, shown: list[Trade]) -> None:
    """Any order, split and repetition of what two sources show gives the candle of the plain computation."""
    stored = fed(batches(shown, data.draw))
    assert candles(shown) == {key: as_plain(minute) for key, (minute, _) in stored.items()}


@given(copies())
@settings(max_examples=100, deadline=None)
def test_a_second_delivery_changes_nothing(shown: list[Trade]) -> None:
    """What was absorbed once is noticed, and nothing is written again."""
    for (market, minute_ms), (minute, rows) in fed([shown]).items():
        mine = [copy for copy in shown if (copy.market, copy.minute_ms) == (market, minute_ms)]
        again = absorb(minute, rows, mine)
        assert Absorbed(minute, [], [], len(mine)) == again


def test_the_other_numbering_of_a_known_trade_is_not_counted() -> None:
    """A backfilled trade under its REST number is a copy of the stream's."""
    minute = absorb(None, {}, [trade(5), trade(500, source=Source.REST)])
    assert (len(minute.counted), minute.duplicates) == (1, 1)


def test_the_same_number_written_differently_is_the_same() -> None:
    """0.10 and 0.1 are one volume."""
    minute = absorb(None, {}, [trade(5, volume="0.10"), trade(500, volume="0.1", source=Source.REST)])
    assert len(minute.counted) == 1


def test_equal_trades_of_one_source_are_different_trades() -> None:
    """Two executions of the same size in the same millisecond both count; REST's third one too."""
    rest = [trade(number, source=Source.REST) for number in (500, 501, 502)]
    minute = absorb(None, {}, [trade(5), trade(6), *rest])
    assert len(minute.counted) == 3


def test_26_digits_stay_exact() -> None:
    """Products and sums of long and tiny numbers lose nothing."""
    shown = [
        trade(1, "728107452.06423197609921044", "1.4E-7"),
        trade(2, "116208000", "728107452.06423197609921044", side=Side.SELL),
        trade(3, "1.4E-7", "1.4E-7"),
    ]
    absorbed = absorb(None, {}, shown)
    assert absorbed.minute
    exact = sum(Fraction(copy.price) * Fraction(copy.volume) for copy in shown)
    assert exact == Fraction(absorbed.minute.quote_volume)
    assert exact == Fraction(view("KRW-BTC", {T0: absorbed.minute})[0].quote_volume)
