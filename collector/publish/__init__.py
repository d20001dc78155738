"""Handing batches to Celery: publisher, sender, probe of the queues, and the spool on disk."""
