"""Routes below /api/v1/."""

from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView

from retrieval.api import upload_views, views

app_name = "api"
urlpatterns = [
    path("tokens", views.TokenView.as_view(), name="tokens"),
    path("collections", views.CollectionsView.as_view(), name="collections"),
    path("images", views.ImagesView.as_view(), name="images"),
    path("images/<uuid:pk>", views.ImageView.as_view(), name="image"),
    path("images/<uuid:pk>/mask.png", views.MaskView.as_view(), name="mask"),
    path("uploads", upload_views.UploadsView.as_view(), name="uploads"),
    path("uploads/<uuid:pk>", upload_views.UploadView.as_view(), name="upload_part"),
    path("classes", views.ClassesView.as_view(), name="classes"),
    path("", include("retrieval.api.search_urls")),
    path("schema", SpectacularAPIView.as_view(), name="schema"),
]
