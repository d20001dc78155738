"""The analyses by name: what they are asked with, what they read, what they answer.

Their formulas are in `collector.analytics`; `tasks.analysis` makes Celery tasks of them.
"""
