"""JPEG files decoded on the network's device, here the CPU device: the same answers as Pillow's."""

import io

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from segmentation.decode import decode
from segmentation.errors import ImageTooManyPixels, ImageTruncated
from segmentation.formats import Limits
from segmentation.jpeg import decode_on
from segmentation.scenes import render

CPU = torch.device("cpu")


@pytest.fixture
def pillow_reads(monkeypatch):
    """How often Pillow decoded in the device's place."""
    calls = []

    def counted(*values):
        calls.append(values)
        return decode(*values)

    monkeypatch.setattr("segmentation.jpeg.decode", counted)
    return calls


def jpeg(picture: Pillow.Image, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90, **options)
    return buffer.getvalue()


def scene(size=(301, 203)) -> Pillow.Image:
    return Pillow.fromarray(render(5).image).resize(size)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_the_device_reads_a_photograph_as_pillow_does(options, pillow_reads):
    data = jpeg(scene(), **options)
    found = decode_on(data, CPU)
    assert not pillow_reads
    assert found.dtype == np.uint8 and found.shape == (203, 301, 3)
    assert np.abs(found.astype(int) - decode(data)).mean() < 1


def test_a_grey_one_has_three_equal_channels(pillow_reads):
    found = decode_on(jpeg(scene().convert("L")), CPU)
    assert not pillow_reads
    assert (found[..., 0] == found[..., 1]).all() and (found[..., 0] == found[..., 2]).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_is_turned_as_its_exif_says(orientation, pillow_reads):
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    data = jpeg(scene(), exif=exif)
    found = decode_on(data, CPU)
    assert not pillow_reads
    assert np.abs(found.astype(int) - decode(data)).mean() < 1


@pytest.mark.parametrize(("side", "expected"), [(80, 1), (40, 2), (20, 4), (10, 8), (2, 8)])
def test_a_large_one_comes_back_as_small_as_libjpeg_would_make_it(side, expected, pillow_reads):
    picture = scene((131, 99))
    data = jpeg(picture)
    found, theirs = decode_on(data, CPU, None, side), decode(data, None, side)
    assert not pillow_reads
    assert found.shape == (-(-99 // expected), -(-131 // expected), 3) == theirs.shape
    assert np.abs(found.astype(int) - theirs).mean() < 3


def test_what_decoders_read_differently_is_left_to_pillow(pillow_reads):
    for data in (
        jpeg(scene().convert("CMYK")),
        jpeg(scene()) + b"something behind the end",
        _png(scene()),
    ):
        assert (decode_on(data, CPU) == decode(data)).all()
    assert len(pillow_reads) == 3


def _png(picture: Pillow.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def test_bad_files_are_refused_in_the_same_words():
    data = jpeg(scene())
    with pytest.raises(ImageTruncated):
        decode_on(data[: len(data) // 2], CPU)
    with pytest.raises(ImageTooManyPixels):
        decode_on(data, CPU, Limits(max_pixels=1000))


def test_a_broken_stream_the_device_refuses_is_pillows_to_judge(pillow_reads, monkeypatch):
    def refuses(*values, **options):
        raise RuntimeError("nvjpegDecode failed: 4")

    monkeypatch.setattr("segmentation.jpeg.decode_jpeg", refuses)
    data = jpeg(scene())
    assert (decode_on(data, CPU) == decode(data)).all()
    assert len(pillow_reads) == 1
