"""Paysage's Django project and app: storage, search, pages and API. Never imports torch."""
