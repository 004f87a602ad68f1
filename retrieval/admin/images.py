"""Images, their tags, and actions on many of them."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from import_export import fields, resources
from import_export.admin import ExportActionMixin, ImportExportMixin
from import_export.widgets import ForeignKeyWidget
from unfold.admin import ModelAdmin, TabularInline
from unfold.contrib.filters.admin import (
    AutocompleteSelectFilter,
    ChoicesDropdownFilter,
    RangeDateTimeFilter,
)
from unfold.contrib.import_export.forms import ExportForm, ImportForm
from unfold.decorators import display
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from retrieval import bulk
from retrieval.admin.base import LargeTableAdmin
from retrieval.download import safe_cell
from retrieval.errors import RetrievalError
from retrieval.models import Analysis, ClassArea, Collection, Image, ImageTag, SemanticClass, Tag
from retrieval.phrases import said

STATE_LABELS = {
    "queued": "info",
    "running": "info",
    "done": "success",
    "rejected": "warning",
    "failed": "danger",
    "quarantined": "danger",
}


class ImageResource(resources.ModelResource):
    """Metadata as CSV: what people write about pictures, by id. Imports change rows, never add them."""

    collection = fields.Field(
        "collection", "collection", ForeignKeyWidget(Collection, "name"), readonly=True
    )
    tags = fields.Field(column_name="tags")

    class Meta:
        model = Image
        fields = ("id", "collection", "title", "taken_at", "tags", "metadata")
        export_order = fields
        skip_unchanged = True
        use_transactions = True

    def get_queryset(self) -> QuerySet[Image]:
        return Image.objects.select_related("collection").prefetch_related("tags")

    def dehydrate_tags(self, image: Image) -> str:
        return safe_cell(", ".join(sorted(tag.name for tag in image.tags.all())))

    def dehydrate_title(self, image: Image) -> str:
        return safe_cell(image.title)

    def before_import_row(self, row: dict[str, Any], **kwargs: Any) -> None:
        # What `safe_cell` put before a formula's sign on the way out is taken off on the way in.
        for key in ("title", "tags"):
            text = str(row.get(key) or "")
            if text[:1] == "'" and text[1:2] in ("=", "+", "-", "@"):
                row[key] = text[1:]

    def init_instance(self, row: Any = None) -> Image:
        """Called for rows whose id no picture has."""
        raise ValueError(_("There is no picture with this id."))

    def skip_row(
        self, instance: Image, original: Image, row: Any, import_validation_errors: Any = None
    ) -> bool:
        same = super().skip_row(instance, original, row, import_validation_errors)
        return "tags" not in row and same

    def after_save_instance(self, instance: Image, row: Any, **kwargs: Any) -> None:
        if "tags" in row and not kwargs.get("dry_run"):
            wanted = {name.strip() for name in str(row["tags"] or "").split(",") if name.strip()}
            present = set(instance.tags.values_list("name", flat=True))
            images = Image.objects.filter(pk=instance.pk)
            bulk.tag(kwargs["user"], images, wanted - present, present - wanted)


class MoveForm(forms.Form):
    to = forms.ModelChoiceField(
        Collection.objects.filter(kind="normal"),
        label=gettext_lazy("Into"),
        widget=UnfoldAdminSelectWidget,
    )


class TagForm(forms.Form):
    add = forms.CharField(
        label=gettext_lazy("Add, by comma"), required=False, widget=UnfoldAdminTextInputWidget
    )
    remove = forms.CharField(
        label=gettext_lazy("Take away, by comma"), required=False, widget=UnfoldAdminTextInputWidget
    )


class TagInline(TabularInline):
    model = ImageTag
    fields = ("tag",)
    raw_id_fields = ("tag",)
    extra = 0

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Image)
class ImageAdmin(ImportExportMixin, ExportActionMixin, LargeTableAdmin):
    """Pictures with thumbnail, mask, state and areas; actions reach the whole filter too."""

    resource_classes = [ImageResource]
    import_form_class = ImportForm
    export_form_class = ExportForm
    list_display = ("picture", "title", "collection", "shown_state", "size", "created_at")
    list_display_links = ("picture", "title")
    list_select_related = ("collection",)
    list_filter = (
        ("collection", AutocompleteSelectFilter),
        ("tags", AutocompleteSelectFilter),
        ("analyses__state", ChoicesDropdownFilter),
        ("created_at", RangeDateTimeFilter),
        "rendered",
    )
    search_fields = ("=id", "title__startswith", "=sha256")
    search_help_text = gettext_lazy("An id, a sha256, or the beginning of a title")
    ordering = ("-id",)
    fields = (
        "preview",
        "title",
        "collection",
        "uploader",
        "taken_at",
        "metadata",
        "areas",
        "facts",
    )
    readonly_fields = ("preview", "collection", "uploader", "areas", "facts")
    inlines = (TagInline,)
    actions = ("parse_again", "move", "tag", "delete_with_files")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # pictures come in through uploads, which store the file with the row

    def get_queryset(self, request: HttpRequest) -> QuerySet[Image]:
        active = Analysis.objects.filter(release__state="active")
        pictures = super().get_queryset(request).exclude(collection__kind="trash")
        return pictures.prefetch_related(Prefetch("analyses", active, to_attr="active_analyses"))

    def get_actions(self, request: HttpRequest) -> Any:
        actions = super().get_actions(request)
        actions.pop(
            "delete_selected", None
        )  # ours keeps files and rows together, and can be undone
        return actions

    def delete_model(self, request: HttpRequest, obj: Image) -> None:
        bulk.delete(request.user, Image.objects.filter(pk=obj.pk))

    # --- columns ------------------------------------------------------------------------------

    @display(description=gettext_lazy("Picture"))
    def picture(self, image: Image) -> SafeString | str:
        if not image.thumb_256:
            return "–"
        url = reverse("thumb", args=[image.pk, 256])
        return format_html(
            '<img src="{}" alt="" style="height:48px;width:auto" loading="lazy">', url
        )

    @display(description=gettext_lazy("State"), label=STATE_LABELS)
    def shown_state(self, image: Any) -> str:
        return image.active_analyses[0].state if image.active_analyses else ""

    @display(description=gettext_lazy("Size"))
    def size(self, image: Image) -> str:
        return f"{image.width_px} × {image.height_px}"

    @display(description=gettext_lazy("Picture and mask"))
    def preview(self, image: Image) -> SafeString | str:
        if not image.thumb_1024:
            return "–"
        return format_html(
            '<a href="{}"><img src="{}" alt="" style="display:inline;height:240px;width:auto"> '
            '<img src="{}" alt="" style="display:inline;height:240px;width:auto"></a>',
            reverse("image", args=[image.pk]),
            reverse("thumb", args=[image.pk, 1024]),
            reverse("api:mask", args=[image.pk]),
        )

    @display(description=gettext_lazy("Areas"))
    def areas(self, image: Image) -> str:
        rows = ClassArea.objects.filter(image=image, release__state="active").order_by("-fraction")
        classes = SemanticClass.objects.filter(release__state="active")
        names = dict(classes.values_list("index", "name"))
        shown = (f"{names[row.class_index]} {100 * row.fraction:.1f} %" for row in rows)
        return ", ".join(shown) or "–"

    @display(description=gettext_lazy("File"))
    def facts(self, image: Image) -> str:
        return f"{image.format}, {image.size_bytes:,} bytes, sha256 {image.sha256}"

    # --- actions ------------------------------------------------------------------------------

    @admin.action(description=gettext_lazy("Parse again"))
    def parse_again(self, request: HttpRequest, queryset: QuerySet[Image]) -> None:
        count = bulk.parse_again(request.user, queryset)
        text = ngettext("%(n)d picture is parsed again.", "%(n)d pictures are parsed again.", count)
        messages.success(request, text % {"n": count})

    @admin.action(description=gettext_lazy("Delete with files"))
    def delete_with_files(self, request: HttpRequest, queryset: QuerySet[Image]) -> Any:
        if "confirmed" not in request.POST:
            title = _("Delete pictures with their files?")
            return self._ask(request, queryset, "delete_with_files", None, title)
        count, _key = bulk.delete(request.user, queryset)
        messages.success(request, _("%(n)d pictures deleted.") % {"n": count})
        return None

    @admin.action(description=gettext_lazy("Move…"))
    def move(self, request: HttpRequest, queryset: QuerySet[Image]) -> Any:
        form = MoveForm(request.POST if "confirmed" in request.POST else None)
        if not form.is_valid():
            return self._ask(request, queryset, "move", form, _("Move pictures"))
        try:
            moved = bulk.move(request.user, queryset, form.cleaned_data["to"])
        except RetrievalError as error:
            messages.error(request, said(error.message))
            return None
        text = _("%(n)d pictures moved, %(same)d are there already.")
        messages.success(request, text % {"n": moved.moved, "same": moved.duplicates})
        return None

    @admin.action(description=gettext_lazy("Tag…"))
    def tag(self, request: HttpRequest, queryset: QuerySet[Image]) -> Any:
        form = TagForm(request.POST if "confirmed" in request.POST else None)
        if not form.is_valid():
            return self._ask(request, queryset, "tag", form, _("Tag pictures"))
        add, remove = (form.cleaned_data[key].split(",") for key in ("add", "remove"))
        count = bulk.tag(request.user, queryset, add, remove)
        messages.success(request, _("%(n)d pictures tagged.") % {"n": count})
        return None

    def _ask(
        self,
        request: HttpRequest,
        queryset: QuerySet[Image],
        action: str,
        form: forms.Form | None,
        title: str,
    ) -> HttpResponse:
        """A page between an action and its doing; the selection travels through it."""
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "form": form,
            "action": action,
            "opts": self.model._meta,
            "selected": request.POST.getlist(ACTION_CHECKBOX_NAME),
            "across": request.POST.get("select_across", "0"),
            "count": queryset.order_by()[:10_001].count(),
            "checkbox": ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, "admin/bulk_form.html", context)


@admin.register(Tag)
class TagAdmin(ModelAdmin):
    list_display = ("name", "collection")
    list_select_related = ("collection",)
    list_filter = (("collection", AutocompleteSelectFilter),)
    list_filter_submit = True
    search_fields = ("name__startswith",)
    autocomplete_fields = ("collection",)
