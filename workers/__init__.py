"""Celery workers: from queued rows to masks and vectors."""
