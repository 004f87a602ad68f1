"""Checkpoints of strangers: the four published layouts answer as their own code does; bad ones are refused.

What is compared with was recorded from the publishers' programs by benchmarks/parity/record.py.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from segmentation.checkpoints import ImportOptions, import_checkpoint
from segmentation.checkpoints.certify import outputs
from segmentation.errors import CheckpointError, ConfigError
from segmentation.inference import InferenceRule, windows
from segmentation.labels import LABEL_SETS
from segmentation.manifest import Manifest
from segmentation.predict import Parser
from segmentation.resample import bilinear_uint8
from segmentation.scenes import render
from segmentation.whiten import fit_whitening, store_whitening
from tests import published
from tests.conftest import ROOT

RECORDED = Path(__file__).parent / "data" / "published"
SCENE = render(5, size=(96, 72)).image


@pytest.mark.parametrize("layout", published.LABELS)
def test_a_published_layout_answers_as_its_own_code(layout, tmp_path):
    files = published.write(layout, tmp_path)
    decoder = files[1] if len(files) > 1 else None
    path = import_checkpoint(
        files[0], labels=published.LABELS[layout], target_dir=tmp_path / "out", decoder=decoder
    )
    manifest = Manifest.load(path)
    assert manifest.source["layout"] == layout.removesuffix("-b")
    assert [file["file"] for file in manifest.source["files"]] == [file.name for file in files]
    for file in files:
        file.unlink()  # nothing but the safetensors is needed from here on
    published.shrink(layout, path)
    parser, scene = Parser.load(path, "cpu", exact=True), published.scene(layout)
    with outputs(parser.network.classify) as logits:
        (parsed,) = parser.infer([parser.prepare(scene, scene.shape[:2])])
    recorded = json.loads((RECORDED / f"{layout}.json").read_text())
    assert (len(logits), list(logits[0].shape)) == (recorded["passes"], recorded["shape"])
    step = max(1, logits[0].numel() // 12)
    spread = logits[0].std().item()
    assert np.abs(logits[0].flatten()[::step][:12].numpy() - recorded["logits"]).max() < (
        1e-4 * max(1.0, spread)
    )
    mask = np.asarray(Image.open(RECORDED / f"{layout}.png"))
    assert (parsed.mask == mask).mean() > 0.999
    description = parser.describe(parsed)
    assert len(description.context) == manifest.context_width == parsed.features.shape[2]
    assert abs(np.linalg.norm(description.context) - 1) < 1e-5


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """A checkpoint that is quick to read."""
    return published.write("bubbliiiing", tmp_path_factory.mktemp("small"))[0]


def state_of(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)


def take(file: Path, folder: Path, **options: object) -> Path:
    values: dict[str, object] = {"labels": "voc", "target_dir": folder / "out", **options}
    return import_checkpoint(file, **values)  # type: ignore[arg-type]


def refused(file: Path, folder: Path, says: str, **options: object) -> None:
    with pytest.raises(CheckpointError, match=says):
        take(file, folder, **options)
    assert not list((folder / "out").glob("*")), "a refused checkpoint left files"


# --- hostile files ---------------------------------------------------------------------------


class Touch:
    """Unpickled, it runs a command."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.sentinel}",)


class Evaluate(Touch):
    def __reduce__(self) -> tuple[object, ...]:
        return eval, (f"open({str(self.sentinel)!r}, 'w')",)


class Roundabout(Touch):
    def __reduce__(self) -> tuple[object, ...]:
        return functools.partial(open, str(self.sentinel)), ("w",)


def hostile(kind: str, sentinel: Path, small: Path, path: Path) -> None:
    """A file that would create `sentinel` if anything in it were executed."""
    if kind == "bare pickle":
        path.write_bytes(pickle.dumps({"state_dict": Touch(sentinel)}))
    elif kind == "old protocol":
        path.write_bytes(pickle.dumps(Evaluate(sentinel), protocol=0))
    elif kind == "beside good weights":
        torch.save({"state_dict": state_of(small), "meta": Touch(sentinel)}, path)
    elif kind == "among the weights":
        torch.save({**state_of(small), "backbone.hook": Evaluate(sentinel)}, path)
    elif kind == "format of 2019":
        content = {"state_dict": state_of(small), "epoch": Roundabout(sentinel)}
        torch.save(content, path, _use_new_zipfile_serialization=False)
    else:
        path.write_bytes(pickle.dumps(Touch(sentinel)))  # "called safetensors"


@pytest.mark.parametrize(
    "kind",
    [
        "bare pickle",
        "old protocol",
        "beside good weights",
        "among the weights",
        "format of 2019",
        "called safetensors",
    ],
)
def test_a_malicious_pickle_leaves_no_trace(kind, small, tmp_path):
    sentinel = tmp_path / "sentinel"
    path = tmp_path / f"evil.{'safetensors' if kind.startswith('called') else 'pth'}"
    hostile(kind, sentinel, small, path)
    refused(path, tmp_path, "evil")
    assert not sentinel.exists()
    if kind != "called safetensors":  # the file is armed: read carelessly, it does strike
        with contextlib.suppress(Exception):
            torch.load(path, weights_only=False)
        assert sentinel.exists()


def test_the_reason_names_what_would_have_been_called(small, tmp_path):
    path = tmp_path / "evil.pth"
    hostile("beside good weights", tmp_path / "sentinel", small, path)
    refused(path, tmp_path, r"would call \w*\.system.*bare weights")


# --- broken and unfitting files --------------------------------------------------------------


@pytest.mark.parametrize("kept", [0, 3, 1000, 0.5, 0.999])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_file_is_refused(kept, zipped, small, tmp_path):
    whole = small
    if not zipped:
        whole = tmp_path / "old.pth"
        torch.save(state_of(small), whole, _use_new_zipfile_serialization=False)
    data = whole.read_bytes()
    path = tmp_path / "cut.pth"
    path.write_bytes(data[: int(kept * len(data)) if isinstance(kept, float) else kept])
    refused(path, tmp_path, "cut off|empty|no checkpoint|not a torch")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"<html>404 Not Found</html>", "no checkpoint of weights"),
        (b"PK\x03\x04nothing", "cut off"),
    ],
)
def test_what_is_no_checkpoint_is_refused(content, says, tmp_path):
    path = tmp_path / "page.pth"
    path.write_bytes(content)
    refused(path, tmp_path, says)
    refused(tmp_path / "absent.pth", tmp_path, "no file")


def test_wrong_digest_classes_and_names_are_refused(small, tmp_path):
    refused(small, tmp_path, "sha256 is", sha256="0" * 64)
    refused(small, tmp_path, "has 21 classes.*'cityscapes' has 19.*21: voc", labels="cityscapes")
    refused(small, tmp_path, "known are", labels="vox")
    refused(small, tmp_path, "use --layout bubbliiiing", layout="mmseg")
    refused(small, tmp_path, "no layout", layout="caffe")
    refused(small, tmp_path, "no name for weights", name="../evil")
    path = tmp_path / "named.pth"
    table = published.filled(published.mmseg(7))
    torch.save({"meta": {"CLASSES": [f"organ {n}" for n in range(7)]}, "state_dict": table}, path)
    refused(path, tmp_path, "names its classes organ 0", labels="loveda")


def changed(small: Path, folder: Path, change: object) -> Path:
    state = dict(state_of(small))
    change(state)  # type: ignore[operator]
    path = folder / "changed.pth"
    torch.save(state, path)
    return path


BOTTLENECK = "master_branch.0.bottleneck.0.weight"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.pop("backbone.features.5.conv.3.weight"), "Missing: 1 .backbone.features.5"),
        (lambda s: s.update(extra=torch.zeros(1)), "unexpected: 1 .extra"),
        (lambda s: s.pop("master_branch.1.weight"), "Not a whole PSPNet.*master_branch.1"),
        (lambda s: s.update({BOTTLENECK: torch.zeros(80, 640, 1, 1)}), "has shape .80, 640, 1, 1."),
        (lambda s: s[BOTTLENECK].fill_(torch.nan), "not finite"),
        (lambda s: s.clear(), "no weights"),
    ],
)
def test_keys_and_shapes_that_do_not_fit_are_named(change, says, small, tmp_path):
    refused(changed(small, tmp_path, change), tmp_path, says)


def test_other_networks_are_told_apart(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"decode_head.aspp_modules.0.conv.weight": torch.zeros(1)}, path)
    refused(path, tmp_path, "not of a PSPNet")
    torch.save(published.filled(published.csail_encoder()), path)
    refused(path, tmp_path, "--decoder FILE", labels="ade20k")
    refused(path, tmp_path, "share no key", labels="ade20k", decoder=path)
    torch.save({"conv1.bias": torch.zeros(1)}, path)
    refused(path, tmp_path, "None of the layouts")


# --- what an import gives --------------------------------------------------------------------


def test_safetensors_are_taken_and_options_kept(small, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(state_of(small), path)
    options = ImportOptions(output_stride=8, terms="research only", metrics={"miou": 0.5})
    manifest = Manifest.load(take(path, tmp_path, name="mine", options=options))
    assert (manifest.name, manifest.terms, manifest.metrics) == (
        "mine",
        "research only",
        {"miou": 0.5},
    )
    parser = Parser.load(manifest.folder / "mine.json", "cpu")
    assert parser.network.backbone.output_stride == 8
    (found,) = parser.parse([parser.prepare(render(1).image)])
    assert found.mask.shape[1] == 473 and found.mask.max() < 21  # the letterbox's bars are cut off


def test_the_training_configuration_decides_where_it_is_stored():
    from segmentation.checkpoints.rules import rules_of, with_config_of

    text = "decode_head=dict(align_corners=True)\ntest_cfg=dict(mode='slide', crop_size=(769, 769))"
    options = with_config_of(ImportOptions(), {"meta": {"config": text}})
    assert options.align_corners and options.window_px == 769
    rules = rules_of("mmseg", "cityscapes", options)
    assert (rules.inference.window_px, rules.inference.stride_px) == (769, 513)
    assert (rules.input.short_px, rules.input.long_px) == (1025, 2049)
    assert rules_of("mmseg", "ade20k", ImportOptions(views="multi")).inference.flip
    single = [rules_of(name, "voc", ImportOptions(views="single")) for name in ("semseg", "csail")]
    assert all(not rule.inference.sizes and not rule.inference.window_px for rule in single)


def test_views_that_a_layout_does_not_have_are_refused_and_the_others_done():
    from segmentation.checkpoints.rules import rules_of

    many = rules_of("csail", "ade20k", ImportOptions(views="multi")).inference
    assert many.flip and len(many.sizes) == 5
    with pytest.raises(CheckpointError, match="--views"):
        rules_of("bubbliiiing", "voc", ImportOptions(views="multi"))
    with pytest.raises(CheckpointError, match="--window"):
        rules_of("csail", "ade20k", ImportOptions(window_px=473))


def test_multi_scale_and_flip_see_a_mirror_image_alike(small, tmp_path):
    from segmentation.checkpoints.rules import rules_of

    path = take(small, tmp_path, name="multi")
    values = json.loads(path.read_text())
    rules = rules_of("mmseg", "voc", ImportOptions(views="multi"))
    values["input"] = rules.input.to_json()
    values["inference"] = {**rules.inference.to_json(), "sizes": [[64, 512], [96, 512]]}
    path.write_text(json.dumps(values))
    parser = Parser.load(path, "cpu", exact=True)
    size = SCENE.shape[:2]
    one = parser.scores(parser.prepare(SCENE, size))
    other = parser.scores(parser.prepare(np.ascontiguousarray(SCENE[:, ::-1]), size)).flip(2)
    assert torch.allclose(one.sum(0), torch.ones(size), atol=1e-4)
    assert (one - other).abs().max() < 0.02 < one.std(0).max()


def test_a_fitted_whitening_is_stored_with_the_weights(small, tmp_path):
    path = take(small, tmp_path, name="fitted")
    before = Manifest.load(path)
    features = np.random.default_rng(0).random((30, before.context_width), np.float32)
    whitening = fit_whitening(features, width=16)
    after = store_whitening(path, whitening)
    assert (before.context_width, after.context_width) == (400, 16)
    assert after.weights_sha256 != before.weights_sha256
    parser = Parser.load(path, "cpu")
    (found,) = parser.parse([parser.prepare(SCENE)])
    assert found.context.shape == (16,) and found.regions[0].vector.shape == (16,)


def test_without_the_source_no_parity_is_claimed(small, tmp_path):
    Image.fromarray(SCENE).save(tmp_path / "photo.jpg")
    command = [sys.executable, "-m", "segmentation", "import", str(small), "--labels", "voc"]
    command += ["--out", str(tmp_path / "out"), "--certify", str(tmp_path), "--json"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    answer = json.loads(ran.stdout)
    assert answer["layout"] == "bubbliiiing" and answer["parity"]["made"] is False
    assert "no parity report was made" in ran.stderr
    command[4] = str(tmp_path / "photo.jpg")
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 2 and "Traceback" not in ran.stderr


# --- parts -----------------------------------------------------------------------------------


def test_label_sets_are_whole():
    sizes = {
        "ade20k": 150,
        "cityscapes": 19,
        "voc": 21,
        "coco_stuff": 171,
        "pascal_context_59": 59,
        "pascal_context_60": 60,
        "loveda": 7,
        "potsdam": 6,
        "isaid": 16,
        "starter": 20,
    }
    assert {name: len(labels) for name, labels in LABEL_SETS.items()} == sizes
    for labels in LABEL_SETS.values():
        assert len(set(labels.classes_zh)) == len(labels)
        assert all("一" <= name[0] <= "鿿" for name in labels.classes_zh)
        assert all(len(c) == 7 and int(c[1:], 16) >= 0 for c in labels.colours)
        assert all(name == name.strip().lower() for name in labels.classes)
    assert LABEL_SETS["ade20k"].offset == 1 and LABEL_SETS["cityscapes"].offset == 0


def test_windows_cover_a_picture_and_end_at_its_border():
    rule = InferenceRule(window_px=473, stride_px=316, upsample="window")
    boxes = list(windows(473, 1000, rule))
    assert [(box.top, box.left) for box in boxes] == [(0, 0), (0, 316), (0, 527)]
    assert [tuple(b) for b in windows(100, 80, rule)] == [(0, 0, 100, 80)]
    assert [tuple(b) for b in windows(100, 80, InferenceRule())] == [(0, 0, 100, 80)]
    with pytest.raises(ConfigError, match="stride_px"):
        InferenceRule(window_px=100, upsample="window")


def test_resizing_by_hand():
    image = np.repeat(np.array([[0, 100], [200, 255]], np.uint8)[..., None], 3, 2)
    assert bilinear_uint8(image, (1, 1))[0, 0, 0] == (0 + 100 + 200 + 255 + 2) // 4
    wide = bilinear_uint8(image, (2, 4))[..., 0]
    assert wide.tolist() == [[0, 25, 75, 100], [200, 214, 241, 255]]
