"""Errors of the retrieval package: one tree; each class carries its wire code and what to do."""

from __future__ import annotations


class RetrievalError(Exception):
    """Base of every error raised on purpose here.

    Attributes:
        code: stable, machine-readable name on the wire.
        http_status: the status a web layer answers with.
        retryable: whether the same request may succeed later without a change.
        field: the request's field that is to blame, or None.
    """

    code = "internal_error"
    http_status = 500
    retryable = False

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class NotFound(RetrievalError):
    """Raised for what does not exist and for what the user may not see, without a difference."""

    code = "not_found"
    http_status = 404


class Forbidden(RetrievalError):
    """Raised when the user sees a thing but may not change it."""

    code = "forbidden"
    http_status = 403


class NotSignedIn(RetrievalError):
    """Raised when a request carries neither a session nor a token."""

    code = "not_signed_in"
    http_status = 401


class TokenInvalid(RetrievalError):
    """Raised when an API token is unknown, expired or revoked."""

    code = "token_invalid"
    http_status = 401


class TooManyTries(RetrievalError):
    """Raised for another sign-in from where many were just wrong."""

    code = "throttled"
    http_status = 429
    retryable = True


class FieldInvalid(RetrievalError):
    """Raised when a field of a request has an impossible value."""

    code = "field_invalid"
    http_status = 400


class NameTaken(RetrievalError):
    """Raised when a name that must be unique exists already."""

    code = "name_taken"
    http_status = 409


class PreconditionFailed(RetrievalError):
    """Raised when a thing is no longer what If-Match says; read it again before changing it."""

    code = "precondition_failed"
    http_status = 412


class KeyReused(RetrievalError):
    """Raised when an Idempotency-Key comes again with another content."""

    code = "idempotency_key_reused"
    http_status = 422


class KeyInUse(RetrievalError):
    """Raised when a request with the same Idempotency-Key is still being answered."""

    code = "idempotency_key_in_use"
    http_status = 409
    retryable = True


class ArchiveRefused(RetrievalError):
    """Raised when a ZIP is dangerous or unreadable; nothing of it is kept."""

    code = "archive_refused"
    http_status = 422


class AddressRefused(RetrievalError):
    """Raised when a webhook's address is not one that the platform may call."""

    code = "address_refused"
    http_status = 400


class FileRequired(RetrievalError):
    """Raised when an upload carries no file field."""

    code = "file_required"
    http_status = 400


class FileEmpty(RetrievalError):
    """Raised when an uploaded file has no bytes."""

    code = "file_empty"
    http_status = 400


class FileTooLarge(RetrievalError):
    """Raised while streaming, as soon as an upload is over the size limit."""

    code = "file_too_large"
    http_status = 413


class OffsetConflict(RetrievalError):
    """Raised when a part of a resumable upload does not begin where the upload ends."""

    code = "offset_conflict"
    http_status = 409
    retryable = True


class ChecksumMismatch(RetrievalError):
    """Raised when a part of a resumable upload is not what its checksum says (460 in tus)."""

    code = "checksum_mismatch"
    http_status = 460
    retryable = True


class UploadBusy(RetrievalError):
    """Raised when two parts of one upload come at once."""

    code = "upload_busy"
    http_status = 423
    retryable = True


class UploadBroken(RetrievalError):
    """Raised when an upload's body ends early or cannot be read as a form."""

    code = "upload_broken"
    http_status = 400


class ImageRefused(RetrievalError):
    """Raised when an uploaded file is no acceptable picture; code and status are the reason's own."""

    code = "image_invalid"
    http_status = 422

    def __init__(self, message: str, *, code: str, http_status: int) -> None:
        super().__init__(message, field="file")
        self.code = code
        self.http_status = http_status


class StorageFull(RetrievalError):
    """Raised when the disk has no room for an upload; nothing of it is kept."""

    code = "storage_full"
    http_status = 507
    retryable = True


class DatabaseUnavailable(RetrievalError):
    """Raised when PostgreSQL does not answer."""

    code = "database_unavailable"
    http_status = 503
    retryable = True


class QueryInvalid(RetrievalError):
    """Raised when a search is not in the grammar; the message gives the nearest known name."""

    code = "query_invalid"
    http_status = 400


class DatabaseTooOld(RetrievalError):
    """Raised at the start when pgvector is missing or older than what keeps indexes whole."""

    code = "database_too_old"
    http_status = 503


class NoActiveRelease(RetrievalError):
    """Raised when no model release is active, so that nothing can be parsed or searched."""

    code = "no_active_release"
    http_status = 503
    retryable = True


class StateConflict(RetrievalError):
    """Raised when an analysis or a release is not in a state that allows what was asked."""

    code = "state_conflict"
    http_status = 409
