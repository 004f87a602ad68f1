"""What makes the network quick: it must answer as the plain one does, on the path of a GPU too."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from django.core.management import call_command

from retrieval import env
from segmentation import speed, winograd
from segmentation.explain import explain
from segmentation.folded import FoldedPyramid, speed_up
from segmentation.fused import FineClassifier, FusedConv, fuse_batch_norms
from segmentation.graphs import Graphs, padded
from segmentation.inference import InferenceRule
from segmentation.manifest import Manifest
from segmentation.predict import Parser, has_fast_bf16
from segmentation.preprocess import InputRule
from segmentation.pspnet import NetworkConfig, PSPNet
from segmentation.rounding import correct_biases
from segmentation.scenes import render
from segmentation.stream import Stream, cell_counts
from segmentation.uploads import Uploads
from workers.pipeline import _parser

CPU = torch.device("cpu")
needs_bf16 = pytest.mark.skipif(not has_fast_bf16(CPU), reason="this CPU has no bfloat16")


def trained_like(backbone: str = "resnet18", **settings: object) -> PSPNet:
    """Random weights with batch-norm statistics that differ from the initial ones."""
    torch.manual_seed(1)
    network = PSPNet(NetworkConfig(backbone, 12, width=32, aux=False, **settings)).eval()  # type: ignore[arg-type]
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
            module.bias.data.normal_(0, 0.2)
    return network


@pytest.fixture(scope="module")
def starter() -> Parser:
    return Parser.load("starter", "cpu")


@pytest.mark.parametrize("size", [(61, 77), (40, 40)])
@pytest.mark.parametrize("align_corners", [False, True])
def test_a_folded_pyramid_is_the_plain_one(size, align_corners):
    network = trained_like(align_corners=align_corners)
    fuse_batch_norms(network)
    x = torch.randn(2, 512, *size)
    with torch.inference_mode():
        plain = network.fuse(network.pyramid(x))
        folded = FoldedPyramid(network.pyramid, network.fuse)
        assert (folded(x) - plain).abs().max() < 1e-4 * plain.abs().max()
        levels, joined = folded.stages(x)
        assert (joined - network.pyramid(x)).abs().max() < 1e-4
        assert [one.shape[-1] for one in levels] == [1, 2, 3, 6]


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50", "mobilenet_v2"])
def test_fused_calls_answer_as_the_plain_network_in_float32(backbone):
    network = trained_like(backbone, output_stride=8, branch_at=None)
    image = torch.randn(2, 3, 96, 72).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        expected = network(image)
        fuse_batch_norms(network)
        network.to(memory_format=torch.channels_last)
        speed_up(network, torch.float32)
        assert any(isinstance(module, FusedConv) for module in network.modules())
        found = network(image)
    for name in ("logits", "fused", "general"):
        one, other = getattr(found, name), getattr(expected, name)
        assert (one - other).abs().max() < 1e-3 * other.abs().max(), name


@pytest.mark.parametrize(
    ("batch", "inputs", "outputs", "height", "width", "dilation"),
    [
        (2, 128, 130, 17, 23, 1),
        (1, 200, 128, 5, 3, 4),
        (3, 256, 128, 61, 33, 2),
        (1, 160, 128, 4, 8, 1),
    ],
)
@pytest.mark.parametrize("at_once", [1, 1 << 24])
def test_winograd_is_the_convolution(
    batch, inputs, outputs, height, width, dilation, at_once, monkeypatch
):
    monkeypatch.setattr(winograd, "_MAX_ELEMENTS", at_once)  # 1: a row of tiles at a time
    torch.manual_seed(0)
    convolution = torch.nn.Conv2d(
        inputs, outputs, 3, padding=dilation, dilation=dilation, bias=False
    )
    assert winograd.suits(convolution, torch.float32)
    x = torch.randn(batch, inputs, height, width)
    with torch.inference_mode():
        quick = winograd.Winograd(convolution)
        quick(
            torch.full((1, inputs, 90, 70), torch.nan)
        )  # what others left in the buffers is not read
        exact = convolution.double()(x.double())
        found = quick(x.contiguous(memory_format=torch.channels_last))
        with ThreadPoolExecutor(2) as threads:
            others = list(threads.map(quick, [x, -x]))
    assert found.shape == exact.shape
    assert (found - exact).abs().max() < 1e-4
    assert (others[0] - exact).abs().max() < 1e-4 and (others[1] + exact).abs().max() < 1e-4


@pytest.mark.parametrize(
    "changes",
    [
        {"stride": 2},
        {"groups": 2},
        {"padding": 0},
        {"kernel_size": 1, "padding": 0},
        {"out_channels": 64},
    ],
)
def test_winograd_leaves_other_convolutions_alone(changes):
    shape = {"in_channels": 128, "out_channels": 128, "kernel_size": 3, "padding": 1}
    assert winograd.suits(torch.nn.Conv2d(**shape), torch.float32)
    assert not winograd.suits(torch.nn.Conv2d(**shape), torch.bfloat16)
    assert not winograd.suits(torch.nn.Conv2d(**(shape | changes)), torch.float32)


def test_the_precision_is_a_setting(settings, monkeypatch):
    digest = Manifest.load("starter").weights_sha256
    for wanted in (False, True) if has_fast_bf16(CPU) else (False,):
        settings.BF16 = wanted
        _parser.cache_clear()
        assert _parser("starter", digest).fast is wanted
    _parser.cache_clear()
    monkeypatch.setenv("PAYSAGE_PRECISION", "half")
    with pytest.raises(env.EnvironmentInvalid, match="float32, bfloat16, not 'half'"):
        env.choice("PAYSAGE_PRECISION", "auto", "float32", "bfloat16")


@needs_bf16
def test_bfloat16_agrees_with_float32_and_its_logits_are_fine(starter):
    exact = Parser.load("starter", "cpu", exact=True)
    same = pixels = 0
    for seed in range(3, 7):
        image = render(seed).image
        fast, slow = (p.infer([p.prepare(image)])[0].mask for p in (starter, exact))
        same, pixels = same + int((fast == slow).sum()), pixels + fast.size
    assert same / pixels > 0.97
    torch.manual_seed(0)
    convolution = torch.nn.Conv2d(64, 30, 1)
    x = torch.randn(1, 64, 9, 7).to(torch.bfloat16).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        weight = convolution.weight.to(torch.bfloat16).double()
        expected = torch.nn.functional.conv2d(x.double(), weight, convolution.bias.double())
        found = FineClassifier(convolution, torch.bfloat16)(x)
    assert found.dtype == torch.float32 and (found - expected).abs().max() < 1e-3


def test_biases_take_up_what_rounded_weights_shift():
    network = trained_like()
    fuse_batch_norms(network)
    rule = InputRule()
    image = rule.normalise(torch.randint(0, 255, (1, 3, 96, 96), dtype=torch.uint8))

    def rounded() -> torch.Tensor:
        kept = {k: v.clone() for k, v in network.state_dict().items()}
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.weight.data = module.weight.data.to(torch.bfloat16).float()
        found = network(image).logits
        network.load_state_dict(kept)
        return found

    with torch.inference_mode():
        expected = network(image).logits
        before = (rounded() - expected).abs().mean()
        correct_biases(network, rule, torch.bfloat16)
        after = (rounded() - expected).abs().mean()
    assert after < 0.8 * before


def test_uploads_take_two_buffers_in_turn():
    uploads = Uploads(CPU)
    rng = np.random.default_rng(0)
    batches = [
        [rng.integers(0, 255, (h, 8, 3), dtype=np.uint8) for _ in range(n)]
        for h, n in ((6, 2), (9, 3), (4, 1))
    ]
    first = uploads(batches[0])
    second = uploads(batches[1])
    assert torch.equal(first[1], torch.from_numpy(batches[0][1]).permute(2, 0, 1))
    assert second.shape == (3, 3, 9, 8) and second.is_contiguous(memory_format=torch.channels_last)
    third = uploads(batches[2])
    assert third.data_ptr() == first.data_ptr() and third.data_ptr() != second.data_ptr()
    floats = uploads([np.full((2, 2, 3), 1.5, np.float32)])
    assert floats.dtype == torch.float32 and (floats == 1.5).all()


def test_recordings_pad_batches_and_are_few():
    network = trained_like()
    graphs = Graphs(network)
    assert [padded(n) for n in (1, 2, 3, 5, 16)] == [1, 2, 4, 8, 16]
    with torch.inference_mode():
        for count, side in ((3, 40), (1, 40), (4, 40), (3, 48)):
            batch = torch.randn(count, 3, side, side)
            expected, found = network(batch), graphs(batch)
            assert found.logits.shape == expected.logits.shape
            assert torch.allclose(found.logits, expected.logits, atol=1e-4)
            assert torch.allclose(found.general, expected.general, atol=1e-4)
    assert len(graphs._recorded) == 3  # 3 and 4 pictures share one


VIEWS = InferenceRule(
    sizes=((192, 512), (256, 512)), window_px=160, stride_px=112, flip=True, upsample="window"
)


@pytest.mark.parametrize(
    ("recorded", "rule"), [(False, None), (True, None), (False, VIEWS), (True, VIEWS)]
)
def test_the_stream_describes_as_the_parser_does(recorded, rule):
    starter = Parser.load("starter", "cpu")
    if rule is not None:
        starter.look_by(rule)
    images = [
        render(seed, size=size).image for seed, size in enumerate([(96, 72)] * 3 + [(80, 80)])
    ]
    batches = speed.batches_of(starter, images, 2)
    assert len(batches) == 3
    found = [
        one.describe() for batch in Stream(starter, recorded=recorded)(batches) for one in batch
    ]
    expected = [one for batch in batches for one in starter.parse(batch)]
    assert len(found) == len(expected) == 4
    for own, other in zip(found, expected, strict=True):
        assert (own.mask == other.mask).mean() > 0.999
        assert np.allclose(own.areas, other.areas, atol=2e-3)
        assert own.context @ other.context > 0.999
        assert own.layout_width == other.layout_width
        assert abs(own.confidence - other.confidence) < 0.01
        assert abs(sum(region.area for region in own.regions) - 1) < 1e-4


def test_cells_are_counted_on_the_device():
    mask = torch.zeros(16, 24, dtype=torch.uint8)
    mask[:, 12:] = 2
    counts = cell_counts(mask, 3)
    assert counts.sum() == 16 * 24 and counts.shape == (64, 3)
    assert counts[0].tolist() == [6, 0, 0] and counts[7].tolist() == [0, 0, 6]


def test_explain_shows_the_levels_of_a_folded_pyramid(monkeypatch):
    parser = speed.random_parser("resnet18", 64, "cpu", classes=5)
    assert isinstance(parser.network.pyramid, FoldedPyramid)
    shapes = {stage.key: stage.shape for stage in explain(parser, render(1).image)}
    assert shapes["pyramid-3"] == "128 × 3 × 3"
    assert shapes["concatenated"] == "1024 × 8 × 8"
    assert shapes["fused"] == "512 × 8 × 8"


def test_operations_are_those_of_the_published_network():
    config = NetworkConfig("resnet50", 150, stem=(32, 32, 64), aux=False)
    assert speed.published_flop(config, 473, 473) == pytest.approx(313.75e9, rel=1e-3)
    plain = NetworkConfig("resnet18", 5, bins=(), width=16, aux=False)
    small, large = (speed.published_flop(plain, side, side) for side in (64, 128))
    assert large == pytest.approx(4 * small, rel=0.01)


@pytest.mark.django_db
def test_benchmark_model_prints_its_ratio(capsys):
    call_command("benchmark", "model", backbone="resnet18", size=64, batch=2, rounds=2, json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["images"] == 4 and found["sizes"] == [[64, 64]]
    assert 0 < found["ratio_to_matmul"] < 3
    flop_rate = found["images_per_s"] * found["computed_gflop_per_image"]
    assert found["achieved_gflops"] == pytest.approx(flop_rate, rel=0.6)
    assert found["computed_gflop_per_image"] < found["gflop_per_image"]
    keys = {"ms_per_image", "matmul_gflops", "best_matmul_gflops", "parsed_images_per_s"}
    assert keys <= set(found)
