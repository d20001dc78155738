"""Results in Redis: keys, scripts, how they are written and read. No Celery."""
