"""Market names as people write them: what each spelling means, and what is asked back where it is unclear."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector import market_names as names
from collector.errors import NoData

KNOWN = (
    *(
        "KRW-BTC",
        "KRW-ETH",
        "KRW-XRP",
        "KRW-USDT",
        "KRW-USDC.E",
        "KRW-1INCH",
        "KRW-BTCB",
        "KRW-가나",
        "KRW-币",
    ),
    *("BTC-ETH", "BTC-XRP", "BTC-B", "BTC-ONLY", "BTC-DUO", "USDT-DUO"),
)
BTC_SPELLINGS = (
    *("btc", "BTC", " KRW-BTC ", "krw-btc", "KRW_BTC", "BTC_KRW", "BTC-KRW", "BTC/KRW", "krw/btc"),
    *("BTCKRW", "KRWBTC", "btc krw", "KRW–BTC", "ＫＲＷ－ＢＴＣ"),
)


@pytest.mark.parametrize("text", BTC_SPELLINGS)
def test_every_usual_spelling_is_the_market(text: str) -> None:
    """Case, separator, order and width make no difference."""
    assert names.one(text, KNOWN) == "KRW-BTC"


@pytest.mark.parametrize(
    ("text", "market"),
    [
        ("eth", "KRW-ETH"),  # the market in won, although there is one in bitcoin
        ("ETH/BTC", "BTC-ETH"),
        ("ETHBTC", "BTC-ETH"),
        ("BTC_ETH", "BTC-ETH"),
        ("only", "BTC-ONLY"),  # the one market of this currency
        ("usdt", "KRW-USDT"),
        ("BTCB", "KRW-BTCB"),  # not BTC-B: a whole name comes first
        ("usdc.e", "KRW-USDC.E"),
        ("1inch", "KRW-1INCH"),
        ("krw-가나", "KRW-가나"),  # decomposed, as some systems type Hangul
        ("币", "KRW-币"),
    ],
)
def test_what_a_name_stands_for(text: str, market: str) -> None:
    """The likeliest market where there is one, whatever its alphabet."""
    assert names.one(text, KNOWN) == market


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("KRW-BTX", "did you mean KRW-BTC?"),
        ("krw-eht", "did you mean KRW-ETH?"),
        ("KRW-ONLY", "did you mean BTC-ONLY?"),
        ("DUO", "did you mean BTC-DUO or USDT-DUO?"),
    ],
)
def test_a_near_miss_is_asked_back(text: str, question: str) -> None:
    """The error names what may have been meant, and nothing far from it."""
    with pytest.raises(NoData) as failure:
        names.one(text, KNOWN)
    assert str(failure.value) == f"{text} is not a market we have data of: {question}"


def test_a_name_like_none_lists_what_there_is() -> None:
    """The first ten, and how many more."""
    with pytest.raises(NoData, match=r"^ZZZZ is not a market we have data of: BTC-B, .* and 5 more$"):
        names.one("ZZZZ", KNOWN)
    with pytest.raises(NoData, match=r"^BTC is not a market of the exchange: none so far$"):
        names.one("BTC", [], "of the exchange")


@pytest.mark.parametrize("text", ["KRW-*", "KRW-BTC,KRW-ETH", "e*"])
def test_one_market_is_not_a_list(text: str) -> None:
    """Where one market is wanted, a list is refused."""
    with pytest.raises(NoData, match="may be several markets"):
        names.one(text, KNOWN)


@pytest.mark.parametrize(
    ("text", "markets"),
    [
        ("KRW-BTC,KRW-ETH", ["KRW-BTC", "KRW-ETH"]),
        (" eth , btc,KRW_ETH,", ["KRW-ETH", "KRW-BTC"]),
        ("KRW-B*", ["KRW-BTC", "KRW-BTCB"]),
        ("btc-*", ["BTC-B", "BTC-DUO", "BTC-ETH", "BTC-ONLY", "BTC-XRP"]),
        ("*/USDT", ["USDT-DUO"]),
        ("*-eth", ["BTC-ETH", "KRW-ETH"]),
        ("xr*,KRW-X*", ["BTC-XRP", "KRW-XRP"]),
        ("*", sorted(KNOWN)),
    ],
)
def test_lists_and_patterns(text: str, markets: list[str]) -> None:
    """Each market once, names in their order, patterns sorted."""
    assert names.several(text, KNOWN) == markets


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("btc,KRW-EHT", r"^KRW-EHT is not a market we have data of: did you mean KRW-ETH\?$"),
        ("ZZ-*", "^ZZ-[*] fits no market we have data of: "),
        (" , ", "^no market is named"),
    ],
)
def test_a_list_is_right_as_a_whole(text: str, message: str) -> None:
    """What is not found is an error, not left out."""
    with pytest.raises(NoData, match=message):
        names.several(text, KNOWN)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        *((text, "KRW-BTC") for text in BTC_SPELLINGS),
        ("eth/btc", "BTC-ETH"),
        ("BTC-ETH", "BTC-ETH"),
        ("ethusdt", "USDT-ETH"),
        ("usdt", "KRW-USDT"),
        ("*/krw", "KRW-*"),
        ("krw*", "KRW*"),
    ],
)
def test_the_likeliest_code_without_a_list(text: str, code: str) -> None:
    """Where the markets are not known, the quote currencies decide."""
    assert names.tidy(text) == code


@pytest.mark.parametrize(
    ("typed", "markets"),
    [
        ("KRW-B", ["KRW-BTC", "KRW-BTCB"]),
        ("krw_et", ["krw_eth"]),
        ("xr", ["xrp"]),
        ("XR", ["XRP"]),
        ("KRW-XRP,onl", ["KRW-XRP,only"]),
        ("zz", []),
    ],
)
def test_completion(typed: str, markets: list[str]) -> None:
    """By code, else by base currency, as it was begun; of a list the last name."""
    assert names.complete(typed, KNOWN) == markets


@pytest.mark.parametrize("code", [*KNOWN, "KRW-$X"])
def test_codes_of_any_alphabet(code: str) -> None:
    """What the exchange may list."""
    assert names.is_code(code)
    assert names.is_name(code)


@pytest.mark.parametrize(
    "text",
    ["", "-", "KRW-", "-BTC", "KRW-B:C", "KRW-B C", "KRW-B-C", "KRW-\u202eX", "KRW-..", "K" * 40, "A;B"],
)
def test_what_is_no_code(text: str) -> None:
    """Separators of keys and files, blanks and invisible characters are in no code."""
    assert not names.is_code(text)


@given(st.text(max_size=40), st.lists(st.sampled_from(KNOWN), max_size=6))
def test_any_text_finds_known_markets_or_none(text: str, known: list[str]) -> None:
    """Nothing that is typed breaks it, and nothing unknown is found."""
    match = names.find(text, known)
    assert set(match.markets) | set(match.close) <= set(known)
    assert not (match.markets and match.close)
    names.complete(text, known)
    names.is_name(text)
    names.tidy(text)


@given(st.sampled_from(KNOWN))
def test_a_code_is_always_itself(code: str) -> None:
    """However much another spelling would fit too."""
    assert names.find(code, KNOWN).markets == (code,)
