"""Root of all routes."""

from django.contrib import admin
from django.urls import include, path, re_path

from retrieval.api.errors import unknown_route
from retrieval.web.signing_in import throttled

handler500 = "retrieval.web.page.failed"
urlpatterns = [
    path("admin/login/", throttled(admin.site.login), name="admin_sign_in"),
    path("admin/", admin.site.urls),
    path("api/v1/", include("retrieval.api.urls")),
    re_path(r"^api(?:/.*)?$", unknown_route, name="unknown_route"),
    path("", include("retrieval.web.urls")),
]
