"""Routes of searches and of what is measured of collections."""

from django.urls import path

from retrieval.api import insight_views, search_views

urlpatterns = [
    path("searches", search_views.SearchesView.as_view(), name="searches"),
    path("searches/explain", insight_views.ExplainView.as_view(), name="explain"),
    path("searches/words", insight_views.WordsView.as_view(), name="words"),
    path("searches/<uuid:pk>", search_views.SearchView.as_view(), name="search"),
]
