"""Tell of every stretch in which data may be missing, and when it was filled after all.

python examples/follow_gaps.py 60
"""

import sys
import time

from collector.host.redis_server import find_url
from collector.settings import current
from tasks.read import GapRow, Reader

LOOK_S = 1.0


def main(seconds: str = "10") -> None:
    reader = Reader(find_url(current()))
    known: dict[tuple[str, str, int], GapRow] = {}
    end_s = time.monotonic() + float(seconds)
    while time.monotonic() < end_s:
        for gap in reader.gaps():
            name = (gap.market, gap.channel, gap.from_ms)
            if known.get(name) != gap:
                known[name] = gap
                state = "recovered" if gap.recovered else "open"
                print(
                    f"{gap.market} {gap.channel} {gap.to_ms - gap.from_ms} ms {gap.reason}: {state}",
                    flush=True,
                )
        time.sleep(min(LOOK_S, float(seconds)))


if __name__ == "__main__":
    main(*sys.argv[1:])
