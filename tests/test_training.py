"""Training: the recipe's parts one by one, a run that is killed, and data sets as they are published."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from segmentation.__main__ import main
from segmentation.datasets import Augmentation, open_pictures
from segmentation.errors import ConfigError, DatasetError, TrainingDiverged
from segmentation.labels import LABEL_SETS, STARTER
from segmentation.preprocess import InputRule
from segmentation.pspnet import NetworkConfig
from segmentation.scenes import render
from segmentation.training import Schedule, TrainConfig, Trainer, load_config, state
from segmentation.training.config import Loading
from segmentation.training.losses import class_weights, parse_loss

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = sorted((ROOT / "segmentation" / "configs").glob("*.toml"))
SMALL = NetworkConfig("resnet18", len(STARTER), output_stride=16, width=32)
STILL = Augmentation(crop_px=64, flip=0, rotate=0, blur=0, jitter=0, scale=(1.0, 1.0))


def labelled(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for seed in range(count):
        scene = render(seed, size=(96, 72))
        Image.fromarray(scene.image).save(folder / f"{seed}.jpg")
        Image.fromarray(scene.mask).save(folder / f"{seed}.png")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pictures to learn from and two to look at, drawn here."""
    folder = tmp_path_factory.mktemp("labelled") / "data"
    labelled(folder / "train", 8)
    labelled(folder / "val", 2)
    return folder


def config(network: NetworkConfig = SMALL, how: Augmentation = STILL, **schedule) -> TrainConfig:
    values = {"epochs": 2, "frozen_epochs": 0, "batch": 4, "head_rate": 0.02, "backbone_rate": 0.02}
    return TrainConfig(
        "starter",
        network,
        ["train"],
        ["val"],
        augmentation=how,
        input=InputRule(64, 128, 32),
        schedule=Schedule(**{**values, "precision": "float32", **schedule}),
        loading=Loading(workers=0),
    )


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoint.pt", weights_only=True)["network"]


# --- a run ---------------------------------------------------------------------------------------


def test_a_run_learns_and_shows_itself(data, tmp_path):
    rows = list(Trainer(config(epochs=3), data, tmp_path / "run", "cpu").epochs())
    assert [row["epoch"] for row in rows] == [1, 2, 3] and rows[-1]["loss"] < rows[0]["loss"]
    with (tmp_path / "run/log.csv").open() as file:
        logged = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in logged] == [row["loss"] for row in rows]
    assert float(logged[0]["rate"]) > float(logged[2]["rate"]) and logged[2]["remaining_s"] == "0"
    written = (tmp_path / "run/best.json").read_text()
    figures = json.loads(written, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert figures["miou"] == pytest.approx(max(row["miou"] for row in rows), abs=1e-4)
    for name in ("curves.png", "confusion.png", "predictions.png"):
        with Image.open(tmp_path / "run" / name) as picture:
            assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 8, f"{name} is empty"


def test_a_run_killed_in_mid_epoch_ends_with_the_same_weights(data, tmp_path):
    """`kill -9` while it trains; the second start's weights are those of a run nobody disturbed."""
    file = tmp_path / "run.toml"
    file.write_text(
        'label_set = "starter"\ntrain = ["train"]\nval = ["val"]\n'
        '[network]\nbackbone = "resnet18"\noutput_stride = 16\nwidth = 32\n'
        "[input]\nshort_px = 64\nlong_px = 128\n[augmentation]\ncrop_px = 64\n"
        "[schedule]\nepochs = 6\nfrozen_epochs = 1\nbatch = 4\nprecision = 'float32'\n"
        "[loading]\nworkers = 0\n"
    )
    command = [sys.executable, "-m", "segmentation", "train", str(file), "--data", str(data)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    options = {"cwd": ROOT, "env": environment, "stderr": subprocess.DEVNULL}
    run = tmp_path / "killed"
    process = subprocess.Popen([*command, "--run", str(run)], **options)
    deadline = time.monotonic() + 60
    while not (run / "checkpoint.pt").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    epochs_done = torch.load(run / "checkpoint.pt", weights_only=True)["epoch"]
    assert 1 <= epochs_done < 6, "killed too late to show anything"
    subprocess.run([*command, "--run", str(run)], check=True, **options)
    subprocess.run([*command, "--run", str(tmp_path / "whole")], check=True, **options)
    killed, whole = weights_of(run), weights_of(tmp_path / "whole")
    assert all(torch.equal(killed[key], whole[key]) for key in whole)
    with pytest.raises(ConfigError, match=r"schedule\.epochs was 6, is 2"):
        Trainer(config(), data, run, "cpu")


def test_a_run_killed_while_its_last_epoch_is_written_still_gets_its_whole_log(
    data, tmp_path, monkeypatch
):
    def killed(run: Path, history: list[dict[str, object]]) -> None:
        raise KeyboardInterrupt

    run = tmp_path / "run"
    epochs = Trainer(config(), data, run, "cpu").epochs()
    next(epochs)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(state, "save_log", killed)
        next(epochs)
    list(Trainer(config(), data, run, "cpu").epochs())
    with (run / "log.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]


def test_accumulated_gradients_are_those_of_one_large_batch(data, tmp_path):
    """Without batch statistics two steps of four are one step of eight."""
    network = NetworkConfig("resnet18", len(STARTER), output_stride=16, width=32, dropout=0.0)
    ends = []
    for name, batch, accumulate in (("large", 8, 1), ("small", 4, 2)):
        trainer = Trainer(
            config(network, epochs=1, batch=batch, accumulate=accumulate, class_weight_limit=0.0),
            data,
            tmp_path / name,
            "cpu",
        )
        original = trainer._set_mode
        trainer._set_mode = lambda t=trainer, f=original: (f(), t.network.eval())[0]  # type: ignore[method-assign]
        before = {k: v.clone() for k, v in trainer.network.state_dict().items()}
        next(trainer.epochs())
        after = trainer.network.state_dict()
        ends.append(torch.cat([(after[k] - before[k]).float().flatten() for k in before]))
    large, small = ends
    # Each mask has about as many labelled pixels, so that means of means are nearly the mean.
    apart = float((large - small).norm() / large.norm())
    assert apart < 0.05


def test_frozen_epochs_leave_the_backbone_and_thawed_ones_do_not(data, tmp_path):
    trainer = Trainer(config(epochs=2, frozen_epochs=1), data, tmp_path / "run", "cpu")
    before = {k: v.clone() for k, v in trainer.network.backbone.state_dict().items()}
    epochs = trainer.epochs()
    next(epochs)
    first = {k: v.clone() for k, v in trainer.network.backbone.state_dict().items()}
    assert all(torch.equal(first[key], before[key]) for key in before)
    next(epochs)
    after = trainer.network.backbone.state_dict()
    moved = {key for key in before if not torch.equal(after[key], first[key])}
    assert moved and not any("running" in key for key in moved), "ImageNet's statistics stay"


def test_a_run_that_diverges_says_so(data, tmp_path):
    wild = config(head_rate=1e12, backbone_rate=1e12, clip_norm=0.0, epochs=20)
    with pytest.raises(TrainingDiverged, match="head_rate"):
        list(Trainer(wild, data, tmp_path / "run", "cpu").epochs())


def test_another_label_set_starts_from_weights_but_for_the_classifier(data, tmp_path):
    first = Trainer(config(epochs=1), data, tmp_path / "first", "cpu")
    list(first.epochs())
    seven = tmp_path / "seven.json"
    rows = [[name, name, f"#0000{n:02x}"] for n, name in enumerate("abcdefg")]
    seven.write_text(json.dumps({"name": "seven", "offset": 0, "classes": rows}))
    folder = tmp_path / "sevens"
    for part in ("train", "val"):
        labelled(folder / part, 4)
        for path in (folder / part).glob("*.png"):
            mask = np.asarray(Image.open(path))
            Image.fromarray(np.where(mask == 255, 255, mask % 7).astype(np.uint8)).save(path)
    own = TrainConfig(
        str(seven),
        NetworkConfig("resnet18", 7, output_stride=16, width=32),
        ["train"],
        ["val"],
        start_from=str(tmp_path / "first/best.safetensors"),
        augmentation=STILL,
        input=InputRule(64, 128, 32),
        schedule=Schedule(epochs=1, frozen_epochs=1, batch=4, precision="float32"),
        loading=Loading(workers=0),
    )
    second = Trainer(own, folder, tmp_path / "second", "cpu")
    taken = load_file(tmp_path / "first/best.safetensors")
    same = [k for k, v in second.network.state_dict().items() if torch.equal(v, taken.get(k, v))]
    assert len(same) >= len(second.network.state_dict()) - 4  # both classifiers, with biases
    assert next(second.epochs())["miou"] >= 0


# --- the loss ------------------------------------------------------------------------------------


def test_hard_pixels_alone_count():
    logits = torch.zeros(1, 2, 2, 2)
    logits[0, 1, 0, 0] = 8.0  # sure, and wrong
    logits[0, 0, 0, 1] = logits[0, 0, 1, 0] = logits[0, 0, 1, 1] = 8.0  # sure, and right
    mask = torch.zeros(1, 2, 2, dtype=torch.int64)
    ones = torch.ones(2)
    every = parse_loss(logits, mask, ones, 1.0, step=1)
    hard = parse_loss(logits, mask, ones, 0.25, step=1)
    assert hard == pytest.approx(8.0, abs=1e-3) and every == pytest.approx(2.0, abs=1e-2)
    mask[0, 0, 0] = 255  # what nobody labelled is not hard
    assert parse_loss(logits, mask, ones, 0.25, step=1) < 0.01
    assert parse_loss(logits, torch.full_like(mask, 255), ones) == 0


def test_rare_classes_weigh_more_but_not_without_limit():
    mask = np.zeros((100, 100), np.uint8)
    mask[0, :4] = 1
    mask[1:5] = 2
    weights = class_weights([mask], 4, limit=6.0)
    assert weights[1] > weights[2] > weights[0] and weights.max() <= 6 and weights.min() >= 1 / 6
    assert torch.equal(class_weights([mask], 4, limit=0), torch.ones(4))


def test_crops_repeat_by_seed_epoch_and_index_alone(data):
    from segmentation.datasets import TrainingSet

    pictures = open_pictures(data, ["train"], "folder", STARTER)
    one, other = (
        TrainingSet(pictures, Augmentation(64), 3),
        TrainingSet(pictures, Augmentation(64), 3),
    )
    other[5]  # what was asked before changes nothing
    assert torch.equal(one[2][0], other[2][0]) and torch.equal(one[2][1], other[2][1])
    other.epoch = 1
    assert not torch.equal(one[2][0], other[2][0])


# --- configurations ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CONFIGS, ids=[path.stem for path in CONFIGS])
def test_every_configuration_reads_and_names_itself(path):
    found = load_config(path)
    assert found.network.classes == len(found.labels)
    assert f"segmentation/configs/{path.name}" in path.read_text()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ("[schedule]\nepoch = 3", "schedule.epoch is an unknown setting; did you mean epochs"),
        ("[schedule]\nepochs = 0", "schedule: epochs is at least 1"),
        ("[schedule]\nhard_share = 0.0", "hard_share"),
        ("[schedule]\nepochs = '3'", "schedule.epochs is a whole number"),
        ("[augmentation]\nscale = [2.0]", "augmentation.scale is a list of 2"),
        ("[loading]\nworkers = -1", "workers is not negative"),
    ],
)
def test_wrong_settings_are_named(tmp_path, changed, says):
    path = tmp_path / "wrong.toml"
    begin = 'label_set="starter"\ntrain=["a"]\nval=["a"]\n[network]\nbackbone="resnet18"\n'
    path.write_text(begin + changed)
    with pytest.raises(ConfigError, match=says.replace("[", r"\[")):
        load_config(path)


def test_the_command_line_says_in_one_line_what_is_wrong(tmp_path, capsys):
    path = tmp_path / "wrong.toml"
    path.write_text('label_set = "starter"\ntrain = ["a"]\nval = ["a"]\nnetworks = 1\n')
    for file, says in ((path, "networks is an unknown setting"), (tmp_path / "none.toml", "none")):
        assert (
            main(["train", str(file), "--data", str(tmp_path), "--run", str(tmp_path / "r")]) == 2
        )
        said = capsys.readouterr().err
        assert said.startswith("segmentation: ") and says in said and said.count("\n") == 1


def test_every_setting_is_explained():
    page = (ROOT / "docs" / "training.md").read_text()
    kinds = (TrainConfig, NetworkConfig, InputRule, Augmentation, Schedule, Loading)
    names = {field.name for kind in kinds for field in fields(kind)}
    assert len(names) > 40
    assert not [name for name in names if not re.search(rf"[`.]{name}[`.]", page)]


# --- data sets as they are published -------------------------------------------------------------


def picture(path: Path, size: tuple[int, int] = (8, 6)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 120, 150)).save(path)


def values(path: Path, *numbers: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.full((6, 8), numbers[-1], np.uint8)
    mask.flat[: len(numbers)] = numbers
    Image.fromarray(mask).save(path)


def only_mask(root: Path, split: str, layout: str, labels: str | None = None) -> list[int]:
    pictures = open_pictures(root, [split], layout, LABEL_SETS[labels or layout])
    assert len(pictures) == 1
    return [int(v) for v in pictures[0][1].flat[:4]]


def test_ade20k_counts_from_one(tmp_path):
    picture(tmp_path / "images/training/ADE_1.jpg")
    values(tmp_path / "annotations/training/ADE_1.png", 0, 1, 150, 2)
    assert only_mask(tmp_path, "training", "ade20k") == [255, 0, 149, 1]


def test_cityscapes_ids_become_train_ids(tmp_path):
    picture(tmp_path / "leftImg8bit/train/ulm/ulm_1_leftImg8bit.png")
    values(tmp_path / "gtFine/train/ulm/ulm_1_gtFine_labelIds.png", 7, 33, 0, 26)
    assert only_mask(tmp_path, "train", "cityscapes") == [0, 18, 255, 13]


def test_voc_reads_lists_and_augmented_masks(tmp_path):
    for name in ("2007_1", "2008_2"):
        picture(tmp_path / f"JPEGImages/{name}.jpg")
    (tmp_path / "ImageSets/Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text("2007_1\n")
    (tmp_path / "ImageSets/Segmentation/trainaug.txt").write_text("2008_2\n")
    values(tmp_path / "SegmentationClass/2007_1.png", 0, 20, 255, 15)
    values(tmp_path / "SegmentationClassAug/2008_2.png", 3, 0, 0, 0)
    assert only_mask(tmp_path, "train", "voc") == [0, 20, 255, 15]
    assert only_mask(tmp_path, "trainaug", "voc") == [3, 0, 0, 0]


def test_coco_stuff_leaves_out_unused_ids(tmp_path):
    picture(tmp_path / "images/val2017/000001.jpg")
    values(tmp_path / "stuffthingmaps/val2017/000001.png", 0, 12, 181, 255)
    assert only_mask(tmp_path, "val2017", "coco_stuff") == [0, 11, 170, 255]


def test_what_a_data_set_lacks_is_named(tmp_path):
    picture(tmp_path / "images/training/ADE_1.jpg")
    (tmp_path / "annotations/training").mkdir(parents=True)
    with pytest.raises(DatasetError, match=r"1 of 1 pictures .* have no mask"):
        open_pictures(tmp_path, ["training"], "ade20k", LABEL_SETS["ade20k"])
    with pytest.raises(DatasetError, match="splits: training, validation"):
        open_pictures(tmp_path, ["train"], "ade20k", LABEL_SETS["ade20k"])
    values(tmp_path / "annotations/training/ADE_1.png", 151)
    with pytest.raises(DatasetError, match="index 151"):
        open_pictures(tmp_path, ["training"], "ade20k", LABEL_SETS["ade20k"])
    with pytest.raises(DatasetError, match="19 classes"):
        open_pictures(tmp_path, ["train"], "cityscapes", STARTER)


# --- evaluation ----------------------------------------------------------------------------------


def test_evaluation_writes_pictures_and_several_scales_change_it(data, tmp_path):
    def evaluate(*options: str) -> dict[str, object]:
        command = [sys.executable, "-m", "segmentation", "evaluate", "--data", str(data), "--json"]
        ran = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout.splitlines()[-1])

    plain = evaluate("--out", str(tmp_path / "out"))
    assert set(plain) == {"images", "miou", "pixel_accuracy", "per_class"}
    assert plain["images"] == 10
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"evaluation.json", "confusion.csv", "confusion.png", "predictions.png"} <= names
    several = evaluate("--scales", "0.75,1,1.25", "--flip")
    assert several["images"] == 10 and several["pixel_accuracy"] != plain["pixel_accuracy"]
