"""The Celery application: `celery -A workers.app worker -Q bulk`."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "retrieval.settings")

import django

django.setup()

import psutil  # noqa: E402
from celery import Celery  # noqa: E402
from celery.signals import worker_shutting_down  # noqa: E402

from workers import config  # noqa: E402

app = Celery("paysage")
app.config_from_object(config)
app.autodiscover_tasks(["workers"])


@worker_shutting_down.connect
def stop_draining(**_: object) -> None:
    """Tell the child that parses: Celery's warm shutdown waits for its task, which would drain on."""
    for child in psutil.Process().children():
        child.terminate()  # `workers.pipeline` finishes the batch at hand and claims no other
