"""Analyses of one market's newest order book, and of the samples of it."""

from decimal import Decimal

from collector.analyses import results
from collector.analyses.fields import DEFAULT_WINDOW, Levels, Market, Size, Times, Window
from collector.analyses.inputs import book_answer, book_of, samples_of
from collector.analyses.registry import Answer, analysis
from collector.analytics import book_window, bookstats
from collector.errors import NoData


@analysis(explained_by=bookstats.depth_curve, answers=results.DepthCurve)
def depth_curve(market: Market, *, levels: Levels = 30) -> Answer:
    """How much could be traded up to each price of the newest book."""
    book = book_of(market)
    return book_answer(book, bookstats.depth_curve(book.bids, book.asks, levels))


@analysis(explained_by=bookstats.slippage, answers=results.Slippage)
def slippage(market: Market, *, size: Size = None) -> Answer:
    """Cost of a market order on the newest book, to buy and to sell."""
    book = book_of(market)
    wanted = size or bookstats.usual_size(book.bids, book.asks)
    if not wanted:
        raise NoData(f"{market}: one side of the order book is empty: name a size")
    return book_answer(book, bookstats.slippage(book.bids, book.asks, wanted))


@analysis(explained_by=bookstats.book_imbalance, answers=results.BookImbalance)
def book_imbalance(market: Market, *, levels: Levels = 5) -> Answer:
    """Bid against ask size of the best levels of the newest book, from -1 (all asks) to 1 (all bids)."""
    book = book_of(market)
    steps = bookstats.book_imbalance(book.bids, book.asks, levels)
    return book_answer(book, steps[-1], by_levels=steps)


@analysis(explained_by=bookstats.walls, answers=results.Walls)
def walls(market: Market, *, times: Times = Decimal(5)) -> Answer:
    """Walls: levels of the newest book that are far larger than usual on their side."""
    book = book_of(market)
    return book_answer(book, walls=bookstats.walls(book.bids, book.asks, times))


@analysis(explained_by=book_window.spread, answers=results.Spread)
def spread(market: Market, window: Window = DEFAULT_WINDOW) -> Answer:
    """Statistics of the spread over the window, from samples of the book."""
    code, span, samples = samples_of(market, window)
    return span.answer(code, book_window.spread(samples, span.as_of_ms))


@analysis(explained_by=book_window.changes, answers=results.BookChanges)
def book_changes(market: Market, window: Window = DEFAULT_WINDOW) -> Answer:
    """How much of the book changes from one to the next, from samples of it."""
    code, span, samples = samples_of(market, window)
    return span.answer(code, book_window.changes(samples))
