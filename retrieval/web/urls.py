"""Routes of the pages."""

from django.contrib.auth.views import LogoutView
from django.urls import include, path, re_path
from django.views.decorators.cache import cache_control
from django.views.i18n import JavaScriptCatalog

from retrieval.web import account, explore, gallery, health, home, image, jobs, media, search_views
from retrieval.web.signing_in import SignIn, throttled

words = cache_control(private=True, max_age=300)(JavaScriptCatalog.as_view(packages=["retrieval"]))

urlpatterns = [
    path("", home.home, name="home"),
    path("sign-in", throttled(SignIn.as_view()), name="login"),
    path("sign-out", LogoutView.as_view(), name="logout"),
    path("account", account.account, name="account"),
    path("account/tokens/<int:pk>/revoke", account.revoke, name="revoke_token"),
    path("collections", home.create_collection, name="create_collection"),
    path("collections/<int:pk>", gallery.collection, name="collection"),
    path("collections/<int:pk>/explore", explore.explore, name="explore"),
    path("collections/<int:pk>/alike", explore.alike, name="alike"),
    path("collections/<int:pk>/live", gallery.live, name="collection_live"),
    path("collections/<int:pk>/upload", gallery.upload, name="upload"),
    path("collections/<int:pk>/download", gallery.download, name="download"),
    re_path(
        r"^collections/(?P<pk>[0-9]+)/(?P<action>tag|move|parse|delete)$", gallery.act, name="act"
    ),
    path("undo/<uuid:key>", gallery.undo, name="undo"),
    path("images/<uuid:pk>", image.image, name="image"),
    path("images/<uuid:pk>/explained", image.explained, name="explained"),
    path("images/<uuid:pk>/explained/state", image.explained_state, name="explained_state"),
    path("images/<uuid:pk>/stages/<slug:key>.png", media.stage, name="stage"),
    path("images/<uuid:pk>/parts", search_views.parts, name="parts"),
    path("images/<uuid:pk>/parse", image.parse_again, name="parse_again"),
    path("images/<uuid:pk>/delete", image.delete, name="delete"),
    path("images/<uuid:pk>/thumb-<int:side>.webp", media.thumb, name="thumb"),
    path("images/<uuid:pk>/original", media.original, name="original"),
    path("jobs", jobs.index, name="jobs"),
    path("jobs/retry", jobs.retry, name="retry_jobs"),
    path("search", search_views.search_page, name="search"),
    path("search/upload", search_views.search_upload, name="search_upload"),
    path("palette.css", media.palette, name="palette"),
    path("words.js", words, name="words"),
    path("i18n/", include("django.conf.urls.i18n")),
    path("healthz", health.health, name="health"),
]
