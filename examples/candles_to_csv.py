"""Write the candles of a market as CSV, exact to the last digit.

python examples/candles_to_csv.py KRW-BTC 5m > btc.csv
"""

import csv
import sys

from msgspec.structs import fields

from collector.host.redis_server import find_url
from collector.settings import current
from tasks.read import Candle, Reader, plain


def main(market: str = "KRW-BTC", interval: str = "1m") -> None:
    reader = Reader(find_url(current()))
    table = csv.DictWriter(sys.stdout, [field.name for field in fields(Candle)], lineterminator="\n")
    table.writeheader()
    for candle in reader.candles(market, interval):
        table.writerow(plain(candle))


if __name__ == "__main__":
    main(*sys.argv[1:])
