"""Uploads that arrive in parts and may be broken off."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from retrieval.ids import new_id
from retrieval.models.collections import Collection
from retrieval.models.images import Image


class Upload(models.Model):
    """One file on its way in; its bytes lie in the staging folder under the row's id.

    Attributes:
        sha256: of the whole file as its sender sees it, or "".
        length, offset: bytes announced, and bytes received and flushed to the disk.
        image: what became of it; None until the last byte is there.
        created: whether the file was new in its collection.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="+")
    filename = models.CharField(max_length=255, blank=True)
    tags = models.JSONField(default=list, blank=True)
    sha256 = models.CharField(max_length=64, blank=True)
    length = models.PositiveBigIntegerField()
    offset = models.PositiveBigIntegerField(default=0)
    image = models.ForeignKey(Image, on_delete=models.CASCADE, null=True, related_name="+")
    created = models.BooleanField(default=True)
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=Q(length__gt=0, offset__lte=F("length")), name="upload_offset_within"
            ),
        )

    def __str__(self) -> str:
        return f"{self.filename} {self.offset}/{self.length}"
