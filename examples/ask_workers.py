"""Have the workers compare two averages of the price: weighted by volume, and by time.

python examples/ask_workers.py KRW-BTC 15m
"""

import sys
from decimal import Decimal

from collector.errors import CollectorError
from tasks.ask import ask


def main(market: str = "KRW-BTC", window: str = "15m") -> None:
    try:
        vwap = Decimal(ask("vwap", market, window)["vwap"])
        twap = Decimal(ask("twap", market, window)["twap"])
    except CollectorError as error:
        sys.exit(str(error))
    print(f"{market} {window}: vwap {vwap:.8f}, twap {twap:.8f}")
    print("more was traded at the higher prices" if vwap > twap else "more was traded at the lower prices")


if __name__ == "__main__":
    main(*sys.argv[1:])
