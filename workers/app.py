"""The Celery application: `celery -A workers.app worker -Q bulk`."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "retrieval.settings")

import django

django.setup()

from celery import Celery  # noqa: E402

from workers import config  # noqa: E402

app = Celery("paysage")
app.config_from_object(config)
app.autodiscover_tasks(["workers"])
