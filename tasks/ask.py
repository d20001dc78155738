"""`from tasks.ask import ask`: the documented path of `collector.broker.ask`."""

from collector.broker.ask import ask, result

__all__ = ["ask", "result"]
