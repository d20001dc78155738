"""Which markets are ours: patterns, shares, and names that do not exist."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.errors import ConfigurationError
from collector.markets import choose, plain_names

LISTED = ("KRW-BTC", "KRW-ETH", "KRW-BTT", "BTC-ETH", "BTC-XRP")


@pytest.mark.parametrize(
    ("expected", "patterns"),
    [
        (("KRW-BTC",), ["KRW-BTC"]),
        (("KRW-BTC", "KRW-BTT", "KRW-ETH"), ["KRW-*"]),
        (("BTC-ETH", "KRW-ETH"), ["*-ETH"]),
        (("KRW-BTC", "KRW-BTT"), ["KRW-BT*", "KRW-BTC"]),
        (tuple(sorted(LISTED)), ["*"]),
    ],
)
def test_patterns(expected: tuple[str, ...], patterns: list[str]) -> None:
    """`*` stands for any letters; the result is sorted and holds each market once."""
    assert choose(patterns, LISTED) == expected


@pytest.mark.parametrize("pattern", ["KRW-NOPE", "USDT-*", "krw-btc"])
def test_what_matches_nothing_is_an_error_that_helps(pattern: str) -> None:
    """It names the setting, the pattern, and some markets there are."""
    with pytest.raises(ConfigurationError, match=r"MARKETS: .* which lists BTC-ETH, BTC-XRP") as failure:
        choose(["KRW-BTC", pattern], LISTED)
    assert pattern in str(failure.value)
    assert failure.value.exit_code == 2


def test_an_empty_list_has_no_examples() -> None:
    """Nothing is promised that is not there."""
    with pytest.raises(ConfigurationError, match=r"matches no market of the exchange$"):
        choose(["KRW-*"], [])


def test_a_running_listener_lets_delisted_names_go() -> None:
    """Only at the start a missing name is a mistake."""
    assert choose(["KRW-BTC", "KRW-GONE", "USDT-*"], LISTED, strict=False) == ("KRW-BTC",)


@given(st.integers(1, 6), st.sets(st.from_regex(r"\AKRW-[A-Z]{2,5}\Z"), min_size=1, max_size=60))
def test_shares_are_a_partition(count: int, listed: set[str]) -> None:
    """Every market falls to exactly one share."""
    shares = [choose(["*"], listed, index=index, count=count) for index in range(count)]
    assert sorted(market for share in shares for market in share) == sorted(listed)


def test_a_listing_does_not_move_other_markets() -> None:
    """A market stays with its share whatever else is listed."""
    before = choose(["*"], LISTED, index=0, count=3)
    after = choose(["*"], [*LISTED, "KRW-NEW", "KRW-NEWER"], index=0, count=3)
    assert set(before) <= set(after)


def test_plain_names_need_no_list() -> None:
    """Unless one of them is a pattern."""
    assert plain_names(["KRW-ETH", "KRW-BTC", "KRW-ETH"]) == ("KRW-BTC", "KRW-ETH")
    assert plain_names(["KRW-ETH", "KRW-*"]) is None
