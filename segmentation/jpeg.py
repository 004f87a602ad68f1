"""JPEG files decoded on the network's device: of camera files only a smaller picture comes back.

On CUDA torchvision hands them to nvJPEG. What it may read otherwise than Pillow does, and whatever it
refuses, is left to `segmentation.decode`, which also says what is wrong with a file.
"""

from __future__ import annotations

import io
import warnings

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision.io import ImageReadMode, decode_jpeg

from segmentation.decode import Rgb, decode
from segmentation.formats import Limits, check_size, open_accepted

_ORIENTATION = 0x0112  # EXIF tag
_END = b"\xff\xd9"
_SCALES = (8, 4, 2)


def decode_on(
    data: bytes,
    device: torch.device,
    limits: Limits | None = None,
    draft_px: int | None = None,
) -> Rgb:
    """As `decode`, with JPEG files decoded, turned and made smaller on the device.

    Sizes are those that libjpeg's scaled decoding has; each pixel is the mean of those it stands for.

    Raises:
        ImageTruncated, ImageInvalid, FormatUnsupported, ImageTooManyPixels, ImageAspect,
        ImageTooSmall: as `decode`.
    """
    picture = open_accepted(io.BytesIO(data))
    check_size(picture.width, picture.height, limits or Limits())
    pixels = _on_device(data, picture, device) if _is_plain(data, picture) else None
    if pixels is None:
        return decode(data, limits, draft_px)
    pixels = _smaller(pixels, picture.size, draft_px)
    found: Rgb = _upright(pixels, _orientation(picture)).permute(1, 2, 0).contiguous().cpu().numpy()
    return found


def _is_plain(data: bytes, picture: Image.Image) -> bool:
    """Whether every decoder reads the same: complete, grey or YCbCr as JFIF has it."""
    return (
        picture.format in ("JPEG", "MPO")
        and picture.mode in ("RGB", "L")
        and picture.info.get("adobe_transform", 1) == 1
        and data.rstrip(b"\0")[-2:] == _END  # decoders fill up what is missing, each in its own way
    )


def _on_device(data: bytes, picture: Image.Image, device: torch.device) -> Tensor | None:
    """uint8 (3, H, W) as stored; None where this decoder cannot, or the device is full."""
    with warnings.catch_warnings():
        # The buffer cannot be written to, and is not; torchvision moves its decoders to TorchCodec.
        warnings.simplefilter("ignore")
        raw = torch.frombuffer(data, dtype=torch.uint8)
        try:
            pixels: Tensor = decode_jpeg(raw, mode=ImageReadMode.RGB, device=device)
        except RuntimeError:
            return None
    return pixels if tuple(pixels.shape) == (3, picture.height, picture.width) else None


def _smaller(pixels: Tensor, size: tuple[int, int], draft_px: int | None) -> Tensor:
    """Means of k × k pixels, k the largest of 8, 4, 2 that leaves `draft_px` of the short side."""
    for k in _SCALES if draft_px else ():
        if draft_px and min(size) >= k * draft_px:
            # Half of float32's memory, and exact enough: a mean of at most 64 bytes, rounded to one.
            kind = torch.float16 if pixels.is_cuda else torch.float32
            means = F.avg_pool2d(pixels[None].to(kind), k, ceil_mode=True)[0]
            return means.round_().to(torch.uint8)
    return pixels


def _orientation(picture: Image.Image) -> int:
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    except Exception:  # broken EXIF: the pixels stand as they are, as in `decode`
        return 1


def _upright(pixels: Tensor, orientation: int) -> Tensor:
    """(3, H, W) turned as its EXIF orientation says (CIPA DC-008, 4.6.4 A)."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 2)
    axes = {2: [2], 3: [1, 2], 4: [1], 6: [2], 7: [1, 2], 8: [1]}.get(orientation)
    return pixels.flip(axes) if axes else pixels
