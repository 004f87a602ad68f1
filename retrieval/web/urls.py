"""Routes of the pages."""

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from retrieval.web import search_views, views

urlpatterns = [
    path("", views.home, name="home"),
    path("sign-in", LoginView.as_view(redirect_authenticated_user=True), name="login"),
    path("sign-out", LogoutView.as_view(), name="logout"),
    path("collections", views.create_collection, name="create_collection"),
    path("collections/<int:pk>", views.collection, name="collection"),
    path("collections/<int:pk>/live", views.collection_live, name="collection_live"),
    path("collections/<int:pk>/upload", views.upload, name="upload"),
    path("images/<uuid:pk>", views.image, name="image"),
    path("images/<uuid:pk>/parse", views.parse_again, name="parse_again"),
    path("images/<uuid:pk>/delete", views.delete, name="delete"),
    path("images/<uuid:pk>/thumb-<int:side>.webp", views.thumb, name="thumb"),
    path("images/<uuid:pk>/original", views.original, name="original"),
    path("search", search_views.search_page, name="search"),
    path("search/upload", search_views.search_upload, name="search_upload"),
    path("palette.css", views.palette, name="palette"),
    path("healthz", views.health, name="health"),
]
