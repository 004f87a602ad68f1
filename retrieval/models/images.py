"""Images, as uploaded, and their tags."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from retrieval.ids import new_id
from retrieval.models.collections import Collection


class Tag(models.Model):
    """A word that images of one collection can carry."""

    collection = models.ForeignKey(
        Collection, on_delete=models.CASCADE, related_name="tags", db_index=False
    )
    name = models.CharField(max_length=80)

    class Meta:
        ordering = ("name",)
        constraints = (
            models.UniqueConstraint(fields=("collection", "name"), name="tag_name_per_collection"),
        )

    def __str__(self) -> str:
        return self.name


class Image(models.Model):
    """One uploaded picture.

    Attributes:
        sha256: of the original's bytes, lower-case hex; unique within a collection.
        width_px, height_px: after the rotation that EXIF asks for.
        format: by the bytes, never by the name.
        original: storage name made from the id; the user's file name lives in `title` only.
        thumb_256, thumb_1024: WebP without metadata, made by a worker; empty until parsed.
        expires_at: when the picture is deleted by itself (query uploads, rejected pictures).
        deletion: which deletion put the picture into a trash; `deleted_from`: where it was before.
        rendered: drawn by `segmentation.scenes`, and called so wherever it is shown.
    """

    class Format(models.TextChoices):
        JPEG = "JPEG", "JPEG"
        PNG = "PNG", "PNG"
        WEBP = "WEBP", "WebP"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    collection = models.ForeignKey(
        Collection, on_delete=models.CASCADE, related_name="images", db_index=False
    )
    uploader = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="uploads"
    )
    sha256 = models.CharField(max_length=64)
    size_bytes = models.PositiveBigIntegerField()
    width_px = models.PositiveIntegerField()
    height_px = models.PositiveIntegerField()
    format = models.CharField(max_length=4, choices=Format.choices)
    title = models.CharField(max_length=255, blank=True)
    taken_at = models.DateTimeField(null=True, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    tags = models.ManyToManyField(Tag, through="ImageTag", related_name="images", blank=True)
    original = models.FileField(max_length=200)
    thumb_256 = models.FileField(max_length=200, blank=True)
    thumb_1024 = models.FileField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    deletion = models.UUIDField(null=True, blank=True)
    deleted_from = models.ForeignKey(
        Collection, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    rendered = models.BooleanField(default=False)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("collection", "sha256"), name="image_once_per_collection"
            ),
            models.CheckConstraint(
                condition=Q(width_px__gt=0, height_px__gt=0, size_bytes__gt=0),
                name="image_sizes_positive",
            ),
            models.CheckConstraint(
                condition=Q(sha256__regex=r"^[0-9a-f]{64}$"), name="image_sha256_hex"
            ),
            models.CheckConstraint(
                condition=Q(format__in=("JPEG", "PNG", "WEBP")), name="image_format_known"
            ),
        )
        indexes = (
            # Ids are ordered by time: this is the gallery's order, newest first.
            models.Index(fields=("collection", "-id"), name="image_gallery"),
            # With the id in it a filter by date reads no pictures, 1 % of a million of them scattered.
            models.Index(fields=("collection", "taken_at"), include=("id",), name="image_taken"),
            models.Index(fields=("collection", "title", "id"), name="image_title"),
            models.Index(
                fields=("deletion",), condition=Q(deletion__isnull=False), name="image_deletion"
            ),
            models.Index(
                fields=("expires_at",), condition=Q(expires_at__isnull=False), name="image_expiry"
            ),
        )

    def __str__(self) -> str:
        return self.title or str(self.pk)


class ImageTag(models.Model):
    """That an image carries a tag; both are of `collection`. Written by `services.tag_images`."""

    image = models.ForeignKey(
        Image, on_delete=models.CASCADE, related_name="image_tags", db_index=False
    )
    tag = models.ForeignKey(Tag, on_delete=models.CASCADE, related_name="image_tags")
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="+")

    class Meta:
        constraints = (models.UniqueConstraint(fields=("image", "tag"), name="image_tag_once"),)

    def __str__(self) -> str:
        return f"{self.image_id} {self.tag_id}"
