"""Chunks of a minute: what is read of them is what the commits had."""

from hypothesis import given, settings
from hypothesis import strategies as st

from collector.analytics.dedup import Row
from collector.analytics.minutes import absorb
from collector.model import Trade
from collector.store import minute_layout
from tests.samples.rows import T0, batches, copies, trade


@given(st.data(), copies())
@settings(max_examples=150, deadline=None)
def test_the_rows_of_chunks_are_those_of_the_commits(data: st.DataObject, shown: list[Trade]) -> None:
    """Numbers, digits, sources and their order, of every millisecond; as one chunk they are the same."""
    key = shown[0].market, shown[0].minute_ms
    minute, rows, chunks = None, dict[int, list[Row]](), list[bytes]()
    for batch in batches(shown, data.draw):
        absorbed = absorb(minute, rows, [each for each in batch if (each.market, each.minute_ms) == key])
        minute = absorbed.minute
        if minute and absorbed.copies:
            chunks.append(minute_layout.write_chunk(key[1], minute.last.ms, absorbed.copies))
    rows = {ms: found for ms, found in rows.items() if found}
    assert minute_layout.read_chunks(key[1], chunks) == rows
    assert minute
    assert minute_layout.read_chunks(key[1], [minute_layout.write_all(key[1], minute.last.ms, rows)]) == rows
    heads = [chunk[:2] for chunk in chunks]
    assert heads == sorted(heads), "a reader stops at the first chunk that is older"


def test_a_candle_is_the_same_in_both_layouts() -> None:
    """To the last digit, whatever its numbers."""
    minute = absorb(None, {}, [trade(1, "728107452.06423197609921044", "1.4E-7")]).minute
    assert minute
    version = minute_layout.VERSION_MARK + b"1234567"
    stored = minute_layout.write_candle(version, minute)
    assert minute_layout.read_candle(stored) == minute
    assert (minute_layout.version_of(stored), minute_layout.is_old(stored)) == (version, False)
    assert T0 in {minute.first.ms}
