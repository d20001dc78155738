"""Sum a market up by the hour: who pushed, buyers or sellers, and at what average price.

python examples/volume_by_hour.py KRW-BTC
"""

import sys

from collector.host.redis_server import find_url
from collector.settings import current
from tasks.read import Reader


def main(market: str = "KRW-BTC") -> None:
    reader = Reader(find_url(current()))
    for candle in reader.candles(market, "1h", limit=24):
        bought = candle.buy_volume / candle.base_volume if candle.base_volume else 0
        vwap = candle.vwap or 0
        note = "" if candle.complete else "  incomplete: trades may be missing"
        opened = f"{candle.open_time:%Y-%m-%d %H:%M}Z"
        print(f"{opened}  {candle.base_volume:>20f}  bought {bought:4.0%}  vwap {vwap:f}{note}")


if __name__ == "__main__":
    main(*sys.argv[1:])
