"""Paysage's Django project: records, people, search, pages and API. Imports neither torch nor workers."""
