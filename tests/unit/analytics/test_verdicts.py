"""A verdict holds for the figures it was found for, and for nothing else."""

from decimal import Decimal as D

import pytest
from msgspec import structs

from collector.analytics.candles import Minute, view
from collector.analytics.exact import EXACT
from collector.analytics.minutes import absorb
from collector.analytics.verdicts import Verdicts, fingerprint_of, written
from collector.model import MINUTE_MS, Side
from tests.samples.rows import BTC, T0, trade


def made(*volumes: str) -> Minute:
    """A minute of sells at 100, of these volumes."""
    trades = [trade(n, volume=volume, side=Side.SELL) for n, volume in enumerate(volumes)]
    found = absorb(None, {}, trades).minute
    assert found
    return found


def test_a_verdict_holds_while_our_minute_is_the_same() -> None:
    """One that changed, came or went since is not compared."""
    minute, more = made("1"), made("1", "2")
    known = Verdicts({str(T0): written(True, minute), str(T0 + MINUTE_MS): written(False, None)})
    assert [known.of(T0, it) for it in (minute, more, None)] == [True, None, None]
    assert [known.of(T0 + MINUTE_MS, it) for it in (minute, None)] == [None, False]
    assert known.of(T0 + 2 * MINUTE_MS, minute) is None


def test_the_figures_count_not_how_they_came() -> None:
    """Zeros at the end of a number, and copies that were received again, change nothing."""
    minute = made("1.50", "2")
    assert fingerprint_of(minute) == fingerprint_of(made("2", "1.5"))
    assert fingerprint_of(minute) == fingerprint_of(structs.replace(minute, copies=9))
    (candle,) = view(BTC, {T0: minute})
    assert fingerprint_of(minute) == fingerprint_of(candle)


@pytest.mark.parametrize("name", ["high", "low", "quote_volume", "buy_volume", "sell_volume", "trade_count"])
def test_every_figure_counts(name: str) -> None:
    """Also one that only moved in the last of many digits."""
    minute = made("728107452.06423197609921044")
    value = getattr(minute, name)
    other = value + 1 if name == "trade_count" else EXACT.add(value, D("1e-30"))
    assert fingerprint_of(minute) != fingerprint_of(structs.replace(minute, **{name: other}))


def test_quiet_stretches_hold_where_we_have_no_trade() -> None:
    """They may overlap, when two wrote them."""
    fields = {f"span:{T0}": str(T0 + 10 * MINUTE_MS), f"span:{T0 + MINUTE_MS}": str(T0 + 2 * MINUTE_MS)}
    known = Verdicts(fields)
    opens = [T0 + n * MINUTE_MS for n in (-1, 0, 1, 5, 9, 10)]
    assert [known.of(open_ms, None) for open_ms in opens] == [None, True, True, True, True, None]
    assert known.of(T0, made("1")) is None
