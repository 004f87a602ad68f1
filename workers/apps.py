"""The app's registration: its management commands may use torch."""

from django.apps import AppConfig


class WorkersConfig(AppConfig):
    name = "workers"
