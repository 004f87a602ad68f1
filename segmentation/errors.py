"""Errors of the segmentation package: one tree, each with a wire code and a hint of what to do."""

from __future__ import annotations


class SegmentationError(Exception):
    """Base of every error raised on purpose here.

    Attributes:
        code: stable, machine-readable name that API answers and job lists show.
        http_status: the status a web layer answers with.
        retryable: whether the same work may succeed later without anybody changing the input.
    """

    code = "segmentation_error"
    http_status = 500
    retryable = False


class InputError(SegmentationError):
    """Raised when the bytes of a picture cannot be used; the picture has to change, not the server."""

    http_status = 422
    code = "image_invalid"


class FileEmpty(InputError):
    """Raised when a file has no bytes."""

    code = "file_empty"
    http_status = 400


class FileTooLarge(InputError):
    """Raised when a file is over the size limit in bytes."""

    code = "file_too_large"
    http_status = 413


class FormatUnsupported(InputError):
    """Raised when the bytes are not JPEG, PNG or WebP, whatever the name says."""

    code = "format_unsupported"
    http_status = 415


class ImageTooManyPixels(InputError):
    """Raised when the header declares more pixels, or a longer side, than the limits allow."""

    code = "image_too_many_pixels"


class ImageTooSmall(InputError):
    """Raised when a side is under the minimum in pixels."""

    code = "image_too_small"


class ImageAspect(InputError):
    """Raised when one side is too many times longer than the other."""

    code = "image_aspect"


class ImageInvalid(InputError):
    """Raised when a picture's structure is broken, so that nothing can be shown of it."""

    code = "image_invalid"


class ImageTruncated(InputError):
    """Raised when a picture begins well but its pixels end too early."""

    code = "image_truncated"


class WeightsError(SegmentationError):
    """Raised when weights or their manifest cannot be used: missing, altered or not fitting."""

    code = "weights_invalid"
    http_status = 422


class CheckpointError(WeightsError):
    """Raised when a published checkpoint cannot be imported; the message says why and what helps."""

    code = "checkpoint_invalid"


class CatalogueError(SegmentationError):
    """Raised when the catalogue has no model of a name."""

    code = "catalogue_unknown"
    http_status = 404


class DownloadError(SegmentationError):
    """Raised when a file could not be fetched whole; what came is kept, and a new try goes on there."""

    code = "download_failed"
    http_status = 502
    retryable = True


class DownloadCorrupt(SegmentationError):
    """Raised when a downloaded file is not the one the catalogue names."""

    code = "download_corrupt"
    http_status = 502


class DiskFull(SegmentationError):
    """Raised when a download does not fit on the disk."""

    code = "disk_full"
    http_status = 507


class DatasetError(SegmentationError):
    """Raised when a folder does not hold a data set in the expected format."""

    code = "dataset_invalid"
    http_status = 422


class ConfigError(SegmentationError):
    """Raised when a training configuration names unknown settings or impossible values."""

    code = "config_invalid"
    http_status = 422


class TrainingDiverged(SegmentationError):
    """Raised when the loss of a training run is no number any more; a lower rate helps."""

    code = "training_diverged"
    http_status = 422


class DeviceOutOfMemory(SegmentationError):
    """Raised when a batch does not fit on the device; smaller batches may."""

    code = "device_out_of_memory"
    http_status = 503
    retryable = True
