"""Which copies count, and which rows stand for the executions."""

from hypothesis import given, settings

from collector.analytics.identity import Row, admit, executions
from collector.model import Source, Trade
from tests.tasks.making import copies, trade
from tests.tasks.plain import candles


def test_the_first_copy_counts_and_its_repeat_is_known() -> None:
    """A repeat of a copy is None: nothing to write."""
    rows: list[Row] = []
    assert [admit(rows, trade(1)), admit(rows, trade(1))] == [True, None]


def test_the_same_id_from_the_other_source_is_noted_but_not_counted() -> None:
    """The row remembers both sources, so that later twins are told apart."""
    rows: list[Row] = []
    verdicts = [admit(rows, trade(1)), admit(rows, trade(1, source=Source.REST))]
    assert (verdicts, [row.seen for row in rows]) == ([True, False], [3])


def test_a_twin_that_only_rest_has_counts_whatever_came_first() -> None:
    """REST shows two, the stream one of them: two executions in either order."""
    stream, rest = trade(1), [trade(7, source=Source.REST), trade(8, source=Source.REST)]
    for order in ([stream, *rest], [*rest, stream]):
        rows: list[Row] = []
        assert sum(admit(rows, copy) is True for copy in order) == 2


@given(copies())
@settings(max_examples=100, deadline=None)
def test_executions_are_as_many_as_were_counted(shown: list[Trade]) -> None:
    """The rows that are read back are the trades that the candles count."""
    rows: dict[tuple[str, int], list[Row]] = {}
    for copy in shown:
        admit(rows.setdefault((copy.market, copy.exchange_ms), []), copy)
    counted = sum(candle.trade_count for candle in candles(shown).values())
    assert counted == sum(len(executions(known)) for known in rows.values())


def test_executions_come_in_the_order_of_the_exchange() -> None:
    """Order within the millisecond first, then the id."""
    rows: list[Row] = []
    for copy in (trade(9, order=1), trade(3, order=2), trade(8, order=1)):
        admit(rows, copy)
    assert [row.id for row in executions(rows)] == [8, 9, 3]
