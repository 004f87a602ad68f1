"""Root of all routes."""

from django.contrib import admin
from django.urls import include, path, re_path

from retrieval.api.errors import unknown_route

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/v1/", include("retrieval.api.urls")),
    re_path(r"^api(?:/.*)?$", unknown_route, name="unknown_route"),
    path("", include("retrieval.web.urls")),
]
