"""Collect Bithumb market data: every trade counted exactly once, every loss said aloud."""

__version__ = "0.1.0"
