"""Small helpers that have no floor of their own."""
