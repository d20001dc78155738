"""Market names as people write them: `btc`, `KRW_BTC`, `BTC/KRW`, `BTCKRW`, `krw-e*`. Pure.

A name is looked up among the markets there are, because only they show which part is the quote currency:

    written             read as
    KRW-BTC, krw_btc    QUOTE BASE where there is such a market, else BASE QUOTE
    BTC/KRW             BASE QUOTE where there is such a market, else QUOTE BASE
    BTC                 KRW-BTC; where that is no market, the only market of this base currency
    BTCKRW, KRWBTC      the only market written so
    KRW-E*, */KRW, *    every market that fits; `*` stands for any letters, also none

Letter case, full-width letters, long dashes and decomposed Hangul make no difference. A list has commas.
"""

import difflib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from collector.errors import NoData

#: Quote currencies of the exchange, the usual one first.
QUOTES = ("KRW", "USDT", "BTC")
ANY = "*"
STORED = "we have data of"
#: Markets named in the message about an unknown one.
NAMED_MARKETS = 10
CODE_CHARACTERS_MAX = 32
_CLOSE_MAX = 3
_SIMILAR_FROM = 0.6
_DASHES = str.maketrans(dict.fromkeys("‐‑‒–—―−", "-"))
_SEPARATORS = re.compile(r"[-_/\s]+")
#: What a currency's name may have beside letters and digits of any alphabet.
_SIGNS = frozenset(".$+")


@dataclass(frozen=True, slots=True)
class Match:
    """What a name or pattern stands for.

    Attributes:
        markets: the market, or all that fit a pattern, sorted; empty where it is unknown or not clear.
        close: markets that may have been meant, where `markets` is empty.
    """

    markets: tuple[str, ...] = ()
    close: tuple[str, ...] = ()


def find(text: str, known: Iterable[str]) -> Match:
    """Return what one name or pattern stands for among the `known` markets."""
    by_code = {_plain(market): market for market in known}
    wanted = _plain(text)
    if ANY in wanted:
        return Match(markets=tuple(by_code[code] for code in _fitting(wanted, by_code)))
    for code in _spellings(wanted):
        if code in by_code:
            return Match(markets=(by_code[code],))
    meant = _short_for(wanted, by_code)
    if len(meant) == 1:
        return Match(markets=(by_code[meant[0]],))
    return Match(close=tuple(by_code[code] for code in meant or _similar(wanted, by_code)))


def covers(name: str, market: str) -> bool:
    """Tell whether a code is a market's, or a pattern has it."""
    return bool(find(name, (market,)).markets) if ANY in name else name == market


def one(text: str, known: Iterable[str], whose: str = STORED) -> str:
    """Return the market that `text` names.

    Args:
        whose: what the `known` markets are, for the message about an unknown one.

    Raises:
        NoData: none, or it is not clear which; the message names those that are close.
    """
    known = list(known)
    match = find(text, known)
    if len(match.markets) == 1:
        return match.markets[0]
    if match.markets or "," in text:
        raise NoData(f"{text} may be several markets: name one of them")
    raise unknown(text, known, whose)


def several(text: str, known: Iterable[str], whose: str = STORED) -> list[str]:
    """Return the markets that a comma list of names and patterns stands for, each once, in its order.

    Raises:
        NoData: a name is unknown or not clear, a pattern fits no market, or the list is empty.
    """
    known = list(known)
    found: dict[str, None] = {}
    for part in parts(text):
        match = find(part, known)
        if not match.markets:
            raise unknown(part, known, whose)
        found |= dict.fromkeys(match.markets)
    if not found:
        raise NoData(f"no market is named in {text!r}")
    return list(found)


def parts(text: str) -> tuple[str, ...]:
    """Return the names and patterns of a comma list."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def is_list(text: str) -> bool:
    """Whether `text` may name several markets."""
    return ANY in text or "," in text


def unknown(text: str, known: Sequence[str], whose: str = STORED) -> NoData:
    """Return the error about a name or pattern that stands for none of the `known` markets."""
    kind = "fits no market" if ANY in text else "is not a market"
    if close := find(text, known).close:
        return NoData(f"{text} {kind} {whose}: {did_you_mean(close)}")
    more = f" and {len(known) - NAMED_MARKETS} more" if len(known) > NAMED_MARKETS else ""
    have = ", ".join(sorted(known)[:NAMED_MARKETS]) + more if known else "none so far"
    return NoData(f"{text} {kind} {whose}: {have}")


def did_you_mean(close: Sequence[str]) -> str:
    """Return the question that names the markets close to what was written."""
    *others, last = close
    return f"did you mean {', '.join(others)}{' or ' if others else ''}{last}?"


def tidy(text: str) -> str:
    """Return the most likely code of one name or pattern where no list of markets is at hand.

    A currency of `QUOTES` is taken for the quote currency, of two the one that comes first there; a name
    without any is one of the market in Korean won.
    """
    wanted = _plain(text)
    if _SEPARATORS.search(wanted):
        return min(_spellings(wanted), key=_quote_rank)
    if ANY in wanted:
        return wanted
    for quote, base in (
        ("KRW", wanted.removesuffix("KRW")),
        ("KRW", wanted.removeprefix("KRW")),
        ("USDT", wanted.removesuffix("USDT")),
    ):
        if base not in ("", wanted):
            return f"{quote}-{base}"
    return next(_spellings(wanted))


def tidy_list(text: str) -> str:
    """Return a comma list with each name and pattern as `tidy` has it."""
    return ",".join(map(tidy, parts(text)))


def complete(incomplete: str, known: Iterable[str]) -> list[str]:
    """Return what the last name of a comma list may become: codes, else base currencies.

    Each begins with what was typed, letter by letter, because shells offer nothing else.
    """
    head, comma, typed = incomplete.rpartition(",")
    wanted = _SEPARATORS.sub("-", _plain(typed))
    if len(wanted) != len(typed):
        return []
    codes = sorted(_plain(market) for market in known)
    fitting = [code for code in codes if code.startswith(wanted)]
    fitting = fitting or sorted({_base(code) for code in codes if _base(code).startswith(wanted)})
    rests = [code[len(wanted) :] for code in fitting]
    return [f"{head}{comma}{typed}{rest.lower() if typed.islower() else rest}" for rest in rests]


def is_code(text: str) -> bool:
    """Whether `text` has the shape of a market's code: QUOTE-BASE, in letters and digits of any alphabet."""
    quote, dash, base = text.partition("-")
    return bool(dash) and len(text) <= CODE_CHARACTERS_MAX and _is_currency(quote) and _is_currency(base)


def is_name(text: str) -> bool:
    """Whether `text` may be a market's name or a pattern, as people write them."""
    words = [word for word in _SEPARATORS.split(_plain(text)) if word]
    return (
        len(words) in (1, 2)
        and len(text) <= CODE_CHARACTERS_MAX
        and all(_is_currency(word.replace(ANY, "X")) for word in words)
    )


def _is_currency(text: str) -> bool:
    if text.isalnum():  # as nearly all are
        return True
    return any(map(str.isalnum, text)) and all(char.isalnum() or char in _SIGNS for char in text)


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).translate(_DASHES).strip().upper()


def _spellings(wanted: str) -> Iterator[str]:
    """Yield the codes that a name may stand for, the likeliest first; there is at least one."""
    words = [word for word in _SEPARATORS.split(wanted) if word]
    if len(words) == 2:
        first, second = words
        codes = (f"{first}-{second}", f"{second}-{first}")
        yield from reversed(codes) if "/" in wanted else codes
    elif words == [wanted]:
        yield f"{QUOTES[0]}-{wanted}"
    else:
        yield wanted


def _short_for(wanted: str, codes: Iterable[str]) -> list[str]:
    """Return the codes whose base currency is `wanted`, else those written so without a separator, sorted."""
    codes = sorted(codes)
    same_base = [code for code in codes if _base(code) == wanted]
    return same_base or [code for code in codes if wanted in _joined(code)]


def _joined(code: str) -> tuple[str, str]:
    quote, _, base = code.partition("-")
    return base + quote, quote + base


def _quote_rank(code: str) -> int:
    quote = code.partition("-")[0]
    return QUOTES.index(quote) if quote in QUOTES else len(QUOTES)


def _base(code: str) -> str:
    return code.partition("-")[2]


def _fitting(wanted: str, codes: Iterable[str]) -> list[str]:
    """Return the codes that a pattern fits, sorted; one without a separator may be one of base currencies."""
    codes = sorted(codes)
    if not _SEPARATORS.search(wanted):
        whole = _matching(wanted, codes)
        return whole or [code for code in codes if _matching(wanted, [_base(code)])]
    return next(filter(None, (_matching(spelling, codes) for spelling in _spellings(wanted))), [])


def _matching(pattern: str, codes: Iterable[str]) -> list[str]:
    fits = re.compile(".*".join(map(re.escape, pattern.split(ANY))), re.DOTALL).fullmatch
    return [code for code in codes if fits(code)]


def _similar(wanted: str, codes: Iterable[str]) -> list[str]:
    """Return a few codes that look much like `wanted`: other quotes of the same base, then typing slips."""
    codes = sorted(codes)
    bases = [_base(spelling) for spelling in _spellings(wanted)]
    same_base = [code for code in codes if _base(code) in bases]
    scored = [(max(_likeness(spelling, code) for spelling in _spellings(wanted)), code) for code in codes]
    slips = [code for score, code in sorted(scored, key=lambda pair: -pair[0]) if score >= _SIMILAR_FROM]
    return list(dict.fromkeys(same_base + slips))[:_CLOSE_MAX]


def _likeness(spelling: str, code: str) -> float:
    """Return the similarity of two codes, 0 to 1; the base currency weighs more than the quote currency."""
    if spelling.partition("-")[0] != code.partition("-")[0]:
        return difflib.SequenceMatcher(None, spelling, code).ratio() / 2
    return difflib.SequenceMatcher(None, _base(spelling), _base(code)).ratio()
