"""Seeded frames in the exchange's current format: the same bytes for us and for whom we compare with."""

import random

#: As many markets as the exchange listed in September 2026.
MARKETS = 493
_DAY_MS = 86_400_000


def market_names(count: int = MARKETS) -> list[str]:
    """Return `count` market codes."""
    return [f"KRW-M{number:03d}" for number in range(count)]


class Maker:
    """Makes frames whose ids and times never repeat.

    Args:
        start_ms: exchange time of the first frame; each further one is `1 / rate_per_ms` later.
    """

    def __init__(self, markets: int, start_ms: int, rate_per_ms: float = 50.0, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self._names = market_names(markets)
        self._start_ms = start_ms
        self._rate = rate_per_ms
        self._made = 0

    def trade(self, at_ms: int | None = None) -> bytes:
        """One trade, 330 bytes; at a time of its own, or `at_ms`."""
        now_ms, draw = self._next(), self._random
        now_ms = at_ms or now_ms
        return (
            f'{{"type":"trade","code":"{draw.choice(self._names)}",'
            f'"trade_price":{draw.randint(1000, 99999)},'
            f'"trade_volume":{draw.uniform(0.0001, 2):.8f},"ask_bid":"{draw.choice(("ASK", "BID"))}",'
            '"prev_closing_price":48450,"change":"RISE","change_price":520,"trade_date":"2026-09-23",'
            f'"trade_time":"12:18:33","trade_timestamp":{now_ms},'
            f'"sequential_id":{(now_ms << 20) + self._made},"timestamp":{now_ms},"stream_type":"REALTIME"}}'
        ).encode()

    def book(self, market: str | None = None) -> bytes:
        """One 15-level book unlike any other, about 1,300 bytes; of any market, or of `market`."""
        now_ms, draw = self._next(), self._random
        best = draw.randint(1000, 99999)
        units = ",".join(
            f'{{"ask_price":{best + 1 + i},"bid_price":{best - i},'
            f'"ask_size":{draw.uniform(0, 100):.4f},"bid_size":{draw.uniform(0, 100):.4f}}}'
            for i in range(15)
        )
        return (
            f'{{"type":"orderbook","code":"{market or draw.choice(self._names)}","total_ask_size":712.4432,'
            f'"total_bid_size":691.1052,"orderbook_units":[{units}],"level":1,'
            f'"timestamp":{now_ms * 1000 + self._made % 1000},"stream_type":"REALTIME"}}'
        ).encode()

    def ticker(self) -> bytes:
        """One ticker, about 900 bytes."""
        now_ms, draw = self._next(), self._random
        price = draw.randint(1000, 99999)
        return (
            f'{{"type":"ticker","code":"{draw.choice(self._names)}","opening_price":{price},'
            f'"high_price":{price + 9},"low_price":{price - 9},'
            f'"trade_price":{price},"prev_closing_price":{price - 5},"change":"RISE",'
            '"change_price":5,"signed_change_price":5,"change_rate":0.00011655,"signed_change_rate":0.00011655,'
            '"trade_volume":0.0094,"acc_trade_volume":151.44914647,"acc_trade_volume_24h":310.44065227,'
            '"acc_trade_price":14330306973.41015,"acc_trade_price_24h":29226371799.56915,'
            f'"trade_date":"20260923","trade_time":"121833","trade_timestamp":{now_ms},"ask_bid":"BID",'
            '"acc_ask_volume":52.30413928,"acc_bid_volume":99.14500719,"highest_52_week_price":179734000,'
            '"highest_52_week_date":"2025-10-09","lowest_52_week_price":811,"lowest_52_week_date":"2026-02-06",'
            '"market_state":"ACTIVE","is_trading_suspended":false,"delisting_date":"","market_warning":"NONE",'
            f'"timestamp":{now_ms},"stream_type":"REALTIME"}}'
        ).encode()

    def _next(self) -> int:
        self._made += 1
        return self._start_ms + int(self._made / self._rate)
