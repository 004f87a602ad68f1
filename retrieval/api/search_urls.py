"""Routes of searches and of what is measured of collections."""

from django.urls import path

from retrieval.api import chart_views, insight_views, saved_views, search_views

urlpatterns = [
    path("searches", search_views.SearchesView.as_view(), name="searches"),
    path("searches/explain", insight_views.ExplainView.as_view(), name="explain"),
    path("searches/words", insight_views.WordsView.as_view(), name="words"),
    path("searches/count", chart_views.CountView.as_view(), name="count"),
    path("searches/histograms", chart_views.HistogramsView.as_view(), name="histograms"),
    path("searches/layout", chart_views.LayoutView.as_view(), name="layout"),
    path("searches/saved", saved_views.SavedSearchesView.as_view(), name="saved_searches"),
    path("searches/saved/<int:pk>", saved_views.SavedSearchView.as_view(), name="saved_search"),
    path(
        "searches/saved/<int:pk>/answer",
        saved_views.SavedSearchAnswerView.as_view(),
        name="saved_answer",
    ),
    path("searches/<uuid:pk>", search_views.SearchView.as_view(), name="search"),
    path("charts", chart_views.ChartsView.as_view(), name="charts"),
    path("collections/<int:pk>/map", chart_views.MapView.as_view(), name="map"),
    path(
        "collections/<int:pk>/duplicates", saved_views.DuplicatesView.as_view(), name="duplicates"
    ),
    path("duplicates/<int:pk>", saved_views.DuplicateView.as_view(), name="duplicate"),
]
