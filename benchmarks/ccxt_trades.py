"""What `benchmarks.live latency` runs with ccxt's interpreter: a `watch_trades` loop for each market.

    python ccxt_trades.py HOST:PORT MARKETS SECONDS [everything]

With `everything` it follows the order books and tickers as well, as our listener does. Prints a line once it
has trades; after so many seconds the lags as a JSON list, ms from a trade's time to the loop that has it. It
needs nothing but ccxt.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import ccxt.pro  # type: ignore[import-not-found]

_START_S, _CLOSE_S = 60.0, 2.0


async def main(place: str, names: list[str], seconds: float, *, is_everything: bool) -> None:
    """Follow all markets for so long."""
    exchange = ccxt.pro.bithumb({"newUpdates": True, "enableRateLimit": False})
    exchange.urls["api"]["ws"]["publicGen2"] = f"ws://{place}/websocket/v1"
    exchange.set_markets([_market(exchange, *name.split("-")) for name in names])
    lags_ms: list[float] = []
    has_trades = asyncio.Event()

    async def watch(symbol: str) -> None:
        while True:
            trades = await exchange.watch_trades(symbol)
            now_ms = time.time() * 1000
            lags_ms.extend(now_ms - trade["timestamp"] for trade in trades)
            has_trades.set()

    async def follow(watch_state: Callable[[str], Awaitable[object]], symbol: str) -> None:
        while True:
            await watch_state(symbol)

    states = (exchange.watch_order_book, exchange.watch_ticker) if is_everything else ()
    loops = [asyncio.create_task(follow(state, symbol)) for state in states for symbol in exchange.symbols]
    loops += [asyncio.create_task(watch(symbol)) for symbol in exchange.symbols]
    async with asyncio.timeout(_START_S):
        await has_trades.wait()
    print("running", flush=True)
    lags_ms.clear()
    await asyncio.wait(loops, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    for loop in loops:
        if loop.done():
            loop.result()
        loop.cancel()
    print(json.dumps(lags_ms), flush=True)
    with suppress(TimeoutError):  # it waits for the exchange's close frame, which ours does not send
        async with asyncio.timeout(_CLOSE_S):
            await exchange.close()


def _market(exchange: ccxt.pro.bithumb, quote: str, base: str) -> object:
    return exchange.safe_market_structure(
        {
            "id": f"{quote}-{base}", "symbol": f"{base}/{quote}", "base": base, "quote": quote,
            "baseId": base, "quoteId": quote, "type": "spot", "spot": True, "active": True,
            "precision": {"amount": 1e-8, "price": 1e-8},
        }
    )  # fmt: skip


if __name__ == "__main__":
    asyncio.run(
        main(sys.argv[1], sys.argv[2].split(","), float(sys.argv[3]), is_everything="everything" in sys.argv)
    )
