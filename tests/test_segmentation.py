"""The network, its training, its descriptions and its command line, without Django's part."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segmentation.backbones import BACKBONES
from segmentation.datasets import Augmentation, augment, find_pairs, read_pair
from segmentation.describe import ParsedPicture, Whitening, describe
from segmentation.errors import ConfigError, DatasetError, WeightsError
from segmentation.fused import fuse_batch_norms
from segmentation.labels import STARTER
from segmentation.manifest import Manifest
from segmentation.metrics import Confusion
from segmentation.predict import Parser
from segmentation.pspnet import NetworkConfig, PSPNet
from segmentation.scenes import KINDS, render
from segmentation.training import load_config
from segmentation.whiten import fit_whitening
from tests.conftest import ROOT, scene


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("stride", [8, 16])
def test_every_backbone_keeps_its_stride(name, stride):
    network = PSPNet(NetworkConfig(name, 7, output_stride=stride, width=32)).eval()
    with torch.inference_mode():
        maps = network(torch.randn(1, 3, 64, 96))
    assert maps.logits.shape == (1, 7, 64 // stride, 96 // stride)
    assert maps.fused.shape[1] == 32 and maps.aux_logits is None
    assert maps.general.shape[1] == network.backbone.general_channels


@pytest.mark.parametrize("bins", [(), (1,), (1, 2, 3, 6)])
def test_bins_are_a_setting(bins):
    network = PSPNet(NetworkConfig("resnet18", 3, bins=bins, width=16)).train()
    maps = network(torch.randn(2, 3, 64, 64))
    assert maps.aux_logits.shape == maps.logits.shape == (2, 3, 8, 8)
    assert network.pyramid.out_channels == (1024 if bins else 512)


def test_the_parser_leaves_the_general_features_untouched():
    config = NetworkConfig("mobilenet_v2", 5, output_stride=16, branch_at=7, width=16)
    network = PSPNet(config).eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        before = network.backbone(image).general
        for block in network.backbone.trainable_blocks():
            for parameter in block.parameters():
                parameter.add_(1.0)
        assert torch.equal(network.backbone(image).general, before)


def test_folded_batch_norms_answer_the_same():
    network = PSPNet(NetworkConfig("resnet18", 4, width=16, detail=8)).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected = network(image).logits
        fuse_batch_norms(network)
        assert (network(image).logits - expected).abs().max() < 1e-3 * expected.abs().max()


@pytest.fixture(scope="module")
def parser() -> Parser:
    return Parser.load("starter", "cpu")


def test_a_description_adds_up(parser):
    scene = render(0)
    (found,) = parser.parse([parser.prepare(scene.image)])
    assert found.mask.shape == (312, 416) and found.mask.max() < len(STARTER)
    assert abs(found.areas.sum() - 1) < 1e-5 and abs(sum(r.area for r in found.regions) - 1) < 1e-5
    total = sum(r.area * r.norm * r.vector for r in found.regions)
    assert np.allclose(total, found.context * found.context_norm, atol=1e-4)
    for vector in (found.context, found.composition, found.layout_values):
        assert abs(np.linalg.norm(vector) - 1) < 1e-5
    palette = Image.open(__import__("io").BytesIO(found.mask_png(parser.manifest.palette)))
    assert (np.asarray(palette) == found.mask).all()


def test_layout_and_regions_of_a_known_mask():
    mask = np.full((80, 80), STARTER.index("road"), np.uint8)
    mask[:40] = STARTER.index("sky")
    mask[60:70, 10:30] = STARTER.index("car")
    features = np.random.default_rng(0).random((5, 5, 16), np.float32)
    whitening = Whitening(np.zeros(16, np.float32), np.eye(16, dtype=np.float32))
    found = describe(ParsedPicture(mask, np.ones((5, 5), np.float32), features), 20, whitening)
    assert [r.class_index for r in found.regions] == [
        STARTER.index(n) for n in ("sky", "road", "car")
    ]
    assert found.regions[2].box == (10 / 80, 60 / 80, 30 / 80, 70 / 80)
    cells = {(i // 20 // 8, i % 20) for i in found.layout_indices.tolist()}
    assert {row for row, index in cells if index == STARTER.index("sky")} == {0, 1, 2, 3}
    assert (6, STARTER.index("car")) in cells


def test_a_batch_is_parsed_like_its_pictures(parser):
    prepared = [parser.prepare(render(seed).image) for seed in (1, 2, 3)]
    together = parser.parse(prepared)
    for one, found in zip(prepared, together, strict=True):
        (alone,) = parser.parse([one])
        assert (alone.mask == found.mask).mean() > 0.99 and alone.context @ found.context > 0.999


def test_the_starter_weights_parse_photographs(shared_data):
    command = [sys.executable, "-m", "segmentation", "evaluate", "--json", "--data"]
    ran = subprocess.run(
        [*command, str(shared_data / "segmentation/msrc/val")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    result = json.loads(ran.stdout)
    assert set(result) == {"images", "miou", "pixel_accuracy", "per_class"}
    assert result["images"] == 38 and result["miou"] > 0.75 and len(result["per_class"]) == 20


def test_altered_and_missing_weights_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="there are: starter"):
        Manifest.load("starters")
    manifest = Manifest.load("starter")
    manifest.save(tmp_path)
    with pytest.raises(WeightsError, match="missing"):
        Parser.load(tmp_path / "starter.json")
    data = bytearray(manifest.weights_path.read_bytes())
    data[-1] ^= 1
    (tmp_path / manifest.weights_file).write_bytes(data)
    with pytest.raises(WeightsError, match="altered"):
        Parser.load(tmp_path / "starter.json")


def test_miou_by_hand():
    confusion = Confusion(3)
    truth = np.array([[0, 0, 1, 255]], np.uint8)
    confusion.add(truth, np.array([[0, 1, 1, 2]], np.uint8))
    assert np.allclose(confusion.iou[:2], [1 / 2, 1 / 2]) and np.isnan(confusion.iou[2])
    assert confusion.miou == 0.5 and confusion.pixel_accuracy == 2 / 3


def labelled(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for seed in range(count):
        scene = render(seed, size=(96, 72))
        Image.fromarray(scene.image).save(folder / f"{seed}.jpg")
        Image.fromarray(scene.mask).save(folder / f"{seed}.png")


def test_wrong_data_and_settings_are_named(tmp_path):
    with pytest.raises(DatasetError, match="no NAME"):
        find_pairs(tmp_path)
    labelled(tmp_path / "set", 1)
    Image.fromarray(np.full((72, 96), 99, np.uint8)).save(tmp_path / "set/0.png")
    with pytest.raises(DatasetError, match="index 99"):
        read_pair(find_pairs(tmp_path)[0], 20)
    path = tmp_path / "config.toml"
    path.write_text(
        'label_set="starter"\ntrain=["a"]\nval=["a"]\n[network]\nbackbone="resnet18"\n[schedule]\nepoch=3\n'
    )
    with pytest.raises(ConfigError, match="epoch"):
        load_config(path)
    ran = subprocess.run(
        [sys.executable, "-m", "segmentation", "evaluate", "--data", "nowhere"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 2 and "nowhere" in ran.stderr and "Traceback" not in ran.stderr


def test_augmentation_keeps_image_and_mask_together():
    mask = np.zeros((60, 80), np.uint8)
    mask[:, 40:] = 3
    image = np.repeat((mask * 60)[..., None], 3, 2).astype(np.uint8)
    how = Augmentation(crop_px=64, rotate_degrees=0, blur=0, jitter=0)
    for seed in range(20):
        pixels, labels = augment(image, mask, how, np.random.default_rng(seed))
        inside = labels != 255
        assert (
            np.abs(pixels[..., 0][inside].astype(int) - labels[inside] * 60) <= 90
        ).mean() > 0.97


def test_whitening_is_the_pca_of_its_sample():
    sample = np.random.default_rng(0).normal(size=(200, 12)).astype(np.float32) * np.arange(1, 13)
    full = fit_whitening(sample.astype(np.float32), width=4, power=0.5)
    variances = full(sample).var(0)
    assert np.allclose(variances, variances[0], rtol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_scenes_are_the_same_for_a_seed_and_hold_what_they_are_called_for(kind):
    needed = {
        "street": ("building", "road", "pavement"),
        "skyline": ("building", "water"),
        "park": ("grass", "vegetation"),
        "coast": ("water", "mountain"),
        "lake": ("water", "mountain"),
        "country road": ("road", "grass", "fence"),
        "forest": ("vegetation",),
        "harbour": ("boat", "water", "building"),
    }[kind]
    one, same = render(3, kind=kind, size=(240, 180)), render(3, kind=kind, size=(240, 180))
    assert (one.image == same.image).all() and (one.mask == same.mask).all()
    present = {STARTER.classes[i] for i in np.unique(one.mask)}
    assert {"sky", *needed} <= present
    assert one.image.shape == (180, 240, 3) and one.mask.shape == (180, 240)


def imports_of(package: str) -> set[str]:
    found = set()
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module)
    return found


def test_imports_go_one_way():
    assert not {
        n
        for n in imports_of("segmentation")
        if n.split(".")[0] in ("django", "retrieval", "workers")
    }
    retrieval = imports_of("retrieval")
    assert not {n for n in retrieval if n.split(".")[0] in ("torch", "torchvision", "workers")}
    torch_free = {
        "segmentation",
        "segmentation.describe",
        "segmentation.manifest",
        "segmentation.catalogue",
        "segmentation.labels",
        "segmentation.errors",
        "segmentation.formats",
        "segmentation.scenes",
    }
    assert {n for n in retrieval if n.split(".")[0] == "segmentation"} <= torch_free


def test_the_web_application_loads_no_torch():
    code = (
        "import sys, retrieval.wsgi; from retrieval import urls; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_every_setting_is_in_the_readme():
    from retrieval.env import VARIABLES

    readme = (ROOT / "README.md").read_text()
    assert not [name for name in VARIABLES if f"`{name}`" not in readme]


def test_explain_draws_each_stage_of_the_pyramid(tmp_path):
    from segmentation.explain import SIDE_PX, explain, principal_colours, sheet

    parser = Parser.load()
    image = np.asarray(scene(3, (300, 200)))
    stages = explain(parser, image)
    shapes = {stage.key: stage.shape for stage in stages}
    width = parser.network.backbone.out_channels // 4
    for bins in (1, 2, 3, 6):
        assert shapes[f"pyramid-{bins}"] == f"{width} × {bins} × {bins}"
    assert shapes["concatenated"].startswith(f"{parser.network.pyramid.out_channels} × ")
    assert all(max(stage.picture.shape) == SIDE_PX for stage in stages)
    palette = np.asarray(parser.manifest.palette, np.uint8).reshape(-1, 3)
    (classes,) = [stage for stage in stages if stage.key == "classes"]
    (description,) = parser.parse([parser.prepare(image)])
    drawn = {tuple(colour) for colour in classes.picture.reshape(-1, 3)}
    assert drawn == {tuple(palette[index]) for index in np.unique(description.mask)}
    # hooks are gone: parsing again hears nothing
    assert not parser.network.fuse._forward_hooks
    sheet(stages).save(tmp_path / "sheet.png")
    assert principal_colours(np.ones((4, 3, 3), np.float32)).std() == 0
