"""Analyses of one market's newest order book."""

from decimal import Decimal

from collector.errors import NoData
from tasks.analyses.fields import Levels, Market, Size, Times
from tasks.analyses.registry import Answer, analysis
from tasks.analyses.scope import book_answer, book_of
from tasks.enrich import bookstats


@analysis(explained_by=bookstats.depth_curve)
def depth_curve(market: Market, *, levels: Levels = 30) -> Answer:
    """How much could be traded up to each price of the newest book."""
    book = book_of(market)
    return book_answer(book, bookstats.depth_curve(book.bids, book.asks, levels))


@analysis(explained_by=bookstats.slippage)
def slippage(market: Market, *, size: Size = None) -> Answer:
    """Cost of a market order on the newest book, to buy and to sell."""
    book = book_of(market)
    wanted = size or bookstats.usual_size(book.bids, book.asks)
    if not wanted:
        raise NoData(f"{market}: one side of the order book is empty: name a size")
    return book_answer(book, bookstats.slippage(book.bids, book.asks, wanted))


@analysis(explained_by=bookstats.book_imbalance)
def book_imbalance(market: Market, *, levels: Levels = 5) -> Answer:
    """Bid against ask size of the best levels of the newest book, from -1 (all asks) to 1 (all bids)."""
    book = book_of(market)
    steps = bookstats.book_imbalance(book.bids, book.asks, levels)
    return book_answer(book, steps[-1], by_levels=steps)


@analysis(explained_by=bookstats.walls)
def walls(market: Market, *, times: Times = Decimal(5)) -> Answer:
    """Walls: levels of the newest book that are far larger than usual on their side."""
    book = book_of(market)
    return book_answer(book, walls=bookstats.walls(book.bids, book.asks, times))
