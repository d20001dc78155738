"""Alerts: rules over committed market data, and messages to people when one of them applies."""
