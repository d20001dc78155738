"""The markets of the simulated exchange: names, first prices, activity."""

import math
import random
from dataclasses import dataclass

from collector.errors import ConfigurationError
from collector.simulator.fixed import ONE, on_grid

#: (base, Korean name, English name, price in KRW): real names first.
KNOWN = (
    ("BTC", "비트코인", "Bitcoin", 116_208_000),
    ("ETH", "이더리움", "Ethereum", 3_715_000),
    ("XRP", "엑스알피 [리플]", "XRP", 2_412),
    ("SOL", "솔라나", "Solana", 181_500),
    ("DOGE", "도지코인", "Dogecoin", 187),
    ("USDT", "테더", "Tether", 1_343),
    ("ADA", "에이다", "Cardano", 642),
    ("SHIB", "시바이누", "Shiba Inu", 0.0127),
    ("TRX", "트론", "TRON", 471),
    ("LINK", "체인링크", "Chainlink", 18_450),
    ("PEPE", "페페", "Pepe", 0.0089),
    ("AVAX", "아발란체", "Avalanche", 26_310),
    ("XLM", "스텔라루멘", "Stellar Lumens", 329),
    ("BCH", "비트코인 캐시", "Bitcoin Cash", 612_500),
    ("SUI", "수이", "Sui", 3_021),
    ("DOT", "폴카닷", "Polkadot", 4_377),
    ("HBAR", "헤데라", "Hedera", 211),
    ("ETC", "이더리움 클래식", "Ethereum Classic", 22_340),
    ("BTT", "비트토렌트", "BitTorrent", 0.0006),
    ("SAND", "샌드박스", "The Sandbox", 298),
    ("MANA", "디센트럴랜드", "Decentraland", 289),
    ("AXS", "엑시인피니티", "Axie Infinity", 2_190),
    ("USDC", "유에스디코인", "USD Coin", 1_342),
    ("ENS", "이더리움네임서비스", "Ethereum Name Service", 21_780),
)
#: Pairs quoted in BTC, of which the exchange has 13.
IN_BTC = ("ETH", "XRP", "SOL", "DOGE", "USDC", "ADA", "LINK", "AVAX", "TRX", "BCH", "SUI", "DOT", "XLM")
#: From this many markets on there are quiet, thin and BTC-quoted ones among them.
FEW = 10
ZIPF = 0.9
QUIET_SHARE = 0.07
THIN_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class Instruments:
    """One market as it is listed: `weight` is its share of the activity, `bid_levels` how deep bids go."""

    code: str
    korean_name: str
    english_name: str
    price: int
    weight: float
    bid_levels: int
    caution: bool


def make_listings(count: int, rng: random.Random, levels: int) -> tuple[Instruments, ...]:
    """List `count` markets, the busiest first and the quiet (weight 0) last."""
    named = _named(count, rng)
    quiet = math.ceil(count * QUIET_SHARE) if count >= FEW else 0
    thin = math.ceil(count * THIN_SHARE) if count >= FEW else 0
    listings = []
    for i, (code, korean, english, price) in enumerate(named):
        weight = 0.0 if i >= count - quiet else (i + 1) ** -ZIPF
        is_thin = count - quiet - thin <= i < count - quiet
        listings.append(
            Instruments(
                code,
                korean,
                english,
                price,
                weight,
                rng.randint(4, 12) if is_thin else levels,
                rng.random() < 0.05,
            )
        )
    return tuple(listings)


def make_listing(code: str, weight: float, levels: int) -> Instruments:
    """List one more market, at a price that is known or 100."""
    quote, _, base = code.partition("-")
    if quote == "BTC" and base in IN_BTC:
        named = _in_btc(base)
    elif quote == "KRW":
        known = next((known for known in KNOWN if known[0] == base), (base, base, base, 100))
        named = _in_krw(*known)
    else:
        raise ConfigurationError(f"{code!r} can't be listed: KRW-… or one of BTC-{', BTC-'.join(IN_BTC)}")
    return Instruments(*named, weight, levels, caution=False)


def _named(count: int, rng: random.Random) -> list[tuple[str, str, str, int]]:
    in_btc = min(len(IN_BTC), count // 12) if count >= FEW else 0
    krw = count - in_btc
    named = [_in_krw(*known) for known in KNOWN[:krw]]
    named += [_invented(i + 1, rng) for i in range(krw - len(named))]
    # The BTC pairs sit after the leaders, before the long tail.
    place = min(FEW, krw)
    return named[:place] + [_in_btc(base) for base in IN_BTC[:in_btc]] + named[place:]


def _in_krw(base: str, korean: str, english: str, price: float) -> tuple[str, str, str, int]:
    return f"KRW-{base}", korean, english, on_grid(round(price * ONE), "KRW")


def _in_btc(base: str) -> tuple[str, str, str, int]:
    prices = {known[0]: known for known in KNOWN}
    _, korean, english, price = prices[base]
    return f"BTC-{base}", korean, english, on_grid(round(price / KNOWN[0][3] * ONE), "BTC")


def _invented(number: int, rng: random.Random) -> tuple[str, str, str, int]:
    price = on_grid(round(10 ** rng.uniform(-2.5, 5.5) * ONE), "KRW")
    return f"KRW-SIM{number:03d}", f"모의코인{number}", f"Simulated {number}", price
