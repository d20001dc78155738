"""Celery as a client has it: settings, transport, and questions to the workers."""
