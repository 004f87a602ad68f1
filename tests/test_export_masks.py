"""From parsed pictures back to training data."""

from __future__ import annotations

import json

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from PIL import Image as Pillow

from retrieval.models import ClassArea
from segmentation.datasets import open_pictures
from segmentation.labels import load_label_set
from tests.conftest import await_final, encoded, scene, store

pytestmark = pytest.mark.django_db(transaction=True)


def test_exported_masks_are_what_training_reads(collection, worker, tmp_path, capsys):
    images = [store(collection, encoded(scene(seed, (480, 360))), f"{seed}.jpg") for seed in (1, 2)]
    for image in images:
        assert await_final(image).state == "done"
    out = tmp_path / "out"
    options = {"collection": "Meadows", "out": out, "json": True}
    call_command("export_masks", **options)
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["images"] == 2 and said["release"] == "starter"

    labels = load_label_set(out / "labels.json")
    pictures = open_pictures(out, ["."], "folder", labels)
    assert len(pictures) == 2 and len(labels) == 20
    for pair, (pixels, mask) in zip(pictures.pairs, pictures, strict=True):
        with Pillow.open(pair.image) as picture:
            assert not picture.getexif() and pixels.shape[:2] == mask.shape
        counts = np.bincount(mask.ravel(), minlength=20) / mask.size
        areas = ClassArea.objects.filter(image_id=pair.image.stem)
        for area in areas:
            assert counts[area.class_index] == pytest.approx(area.fraction, abs=0.02)

    with pytest.raises(CommandError, match="not an empty folder"):
        call_command("export_masks", **options)
    with pytest.raises(CommandError, match="no such mask"):
        call_command("export_masks", collection="Nowhere", out=tmp_path / "other")
    with pytest.raises(CommandError, match="no release 'x'"):
        call_command("export_masks", collection="Meadows", out=tmp_path / "other", release="x")
    assert not (tmp_path / "other").exists()
