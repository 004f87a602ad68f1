"""What may be uploaded: formats by content, and limits read from headers. No pixel is decoded here.

Free of torch, so that a web process can refuse a file cheaply; the pixels are decoded in a worker by
`segmentation.decode`, which opens the same formats and no others.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from segmentation.errors import (
    FileEmpty,
    FileTooLarge,
    FormatUnsupported,
    ImageAspect,
    ImageInvalid,
    ImageTooManyPixels,
    ImageTooSmall,
)

ACCEPTED = ("JPEG", "PNG", "WEBP")
"""Pillow's names of the formats taken. MPO, as phones write it, is a JPEG whose first frame counts."""

CONTENT_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
EXTENSIONS = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MAX_PNG_TEXT_BYTES = 1_000_000
MAX_JPEG_SCANS = 100
"""Encoders write one to a dozen; each costs a pass over all pixels, however few bytes it has."""
_JPEG_SOS, _JPEG_EOI = 0xDA, 0xD9
# Neither stuffed bytes, nor fill bytes, nor the markers that have no length (TEM, RST, SOI).
_JPEG_MARKER = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd8])", re.DOTALL)
_EXIF_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height

# Paysage checks the pixel count itself, with its own error; Pillow's guard must not come first.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True)
class Limits:
    """What a picture may be at most and must be at least."""

    max_bytes: int = 20_000_000
    max_pixels: int = 50_000_000
    min_side_px: int = 16
    max_side_px: int = 16_384
    max_aspect: float = 16.0


@dataclass(frozen=True)
class ImageHeader:
    """What the header tells.

    Attributes:
        format: one of `ACCEPTED`.
        width_px, height_px: after the rotation that EXIF asks for.
        taken_at: EXIF's local time as "YYYY:MM:DD HH:MM:SS", or None.
    """

    format: str
    width_px: int
    height_px: int
    taken_at: str | None


def sniff(head: bytes) -> str | None:
    """Format of a file by its first bytes (at least 12), or None for anything not accepted."""
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(_PNG_SIGNATURE):
        return "PNG"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    return None


def check_size(width_px: int, height_px: int, limits: Limits) -> None:
    """Raises ImageTooManyPixels, ImageAspect or ImageTooSmall, in this order."""
    longest, shortest = max(width_px, height_px), min(width_px, height_px)
    said = f"{width_px}×{height_px}"
    if width_px * height_px > limits.max_pixels or longest > limits.max_side_px:
        raise ImageTooManyPixels(
            f"The picture has {said} pixels; at most {limits.max_pixels / 1e6:.0f} megapixels and "
            f"{limits.max_side_px} pixels a side are taken. Scale it down and upload it again."
        )
    if shortest > 0 and longest / shortest > limits.max_aspect:
        raise ImageAspect(
            f"The picture is {said}; one side may be at most {limits.max_aspect:g} times the other."
        )
    if shortest < limits.min_side_px:
        raise ImageTooSmall(
            f"The picture is {said}; each side needs at least {limits.min_side_px} pixels."
        )


def open_accepted(file: BinaryIO) -> Image.Image:
    """Open lazily with the accepted loaders only.

    Raises:
        FileEmpty, FormatUnsupported, ImageInvalid.
    """
    head = file.read(32)
    file.seek(0)
    if not head:
        raise FileEmpty("The file is empty.")
    if sniff(head) is None:
        raise FormatUnsupported(
            "Only JPEG, PNG and WebP pictures are taken, told by their content."
        )
    try:
        # Broken EXIF and the like warn; they do not make a picture unusable.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = Image.open(file, formats=(*ACCEPTED, "MPO"))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError) as error:
        raise ImageInvalid(
            "The picture's structure is broken; export it again and upload that."
        ) from error
    except (OverflowError, zlib.error) as error:  # MemoryError is the machine's, and passes
        raise ImageInvalid("The picture's structure is broken or hostile.") from error
    if picture.format in ("JPEG", "MPO"):
        file.seek(0)
        _check_jpeg_scans(file.read())
        file.seek(0)
    return picture


def _exif(picture: Image.Image) -> tuple[int, str | None]:
    """Orientation 1 to 8 and the time taken; (1, None) when EXIF is absent or broken."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exif = picture.getexif()
            orientation = exif.get(_EXIF_ORIENTATION, 1)
            taken = exif.get_ifd(0x8769).get(0x9003) or exif.get(0x0132)
    except Exception:  # any parser error of hostile metadata; the pixels may still be fine
        return 1, None
    known = orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1
    return known, taken if isinstance(taken, str) else None


def inspect(file: BinaryIO | bytes | Path, limits: Limits | None = None) -> ImageHeader:
    """Check a picture by its header alone; memory stays small whatever the header claims.

    Raises:
        FileEmpty, FileTooLarge, FormatUnsupported, ImageInvalid, ImageTooManyPixels, ImageAspect,
        ImageTooSmall.
    """
    limits = limits or Limits()
    if isinstance(file, Path):
        with file.open("rb") as opened:
            return inspect(opened, limits)
    if isinstance(file, bytes):
        file = io.BytesIO(file)
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if size > limits.max_bytes:
        raise FileTooLarge(
            f"The file has {size / 1e6:.1f} MB; at most {limits.max_bytes / 1e6:g} MB are taken."
        )
    picture = open_accepted(file)
    check_size(picture.width, picture.height, limits)
    if picture.format == "WEBP":
        _check_webp_length(file, size)
    elif picture.format == "PNG":
        _check_png_text(file, size)
    orientation, taken_at = _exif(picture)
    width, height = picture.size
    if orientation in _TURNED:
        width, height = height, width
    kind = "JPEG" if picture.format == "MPO" else str(picture.format)
    file.seek(0)
    return ImageHeader(kind, width, height, taken_at)


def _check_jpeg_scans(data: bytes) -> None:
    """Refuse a JPEG (or the first picture of an MPO) of more than `MAX_JPEG_SCANS` scans.

    Walks the segments as ITU-T T.81 annex B lays them out: what stands behind the end of the image,
    or inside a segment, is never taken for a scan.

    Raises:
        ImageInvalid.
    """
    scans, position = 0, 2
    while found := _JPEG_MARKER.search(data, position):
        marker, position = found[1][0], found.end()
        if marker == _JPEG_EOI:
            return
        scans += marker == _JPEG_SOS
        if scans > MAX_JPEG_SCANS:
            raise ImageInvalid(
                f"The JPEG has over {MAX_JPEG_SCANS} scans, as no camera or program writes them; "
                "save it again."
            )
        position += int.from_bytes(data[position : position + 2], "big")


def _check_webp_length(file: BinaryIO, size: int) -> None:
    # libwebp decodes the whole file or nothing; a cut one can be told from RIFF's own length.
    file.seek(4)
    declared = int.from_bytes(file.read(4), "little") + 8
    file.seek(0)
    if size < declared:
        raise ImageInvalid(
            f"The WebP file ends after {size} of {declared} bytes; upload it again in full."
        )


def _png_chunks(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int]]:
    """Kind and data length of each chunk up to IEND or the file's end; the file stands at the data."""
    position = len(_PNG_SIGNATURE)
    while position + 8 <= size:
        file.seek(position)
        length, kind = struct.unpack(">I4s", file.read(8))
        yield kind, length
        if kind == b"IEND":
            return
        position += length + 12


def _check_png_text(file: BinaryIO, size: int) -> None:
    """Refuse compressed text that unpacks to more than 1 MB in all, wherever in the file it stands.

    Pillow stops at such chunks too, but those behind the pixels only once it decodes them.
    """
    room = _MAX_PNG_TEXT_BYTES
    for kind, length in _png_chunks(file, size):
        if kind not in (b"zTXt", b"iTXt"):
            continue
        data = file.read(min(length, size))
        start = data.find(b"\x78")  # first byte of a zlib stream with the usual window
        if start < 0:
            continue
        with suppress(zlib.error):  # broken text is ignored like other broken metadata
            room -= len(zlib.decompressobj().decompress(data[start:], room + 1))
        if room < 0:
            raise ImageInvalid(
                "The PNG hides over 1 MB in compressed text; save it again without metadata."
            )
