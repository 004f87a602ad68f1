"""Model releases: what they are, how far they are filled, and what can be done with them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import action, display

from retrieval import release_jobs, releases
from retrieval.admin.release_forms import CompareForm, FitForm, ImportForm, InstallForm, ReleaseForm
from retrieval.errors import RetrievalError
from retrieval.models import Release, ReleaseJob, SemanticClass
from retrieval.phrases import said
from retrieval.search.indexes import build_progress

SHOWN_TASKS = 8


class ClassInline(TabularInline):
    model = SemanticClass
    fields = ("index", "name", "name_zh", "swatch")
    readonly_fields = ("index", "name", "swatch")
    extra = 0
    tab = True

    def has_add_permission(self, request: HttpRequest, obj: Release | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Release | None = None) -> bool:
        return False

    @display(description=gettext_lazy("Colour"))
    def swatch(self, found: SemanticClass) -> SafeString:
        return format_html(
            '<span style="background:{}" class="inline-block w-6 h-4 rounded"></span>', found.colour
        )


@admin.register(Release)
class ReleaseAdmin(ModelAdmin):
    """Quick things are done at once; what takes long is asked for, and shown with its progress."""

    list_display = ("name", "network", "label_set", "shown_state", "progress", "created_at")
    search_fields = ("name",)
    inlines = (ClassInline,)
    list_before_template = "admin/release_tasks.html"
    actions_list = ("import_checkpoint", "install_published", "roll_back")
    actions_row = (
        "fill_release",
        "promote_release",
        "fit_release",
        "compare_release",
        "retire_one",
    )
    actions = None

    def get_urls(self) -> list[URLPattern]:
        tasks = path(
            "tasks/", self.admin_site.admin_view(self.tasks), name="retrieval_release_tasks"
        )
        return [tasks, *super().get_urls()]

    def get_readonly_fields(self, request: HttpRequest, obj: Release | None = None) -> list[str]:
        return [field.name for field in Release._meta.fields]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Release | None = None) -> bool:
        return False

    def has_manage_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return request.user.has_perm("retrieval.change_release")

    # --- what is shown -------------------------------------------------------------------------

    @display(
        description=gettext_lazy("State"),
        label={"active": "success", "filling": "info", "retired": ""},
    )
    def shown_state(self, release: Release) -> str:
        return release.state

    @display(description=gettext_lazy("Filled"))
    def progress(self, release: Release) -> SafeString:
        state = releases.filled(release)
        return format_html(
            '<progress value="{}" max="{}"></progress> {} / {}',
            state.ended,
            state.images or 1,
            state.ended,
            state.images,
        )

    def tasks(self, request: HttpRequest) -> HttpResponse:
        """The part of the list that a page loads anew while something runs."""
        if not self.has_view_permission(request):
            return HttpResponse(status=403)
        return TemplateResponse(request, "admin/_release_tasks.html", self._tasks())

    def _tasks(self) -> dict[str, Any]:
        jobs = ReleaseJob.objects.select_related("release", "asked_by").defer("sheet")
        filling = [releases.filled(r) for r in Release.objects.filter(state="filling")]
        shown = list(jobs[:SHOWN_TASKS])
        busy = any(job.state == "queued" for job in shown)
        return {
            "tasks": shown,
            "filling": filling,
            "building": build_progress(),
            "busy": busy or any(f.images - f.missing > f.ended for f in filling),
        }

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> Any:
        return super().changelist_view(request, {**(extra_context or {}), **self._tasks()})

    # --- what can be done ----------------------------------------------------------------------

    def _ask(self, request: HttpRequest, form: ReleaseForm, title: str) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "form": form,
            "opts": self.model._meta,
        }
        return TemplateResponse(request, "admin/release_form.html", context)

    def _back(self) -> HttpResponse:
        return redirect(reverse("admin:retrieval_release_changelist"))

    def _queued(self, request: HttpRequest) -> HttpResponse:
        messages.success(request, _("Asked for; how far it is stands below."))
        return self._back()

    def _at_once(self, request: HttpRequest, does: Any, text: str) -> HttpResponse:
        """Do something quick; `text` is shown with what it gave."""
        try:
            messages.success(request, text % {"result": does()})
        except RetrievalError as error:
            messages.error(request, said(error.message))
        return self._back()

    def _form(
        self, request: HttpRequest, kind: type[ReleaseForm], what: str, title: str, **fixed: Any
    ) -> HttpResponse:
        """Show a form, or ask for the task that it describes."""
        form = kind(request.POST or None, request.FILES or None, **fixed)
        if request.method != "POST" or not form.is_valid():
            return self._ask(request, form, title)
        release_jobs.ask(what, request.user, form.release, **form.parameters())  # type: ignore[arg-type]
        return self._queued(request)

    @action(description=gettext_lazy("Import a checkpoint"), permissions=["manage"], icon="upload")
    def import_checkpoint(self, request: HttpRequest) -> HttpResponse:
        return self._form(request, ImportForm, "import", _("Import a checkpoint"))

    @action(
        description=gettext_lazy("Install a published model"),
        permissions=["manage"],
        icon="download",
    )
    def install_published(self, request: HttpRequest) -> HttpResponse:
        return self._form(request, InstallForm, "install", _("Install a published model"))

    @action(description=gettext_lazy("Roll back"), permissions=["manage"], icon="undo")
    def roll_back(self, request: HttpRequest) -> HttpResponse:
        form = ReleaseForm(request.POST or None)
        if request.method != "POST":
            return self._ask(request, form, _("Go back to the release before?"))
        return self._at_once(
            request, lambda: releases.rollback()[0].name, _("%(result)s answers again.")
        )

    def _one(self, object_id: Any) -> Release:
        return get_object_or_404(Release, pk=object_id)

    @action(description=gettext_lazy("Fill"), permissions=["manage"])
    def fill_release(self, request: HttpRequest, object_id: int) -> HttpResponse:
        release = self._one(object_id)
        if request.method != "POST":
            return self._ask(request, ReleaseForm(), _("Parse all pictures with %s?") % release)
        text = _("%(result)d pictures are queued, behind all uploads.")
        return self._at_once(request, lambda: releases.fill(release), text)

    @action(description=gettext_lazy("Promote"), permissions=["manage"])
    def promote_release(self, request: HttpRequest, object_id: int) -> HttpResponse:
        release = self._one(object_id)
        title = _("Let %s answer all searches?") % release
        return self._form(request, ReleaseForm, "promote", title, release=release)

    @action(description=gettext_lazy("Fit"), permissions=["manage"])
    def fit_release(self, request: HttpRequest, object_id: int) -> HttpResponse:
        release = self._one(object_id)
        title = _("Fit the whitening of %s on stored pictures") % release
        return self._form(request, FitForm, "fit", title, release=release)

    @action(description=gettext_lazy("Compare…"), permissions=["manage"])
    def compare_release(self, request: HttpRequest, object_id: int) -> HttpResponse:
        release = self._one(object_id)
        title = _("Compare %s with another release") % release
        return self._form(request, CompareForm, "compare", title, release=release)

    @action(description=gettext_lazy("Retire"), permissions=["manage"])
    def retire_one(self, request: HttpRequest, object_id: int) -> HttpResponse:
        release = self._one(object_id)
        title = _("Retire %s? Its masks and vectors stay, so it can be gone back to.") % release
        return self._form(request, ReleaseForm, "retire", title, release=release)


@admin.register(ReleaseJob)
class ReleaseJobAdmin(ModelAdmin):
    """Tasks that were asked for, with what came of them."""

    list_display = ("kind", "release", "shown_state", "asked_by", "asked_at", "finished_at")
    list_select_related = ("release", "asked_by")
    fields: tuple[str, ...] = (
        "kind",
        "release",
        "state",
        "error_detail",
        "outcome",
        "differences",
        "asked_by",
        "asked_at",
        "finished_at",
    )
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[ReleaseJob]:
        return super().get_queryset(request).defer("sheet")

    def get_urls(self) -> list[URLPattern]:
        sheet = path(
            "<int:pk>/sheet.png",
            self.admin_site.admin_view(self.sheet),
            name="retrieval_releasejob_sheet",
        )
        return [sheet, *super().get_urls()]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def sheet(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The picture of a comparison."""
        job = get_object_or_404(ReleaseJob, pk=pk, sheet__isnull=False)
        if not self.has_view_permission(request, job):
            return HttpResponse(status=403)
        return HttpResponse(bytes(job.sheet or b""), content_type="image/png")

    @display(
        description=gettext_lazy("State"),
        label={"queued": "info", "done": "success", "failed": "danger"},
    )
    def shown_state(self, job: ReleaseJob) -> str:
        return job.state

    @display(description=gettext_lazy("Result"))
    def outcome(self, job: ReleaseJob) -> SafeString | str:
        shown = {k: v for k, v in job.result.items() if k not in ("metrics", "differences")}
        lines = (f"{key.replace('_', ' ')}: {_plain(value)}" for key, value in shown.items())
        return format_html('<span style="white-space:pre-line">{}</span>', "\n".join(lines))

    @display(description=gettext_lazy("Where they differ most"))
    def differences(self, job: ReleaseJob) -> SafeString | str:
        if job.kind != "compare" or job.state != "done":
            return "–"
        url = reverse("admin:retrieval_releasejob_sheet", args=[job.pk])
        text = _("photograph, first release, second release")
        return format_html('<figure><img src="{}" alt="{}"><p>{}</p></figure>', url, text, text)


def _plain(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
