"""The state of a market at the exchange, and its warnings. Pure.

Two sources are joined: the newest ticker (`market_state`, `is_trading_suspended`, `delisting_date`,
`market_warning`) and the exchange's list of markets, which has no states but contains only listed markets.

state       means
active      it trades
suspended   it is listed, and the exchange reports that it does not trade
preview     it is announced and does not trade yet
delisted    it left the list after a delisting was announced, or the exchange reports the delisting
unlisted    it is not in the list, and nothing was announced
"""

from enum import StrEnum

from msgspec import Struct

from collector.model import Ticker

#: Words of the exchange for markets without anything to warn of.
_NO_WARNING = frozenset({"NONE", ""})


class MarketState(StrEnum):
    """Whether a market trades."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    PREVIEW = "preview"
    DELISTED = "delisted"
    UNLISTED = "unlisted"


#: The only word seen so far is `ACTIVE`; any other but these is taken for a market that does not trade.
_STATES = {"ACTIVE": MarketState.ACTIVE, "PREVIEW": MarketState.PREVIEW, "DELISTED": MarketState.DELISTED}


class Listing(Struct, frozen=True, array_like=True):
    """The entry of a market in the newest market list."""

    is_listed: bool
    #: As the exchange writes it; None where the list has no value.
    warning: str | None = None


class MarketRow(Struct, frozen=True):
    """A market and its state at the exchange.

    Attributes:
        warning: in lower case, for instance `caution`; None for none.
        delisting_date: as the exchange writes it.
        last_trade_ms: time of the newest stored trade, epoch ms.
    """

    market: str
    state: MarketState
    warning: str | None
    delisting_date: str | None
    last_trade_ms: int | None


def market_row(
    market: str, ticker: Ticker | None, listing: Listing | None, last_trade_ms: int | None = None
) -> MarketRow:
    """Return the state of `market` at the exchange; without information the market is active."""
    warning = listing.warning if listing else None
    if warning is None and ticker:
        warning = ticker.market_warning
    return MarketRow(
        market=market,
        state=state_of(ticker, listing),
        warning=None if warning is None or warning.upper() in _NO_WARNING else warning.lower(),
        delisting_date=ticker.delisting_date if ticker else None,
        last_trade_ms=last_trade_ms,
    )


def state_of(ticker: Ticker | None, listing: Listing | None) -> MarketState:
    """Return the state of a market; the list is newer than a ticker, which a quiet market has none of."""
    word = (ticker.market_state or "").upper() if ticker else ""
    said = _STATES.get(word, MarketState.SUSPENDED) if word else MarketState.ACTIVE
    if said is MarketState.DELISTED:
        return said
    if listing and not listing.is_listed:
        return MarketState.DELISTED if ticker and ticker.delisting_date else MarketState.UNLISTED
    if said is MarketState.ACTIVE and ticker and ticker.trading_suspended:
        return MarketState.SUSPENDED
    return said


def is_ending(ticker: Ticker | None, today: str) -> bool:
    """Whether a market is delisted by `today` according to the exchange, a KST day such as `2026-11-30`."""
    if ticker is None:
        return False
    if state_of(ticker, None) is MarketState.DELISTED:
        return True
    digits = "".join(filter(str.isdigit, ticker.delisting_date or ""))[:8]
    return len(digits) == 8 and digits <= today.replace("-", "")
