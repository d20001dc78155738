"""Collect Bithumb market data: every trade counted exactly once, every loss recorded as a gap."""

__version__ = "0.1.0"
