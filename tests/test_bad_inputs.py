"""The rows about images of "Bad inputs": what the web answers, and what then becomes of the picture."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from django.conf import settings
from django.test import Client
from numpy.typing import NDArray
from PIL import Image as Pillow

from retrieval.models import Analysis, Descriptor, Image, Mask
from retrieval.services import create_token
from segmentation.decode import decode
from segmentation.errors import ImageInvalid
from tests.conftest import await_final, encoded, scene

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def empty_staging() -> None:
    """Unfinished uploads of tests before: their rows were rolled back, so no sweep knows the files."""
    for path in Path(settings.MEDIA_ROOT).rglob("staging/*"):
        path.unlink()


def many_scans(count: int, padding: bytes = b"") -> bytes:
    """A progressive JPEG of this many scans: its last one again and again, each a pass over it."""
    data = encoded(scene(4), "JPEG", progressive=True)
    last, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    return data[:end] + data[last:end] * (count - data.count(b"\xff\xda")) + data[end:] + padding


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int) -> bytes:
    ihdr = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + ihdr + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def png_48_bit(pixels: NDArray[np.uint8]) -> bytes:
    """16 bits a channel, which Pillow reads and cannot write."""
    height, width, _ = pixels.shape
    rows = (pixels.astype(">u2") * 257).reshape(height, -1)
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows)
    ihdr = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + ihdr + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def post(collection, data: bytes | None, name: str = "a.jpg", content_type: str = "image/jpeg"):
    client = Client(headers={"Authorization": f"Token {create_token(collection.owner, 'test')}"})
    fields: dict[str, object] = {"collection": collection.pk}
    if data is not None:
        file = io.BytesIO(data)
        file.name = name
        fields["file"] = file
    return client.post("/api/v1/images", fields)


def nothing_kept() -> bool:
    files = [p for p in Path(settings.MEDIA_ROOT).rglob("staging/*") if p.is_file()]
    return not Image.objects.exists() and not files


def refused(response, status: int, code: str) -> None:
    assert response.status_code == status, response.content
    error = response.json()["error"]
    assert error["code"] == code
    assert set(error) == {"code", "message", "field", "request_id"}
    assert error["message"] and error["request_id"]
    assert nothing_kept()


def test_no_file_and_zero_bytes(collection):
    refused(post(collection, None), 400, "file_required")
    refused(post(collection, b""), 400, "file_empty")


def test_over_20_mb_stops(collection):
    refused(post(collection, b"\xff\xd8\xff" + b"x" * 20_000_001), 413, "file_too_large")


UNSUPPORTED = {
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "html": b"<!doctype html><script>alert(1)</script>",
    "txt": b"hello, this is no picture at all",
    "pdf": b"%PDF-1.7 something that is no picture",
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0 xxxxxxxxxxxxxxxx",
    "psd": b"8BPS\0\1" + b"\0" * 40,
    "heic": b"\0\0\0\x18ftypheic" + b"\0" * 40,
    "avif": b"\0\0\0\x18ftypavif" + b"\0" * 40,
    "tiff": encoded(scene(), "TIFF"),
    "bmp": encoded(scene(), "BMP"),
    "gif": encoded(scene(), "GIF"),
}


@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_other_formats_are_named_by_content(collection, kind):
    response = post(collection, UNSUPPORTED[kind], name="claims-to-be.png")
    refused(response, 415, "format_unsupported")
    for accepted in ("JPEG", "PNG", "WebP"):
        assert accepted in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("size", "code"),
    [
        ((50_000, 50_000), "image_too_many_pixels"),
        ((12_000, 12_000), "image_too_many_pixels"),
        ((1, 10_000), "image_aspect"),
        ((10_000, 1), "image_aspect"),
        ((1, 1), "image_too_small"),
    ],
)
def test_sizes_are_read_from_the_header(collection, size, code):
    refused(post(collection, png_header(*size)), 422, code)


def test_truncated_webp_and_png_text_bomb(collection):
    webp = encoded(scene(), "WEBP")
    refused(post(collection, webp[: len(webp) // 2]), 422, "image_invalid")
    png = encoded(scene(), "PNG")
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"A" * 50_000_000, 9))
    refused(post(collection, png[:33] + bomb + png[33:]), 422, "image_invalid")
    refused(post(collection, png[:-12] + bomb + png[-12:]), 422, "image_invalid")


def test_a_jpeg_of_endless_scans(collection):
    data = many_scans(101)
    refused(post(collection, data), 422, "image_invalid")
    with pytest.raises(ImageInvalid):
        decode(data)


def test_what_stands_behind_a_jpeg_is_no_scan(collection, worker):
    """A phone's film behind its picture has the same bytes by chance."""
    image = accepted(collection, many_scans(100, b"\xff\xda\0\2" * 500))
    done(image)


def accepted(collection, data: bytes, name: str = "a.jpg") -> Image:
    response = post(collection, data, name)
    assert response.status_code == 201, response.content
    return Image.objects.get(pk=response.json()["id"])


def test_truncated_jpeg_and_png_are_rejected_by_the_worker(collection, worker):
    for kind in ("JPEG", "PNG"):
        data = encoded(scene(5, (640, 480)), kind)
        image = accepted(collection, data[: len(data) // 2])
        analysis = await_final(image)
        assert (analysis.state, analysis.error_code) == ("rejected", "image_truncated")
        image.refresh_from_db()
        assert image.expires_at is not None and image.original.storage.exists(image.original.name)


def done(image: Image) -> Descriptor:
    analysis = await_final(image)
    assert analysis.state == "done", (analysis.state, analysis.error_code, analysis.error_detail)
    descriptor = Descriptor.objects.get(image=image)
    for vector in (descriptor.context, descriptor.composition, descriptor.layout.to_numpy()):
        assert np.isfinite(vector).all()
        assert abs(np.linalg.norm(vector) - 1) < 5e-3
    return descriptor


def test_wrong_extension_and_appended_html(collection, worker):
    png = encoded(scene(1), "PNG")
    image = accepted(collection, png + b"<script>alert(1)</script>", "photo.jpg")
    assert image.format == "PNG"
    done(image)
    client = Client()
    client.force_login(collection.owner)
    response = client.get(f"/images/{image.pk}/original")
    assert response["Content-Type"] == "image/png"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Content-Security-Policy"] == "default-src 'none'"


def test_broken_metadata_is_ignored(collection, worker):
    exif = b"Exif\0\0II*\0\xff\xff\xff\xff broken broken broken"
    broken = accepted(
        collection, encoded(scene(2), "JPEG", exif=exif, icc_profile=b"no profile" * 9)
    )
    done(broken)


def test_animations_are_parsed_by_their_first_frame(collection, worker):
    frames = [scene(seed) for seed in (3, 4)]
    options = {"save_all": True, "append_images": frames[1:]}
    for kind in ("WEBP", "PNG", "MPO"):
        data = encoded(frames[0], kind, **options)
        done(accepted(collection, data, f"{kind}.bin"))


def test_colour_modes(collection, worker):
    base = scene(6)
    transparent = base.convert("RGBA")
    transparent.putalpha(Pillow.new("L", base.size, 90))
    palette = base.convert("P")
    palette.info["transparency"] = 0
    modes = {
        "cmyk": (base.convert("CMYK"), "JPEG"),
        "grey": (base.convert("L"), "PNG"),
        "one bit": (base.convert("1"), "PNG"),
        "palette": (palette, "PNG"),
        "alpha": (transparent, "PNG"),
        "16 bit": (Pillow.fromarray(np.asarray(base.convert("L")).astype(np.uint16) * 257), "PNG"),
        "black": (Pillow.new("RGB", (64, 64)), "PNG"),
    }
    images = {name: accepted(collection, encoded(*what)) for name, what in modes.items()}
    images["colour"] = accepted(collection, encoded(base, "PNG"))
    images["16 bit colour"] = accepted(collection, png_48_bit(np.asarray(base)))
    found = {name: done(image) for name, image in images.items()}
    grey, deep = (np.asarray(found[name].context) for name in ("grey", "16 bit"))
    assert grey @ deep > 0.999
    colour, deep = (np.asarray(found[name].context) for name in ("colour", "16 bit colour"))
    assert colour @ deep > 0.999


def test_eight_orientations_are_one_picture(collection, worker):
    base = scene(7, (320, 240))
    inverse = {
        1: None,
        2: Pillow.Transpose.FLIP_LEFT_RIGHT,
        3: Pillow.Transpose.ROTATE_180,
        4: Pillow.Transpose.FLIP_TOP_BOTTOM,
        5: Pillow.Transpose.TRANSPOSE,
        6: Pillow.Transpose.ROTATE_90,
        7: Pillow.Transpose.TRANSVERSE,
        8: Pillow.Transpose.ROTATE_270,
    }
    found = []
    for orientation, method in inverse.items():
        turned = base if method is None else base.transpose(method)
        exif = Pillow.Exif()
        exif[0x0112] = orientation
        image = accepted(collection, encoded(turned, "PNG", exif=exif))
        assert (image.width_px, image.height_px) == base.size
        descriptor = done(image)
        mask = np.asarray(Pillow.open(io.BytesIO(bytes(Mask.objects.get(image=image).png))))
        found.append((np.asarray(descriptor.context), mask))
    for context, mask in found[1:]:
        assert context @ found[0][0] > 0.999
        assert (mask == found[0][1]).mean() > 0.995


def test_gps_is_never_served(collection, worker):
    exif = Pillow.Exif()
    exif.get_ifd(0x8825)[1] = "N"
    exif[0x8825] = {1: "N", 2: (48.0, 51.0, 29.9), 3: "E", 4: (2.0, 17.0, 40.2)}
    image = accepted(collection, encoded(scene(8), "JPEG", exif=exif))
    done(image)
    client = Client()
    client.force_login(collection.owner)
    for side in (256, 1024):
        body = b"".join(client.get(f"/images/{image.pk}/thumb-{side}.webp").streaming_content)
        picture = Pillow.open(io.BytesIO(body))
        assert not picture.getexif() and "exif" not in picture.info
    assert "gps" not in client.get(f"/api/v1/images/{image.pk}").content.decode().lower()


def test_the_same_file_again_is_the_same_image(collection):
    data = encoded(scene(9))
    first, second = post(collection, data), post(collection, data, "other name.jpg")
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["id"] == second.json()["id"]
    assert Image.objects.count() == Analysis.objects.count() == 1


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "a\0b.jpg",
        "x" * 300 + ".jpg",
        "\u202egpj.exe",
        "🌄.jpg",
        "<script>alert(1)</script>.jpg",
    ],
)
def test_names_are_only_titles(collection, name):
    from retrieval.upload import store_upload

    data = io.BytesIO(encoded(scene(10)))
    image = store_upload(data, filename=name, collection=collection, user=collection.owner).image
    assert image.original.name.endswith(f"{image.pk}.jpg")
    assert "/" not in image.title and "\0" not in image.title and "\u202e" not in image.title
    assert len(image.title) <= 255
    client = Client()
    client.force_login(collection.owner)
    page = client.get(f"/images/{image.pk}").content.decode()
    assert "<script>alert" not in page
