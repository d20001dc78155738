"""From trades, tickers and books to what people ask for. Pure: no Redis, no clock, no Celery."""
