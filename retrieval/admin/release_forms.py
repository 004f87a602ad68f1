"""Forms of the tasks about releases; `parameters` are what `workers.releasing` is called with."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path
from typing import Any

from django import forms
from django.conf import settings
from django.utils.translation import gettext_lazy as _
from unfold.widgets import (
    UnfoldAdminFileFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from retrieval.errors import FieldInvalid
from retrieval.models import Collection, Release
from retrieval.phrases import said
from retrieval.releases import check_name
from segmentation import catalogue
from segmentation.labels import LABEL_SETS

LAYOUTS = ("auto", "mmseg", "semseg", "csail", "bubbliiiing")


class ReleaseForm(forms.Form):
    """No more than a confirmation."""

    def __init__(self, *args: Any, release: Release | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.release = release

    def parameters(self) -> dict[str, Any]:
        return {"name": self.release.name} if self.release else {}


def incoming(file: Any) -> str:
    """Keep an uploaded checkpoint where the worker that reads it finds it; its path."""
    folder = Path(settings.HOME) / "incoming"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{uuid.uuid4().hex}{Path(file.name).suffix[:16]}"
    with target.open("wb") as out:
        shutil.copyfileobj(file, out)
    return str(target)


class ImportForm(ReleaseForm):
    """A file that somebody trained or published."""

    file = forms.FileField(
        label=_("Checkpoint (.pth, .pt, .safetensors)"), widget=UnfoldAdminFileFieldWidget
    )
    decoder = forms.FileField(
        label=_("Second file, for the layout of CSAIL"),
        required=False,
        widget=UnfoldAdminFileFieldWidget,
    )
    labels = forms.ChoiceField(label=_("Label set"), widget=UnfoldAdminSelectWidget)
    layout = forms.ChoiceField(
        label=_("Layout"), choices=[(x, x) for x in LAYOUTS], widget=UnfoldAdminSelectWidget
    )
    name = forms.CharField(
        label=_("Name of the release"), max_length=100, widget=UnfoldAdminTextInputWidget
    )
    sha256 = forms.RegexField(
        r"^[0-9a-fA-F]{64}$",
        label=_("sha256 that the file must have, if you know it"),
        required=False,
        widget=UnfoldAdminTextInputWidget,
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["labels"].choices = [  # type: ignore[attr-defined]
            (name, f"{name} ({len(labels)})") for name, labels in LABEL_SETS.items()
        ]

    def clean_name(self) -> str:
        try:
            name = check_name(self.cleaned_data["name"])
        except FieldInvalid as error:
            raise forms.ValidationError(said(error.message)) from error
        if Release.objects.filter(name=name).exists():
            raise forms.ValidationError(_("There is a release of this name already."))
        return name

    def parameters(self) -> dict[str, Any]:
        values = self.cleaned_data
        decoder = incoming(values["decoder"]) if values["decoder"] else None
        return {
            "file": incoming(values["file"]),
            "decoder": decoder,
            "labels": values["labels"],
            "layout": values["layout"],
            "name": values["name"],
            "sha256": values["sha256"] or None,
        }


class InstallForm(ReleaseForm):
    """A model of the catalogue."""

    name = forms.ChoiceField(label=_("Model"), widget=UnfoldAdminSelectWidget)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        present = set(Release.objects.values_list("name", flat=True))
        self.fields["name"].choices = [  # type: ignore[attr-defined]
            (one.name, f"{one.title} · mIoU {one.miou} · {one.about_bytes / 1e6:.0f} MB")
            for one in catalogue.entries()
            if one.name not in present
        ]

    def parameters(self) -> dict[str, Any]:
        return {"name": self.cleaned_data["name"]}


class FitForm(ReleaseForm):
    """How many pictures, and which."""

    images = forms.IntegerField(
        label=_("Pictures"),
        initial=500,
        min_value=50,
        max_value=5000,
        widget=UnfoldAdminIntegerFieldWidget,
    )
    seed = forms.IntegerField(
        label=_("Seed"), initial=0, min_value=0, widget=UnfoldAdminIntegerFieldWidget
    )

    def parameters(self) -> dict[str, Any]:
        return {**super().parameters(), **self.cleaned_data}


class CompareForm(ReleaseForm):
    """With which release, and on what."""

    other = forms.ModelChoiceField(
        Release.objects.all(), label=_("With"), widget=UnfoldAdminSelectWidget, empty_label=None
    )
    collection = forms.ModelChoiceField(
        Collection.objects.filter(kind="normal"),
        label=_("On the collection"),
        required=False,
        empty_label=_("all pictures"),
        widget=UnfoldAdminSelectWidget,
    )
    images = forms.IntegerField(
        label=_("Pictures"),
        initial=200,
        min_value=2,
        max_value=5000,
        widget=UnfoldAdminIntegerFieldWidget,
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        others = Release.objects.exclude(pk=self.release.pk if self.release else 0)
        self.fields["other"].queryset = others  # type: ignore[attr-defined]

    def parameters(self) -> dict[str, Any]:
        values = self.cleaned_data
        chosen = values["collection"]
        return {
            **super().parameters(),
            "other": values["other"].name,
            "collection": chosen.name if chosen else None,
            "images": values["images"],
        }
