"""A local Bithumb: WebSocket and REST on one port, with the exchange's observed behaviour.

For the demo, the tests and anyone who writes against Bithumb without a line to it:

    async with Simulator(SimulatorOptions(markets=30, rate=200)) as exchange:
        print(exchange.websocket_url, exchange.rest_url)

`model` invents trades, books and tickers (pure, seeded); `current` and `legacy` put them into the exchange's
words; `rest` answers the REST calls; `server` does the input and output; `player` plays recordings instead;
`faults` is what goes wrong and when; `proxy` breaks TCP itself.
"""

from collector.simulator.options import SimulatorOptions
from collector.simulator.server import Simulator, serve

__all__ = ["Simulator", "SimulatorOptions", "serve"]
