"""Uploads are counted while they stream in."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.files.uploadhandler import TemporaryFileUploadHandler

from retrieval.errors import FileTooLarge


class LimitedTemporaryFileHandler(TemporaryFileUploadHandler):
    """Spools a file to disk and stops at the limit, whatever length the request claimed."""

    def most_bytes(self) -> int:
        return int(settings.MAX_UPLOAD_BYTES)

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        self.received = 0
        super().new_file(*args, **kwargs)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes | None:
        self.received += len(raw_data)
        if self.received > self.most_bytes():
            self.upload_interrupted()
            raise FileTooLarge(f"The file is over {self.most_bytes() / 1e6:g} MB.", field="file")
        return super().receive_data_chunk(raw_data, start)  # type: ignore[func-returns-value]


class ArchiveUploadHandler(LimitedTemporaryFileHandler):
    """The same with the limit of archives."""

    def most_bytes(self) -> int:
        return int(settings.MAX_ARCHIVE_BYTES)
