"""The app's registration."""

from django.apps import AppConfig


class RetrievalConfig(AppConfig):
    name = "retrieval"
    verbose_name = "Paysage"
    default_auto_field = "django.db.models.BigAutoField"
