"""Untrusted bytes to pixels: runs in a worker only, with the loaders `formats` allows."""

from __future__ import annotations

import io
import warnings
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from segmentation.errors import ImageInvalid, ImageTruncated
from segmentation.formats import Limits, check_size, open_accepted

Rgb = NDArray[np.uint8]

BACKGROUND = (128, 128, 128)
"""What shows through transparent pixels: mid-grey, as far from black ink as from white."""


def decode(data: bytes | Path, limits: Limits | None = None, draft_px: int | None = None) -> Rgb:
    """First frame of a picture, turned upright, as uint8 (H, W, 3) RGB.

    Args:
        data: the file's bytes, or its path.
        limits: sizes that are refused even when the header check was left out.
        draft_px: a JPEG may be decoded smaller as long as its short side keeps this many pixels;
            libjpeg then skips most of the work of camera-sized files.

    Raises:
        ImageTruncated: the pixels end too early.
        ImageInvalid: the structure is broken.
        FormatUnsupported, ImageTooManyPixels, ImageAspect, ImageTooSmall: as `formats.inspect`.
    """
    raw = data.read_bytes() if isinstance(data, Path) else data
    picture = open_accepted(io.BytesIO(raw))
    check_size(picture.width, picture.height, limits or Limits())
    if draft_px and picture.format in ("JPEG", "MPO"):
        _draft(picture, draft_px)
    _load(picture)
    return np.asarray(_to_rgb(_upright(picture)))


def _draft(picture: Image.Image, draft_px: int) -> None:
    scale = min(picture.size) / draft_px
    if scale >= 2:
        # Pillow picks the smallest DCT scale whose both sides are at least those asked for.
        picture.draft("RGB", (int(picture.width / scale), int(picture.height / scale)))


def _load(picture: Image.Image) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture.load()
    except (OSError, EOFError) as error:
        said = str(error).lower()
        if isinstance(error, EOFError) or "truncated" in said or "unrecognized data" in said:
            raise ImageTruncated(
                "The picture ends before its last pixel; upload it again in full."
            ) from error
        raise ImageInvalid("The picture's pixels cannot be decoded; export it again.") from error
    except (ValueError, SyntaxError, zlib.error, IndexError, OverflowError) as error:
        raise ImageInvalid("The picture's pixels cannot be decoded; export it again.") from error


def _upright(picture: Image.Image) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ImageOps.exif_transpose(picture)
    except (
        Exception
    ):  # broken EXIF: Pillow's parser raises many kinds; the pixels stand as they are
        return picture


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith(("I", "F")):
        return _from_16_bit(picture)
    if "transparency" in picture.info or picture.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        layer = picture.convert("RGBA")
        background = Image.new("RGBA", layer.size, (*BACKGROUND, 255))
        return Image.alpha_composite(background, layer).convert("RGB")
    return picture.convert("RGB")


def _from_16_bit(picture: Image.Image) -> Image.Image:
    """16-bit grey: `convert("RGB")` would clip everything over 255 to white, so scale first."""
    values = np.asarray(picture).astype(np.float64)
    grey = np.clip(np.rint(values / 257.0), 0, 255).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")
