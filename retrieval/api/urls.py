"""Routes below /api/v1/."""

from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView

from retrieval.api import (
    bulk_views,
    collection_views,
    finding_views,
    image_views,
    job_views,
    mask_views,
    system_views,
    token_views,
    upload_endpoint,
    upload_views,
    webhook_views,
)

app_name = "api"
_collections = [
    path("collections", collection_views.CollectionsView.as_view(), name="collections"),
    path("collections/<int:pk>", collection_views.CollectionView.as_view(), name="collection"),
    path("collections/<int:pk>/members", collection_views.MembersView.as_view(), name="members"),
    path(
        "collections/<int:pk>/members/<str:username>",
        collection_views.MemberView.as_view(),
        name="member",
    ),
]
_images = [
    path("images", image_views.ImagesView.as_view(), name="images"),
    path("images/bulk", bulk_views.BulkView.as_view(), name="bulk"),
    path("undo/<uuid:key>", bulk_views.UndoView.as_view(), name="undo"),
    path("archives", upload_endpoint.ArchivesView.as_view(), name="archives"),
    path("uploads", upload_views.UploadsView.as_view(), name="uploads"),
    path("uploads/<uuid:pk>", upload_views.UploadView.as_view(), name="upload_part"),
    path("images/<uuid:pk>", image_views.ImageView.as_view(), name="image"),
    path("images/<uuid:pk>/analysis", finding_views.AnalysisView.as_view(), name="analysis"),
    path("images/<uuid:pk>/analysis/retry", finding_views.RetryView.as_view(), name="retry"),
    path("images/<uuid:pk>/areas", finding_views.AreasView.as_view(), name="areas"),
    path("images/<uuid:pk>/regions", finding_views.RegionsView.as_view(), name="regions"),
    path("images/<uuid:pk>/vectors", finding_views.VectorsView.as_view(), name="vectors"),
    path("images/<uuid:pk>/similar", finding_views.SimilarView.as_view(), name="similar"),
    path("images/<uuid:pk>/mask.png", mask_views.MaskView.as_view(), name="mask"),
    path("images/<uuid:pk>/mask/rle", mask_views.RunLengthView.as_view(), name="mask_rle"),
    path("images/<uuid:pk>/mask/polygons", mask_views.PolygonsView.as_view(), name="polygons"),
]
_webhooks = [
    path("webhooks", webhook_views.WebhooksView.as_view(), name="webhooks"),
    path("webhooks/<int:pk>", webhook_views.WebhookView.as_view(), name="webhook"),
    path("webhooks/<int:pk>/deliveries", webhook_views.DeliveriesView.as_view(), name="deliveries"),
]
urlpatterns = [
    path("tokens", token_views.TokensView.as_view(), name="tokens"),
    path("tokens/<int:pk>", token_views.TokenView.as_view(), name="token"),
    path("me", token_views.MeView.as_view(), name="me"),
    *_collections,
    *_images,
    path("", include("retrieval.api.search_urls")),
    path("jobs", job_views.JobsView.as_view(), name="jobs"),
    path("jobs/summary", job_views.JobSummaryView.as_view(), name="job_summary"),
    path("jobs/retry", job_views.JobRetryView.as_view(), name="job_retry"),
    *_webhooks,
    path("classes", system_views.ClassesView.as_view(), name="classes"),
    path("health", system_views.HealthView.as_view(), name="health"),
    path("schema", SpectacularAPIView.as_view(), name="schema"),
    path("docs", system_views.docs, name="docs"),
]
