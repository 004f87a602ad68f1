"""The admin panel: a dashboard, and tables made for a million rows."""

from retrieval.admin import analyses, collections, images, people, releases

__all__ = ["analyses", "collections", "images", "people", "releases"]
