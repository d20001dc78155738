"""Which copies count, and which rows stand for the executions."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.analytics.dedup import Row, admit, executions
from collector.model import Source, Trade
from tests.samples.plain import candles
from tests.samples.rows import REST_IDS, copies, from_rest, numbered, trade
from tests.samples.rows import executions as made_executions


def fed(shown: list[Trade]) -> dict[tuple[str, int], list[Row]]:
    """Admit copies one after the other."""
    rows: dict[tuple[str, int], list[Row]] = {}
    for copy in shown:
        admit(rows.setdefault((copy.market, copy.exchange_ms), []), copy)
    return rows


def multiset(trades: list[Trade]) -> Counter[tuple[Any, ...]]:
    """Return how many executions there are of each kind."""
    return Counter((it.market, it.exchange_ms, it.price, it.volume, it.side) for it in trades)


def stored(rows: dict[tuple[str, int], list[Row]]) -> Counter[tuple[Any, ...]]:
    """Return the same of what is stored."""
    return Counter(
        (market, ms, row.price, row.volume, row.side)
        for (market, ms), known in rows.items()
        for row in executions(known)
    )


def test_the_first_copy_counts_and_its_repeat_is_known() -> None:
    """A repeat of a copy is None: nothing to write."""
    rows: list[Row] = []
    assert [admit(rows, trade(1)), admit(rows, trade(1))] == [True, None]


def test_the_same_trade_from_the_other_source_is_noted_but_not_counted() -> None:
    """Whatever its id: the next equal one of that source is told apart by its number."""
    for number in (1, 500, 0):
        rows: list[Row] = []
        of_rest = [from_rest(trade(1), number, nth=nth) for nth in (1, 1, 2)]
        verdicts = [admit(rows, copy) for copy in (trade(1), *of_rest)]
        assert verdicts == [True, False, None, True]


def test_trades_of_one_millisecond_with_one_id_are_all_counted() -> None:
    """Three different ones and one that equals another, all under one id of REST; the socket had one."""
    page = [trade(1), trade(2, 101), trade(3, volume=2), trade(4)]
    for order in ([page[1], *numbered(page, REST_IDS["shared"])], numbered(page, REST_IDS["shared"])):
        (rows,) = fed(order).values()
        assert len(executions(rows)) == 4


def test_a_redelivered_page_counts_nothing() -> None:
    """Nor one that was cut short, because REST lagged."""
    page = [trade(n) for n in range(4)]
    rows: list[Row] = []
    for shown in (page[:2], page, page[:3], page):
        for copy in numbered(shown, REST_IDS["shared"]):
            admit(rows, copy)
    assert (len(rows), len(executions(rows))) == (4, 4)


def test_rest_ids_are_kept() -> None:
    """Of a trade that only REST has, its id there is what people see."""
    rows: list[Row] = []
    for copy in [trade(5), *numbered([trade(5), trade(6, 101)], REST_IDS["its own"])]:
        admit(rows, copy)
    assert [row.id for row in executions(rows)] == [5, 51]


def test_executions_of_one_id_come_in_the_order_of_the_page() -> None:
    """Ids say nothing where they are shared; the page lists them as they were made."""
    page = [trade(n, price) for n, price in enumerate((103, 101, 102))]
    (rows,) = fed(numbered(page, REST_IDS["shared"])[::-1]).values()
    assert [int(row.price) for row in executions(rows)] == [103, 101, 102]


@given(copies())
@settings(max_examples=100, deadline=None)
def test_executions_are_as_many_as_were_counted(shown: list[Trade]) -> None:
    """The rows that are read back are the trades that the candles count."""
    counted = sum(candle.trade_count for candle in candles(shown).values())
    assert counted == sum(len(executions(known)) for known in fed(shown).values())


@given(st.data(), made_executions(), st.sampled_from(list(REST_IDS)))
@settings(max_examples=150, deadline=None)
def test_a_whole_page_completes_whatever_the_sockets_brought(
    data: st.DataObject, made: list[Trade], ids: str
) -> None:
    """Any part of the trades from sockets, all of them from REST, in any order, some twice: each once."""
    streamed = [it for it in made if data.draw(st.booleans())]
    page = numbered(made, REST_IDS[ids])
    again = data.draw(st.lists(st.sampled_from(streamed + page), max_size=8))
    rows = fed(data.draw(st.permutations(streamed + page + again)))
    assert stored(rows) == multiset(made)


@given(st.data(), made_executions(max_size=8), st.integers(0, 8))
@settings(max_examples=150, deadline=None)
def test_copies_of_an_older_listener_are_no_further_executions(
    data: st.DataObject, made: list[Trade], old: int
) -> None:
    """Some rows were fetched without a number, all again with one: any order, each counted once."""
    before = [from_rest(it, 50 + number) for number, it in enumerate(made[:old])]
    shown = data.draw(st.permutations(before + numbered(made)))
    rows: dict[tuple[str, int], list[Row]] = {}
    verdicts = [admit(rows.setdefault((it.market, it.exchange_ms), []), it) for it in shown]
    assert stored(rows) == multiset(made)
    assert verdicts.count(True) == len(made)


@pytest.mark.parametrize("source", list(Source))
def test_executions_come_in_the_order_of_the_exchange(source: Source) -> None:
    """Order within the millisecond first, then the id."""
    rows: list[Row] = []
    for copy in (trade(9, order=1), trade(3, order=2), trade(8, order=1)):
        admit(rows, copy if source is Source.STREAM else from_rest(copy, copy.id))
    assert [row.id for row in executions(rows)] == [8, 9, 3]
