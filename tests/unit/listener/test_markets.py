"""Which markets are ours: patterns, shares, and names that do not exist."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.errors import ConfigurationError
from collector.listener.markets import choose, plain_names

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
    assert choose(patterns, LISTED).markets == expected


def test_names_as_people_write_them() -> None:
    """The list of the exchange shows which markets are meant."""
    assert choose(["btc", "ETH/BTC", "krw_b*"], LISTED).markets == ("BTC-ETH", "KRW-BTC", "KRW-BTT")


def test_a_delisted_market_costs_only_itself() -> None:
    """The others are collected; a sentence tells of each that is missing."""
    found = choose(["KRW-BTC", "KRW-LUNA", "KRW-ETC", "USDT-*"], LISTED)
    assert found.markets == ("KRW-BTC",)
    assert found.missing == (
        "KRW-LUNA is not a market of the exchange",
        "KRW-ETC is not a market of the exchange (did you mean KRW-BTC or KRW-ETH?)",
        "USDT-* matches no market of the exchange",
    )


@pytest.mark.parametrize("pattern", ["KRW-NOPE", "USDT-*"])
def test_nothing_left_is_an_error_that_helps(pattern: str) -> None:
    """It names the setting, the pattern, and some markets there are."""
    with pytest.raises(ConfigurationError, match=r"MARKETS: .* which lists BTC-ETH, BTC-XRP") as failure:
        choose([pattern], LISTED)
    assert pattern in str(failure.value)
    assert failure.value.exit_code == 2


def test_an_empty_list_has_no_examples() -> None:
    """Nothing is promised that is not there."""
    with pytest.raises(ConfigurationError, match=r"matches no market of the exchange$"):
        choose(["KRW-*"], [])


@given(st.integers(1, 6), st.sets(st.from_regex(r"\AKRW-[A-Z]{2,5}\Z"), min_size=1, max_size=60))
def test_shares_are_a_partition(count: int, listed: set[str]) -> None:
    """Every market falls to exactly one share."""
    shares = [choose(["*"], listed, index=index, count=count).markets for index in range(count)]
    assert sorted(market for share in shares for market in share) == sorted(listed)


def test_a_listing_does_not_move_other_markets() -> None:
    """A market stays with its share whatever else is listed."""
    before = choose(["*"], LISTED, index=0, count=3).markets
    after = choose(["*"], [*LISTED, "KRW-NEW", "KRW-NEWER"], index=0, count=3).markets
    assert set(before) <= set(after)


def test_plain_names_need_no_list() -> None:
    """Unless one of them is a pattern; they are taken as they most likely are meant."""
    assert plain_names(["KRW-ETH", "btc", "KRW_BTC"]) == ("KRW-BTC", "KRW-ETH")
    assert plain_names(["KRW-ETH", "KRW-*"]) is None
