"""A worker tells that it lives."""
