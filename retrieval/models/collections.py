"""Collections of images and who may do what in them."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q


class Collection(models.Model):
    """A set of images that share an owner, members and visibility.

    Each user has at most one hidden collection of kind `queries` (pictures uploaded to search with) and
    one of kind `trash` (pictures deleted lately, which no one sees and which can be brought back).
    """

    class Visibility(models.TextChoices):
        PRIVATE = "private", "private"
        PUBLIC = "public", "public"

    class Kind(models.TextChoices):
        NORMAL = "normal", "normal"
        QUERIES = "queries", "queries"
        TRASH = "trash", "trash"

    name = models.CharField(max_length=120)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="collections"
    )
    visibility = models.CharField(
        max_length=10, choices=Visibility.choices, default=Visibility.PRIVATE
    )
    kind = models.CharField(max_length=10, choices=Kind.choices, default=Kind.NORMAL)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("name", "id")
        constraints = (
            models.UniqueConstraint(
                fields=("owner", "name"),
                condition=Q(kind="normal"),
                name="collection_name_per_owner",
            ),
            models.UniqueConstraint(
                fields=("owner",),
                condition=Q(kind="queries"),
                name="collection_one_queries_per_owner",
            ),
            models.UniqueConstraint(
                fields=("owner",),
                condition=Q(kind="trash"),
                name="collection_one_trash_per_owner",
            ),
            models.CheckConstraint(
                condition=Q(visibility__in=("private", "public")),
                name="collection_visibility_known",
            ),
            models.CheckConstraint(
                condition=Q(kind="normal") | Q(kind__in=("queries", "trash"), visibility="private"),
                name="collection_hidden_private",
            ),
        )

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """What a user who is not the owner may do in a collection."""

    class Role(models.TextChoices):
        VIEWER = "viewer", "viewer"
        EDITOR = "editor", "editor"
        MANAGER = "manager", "manager"

    collection = models.ForeignKey(
        Collection, on_delete=models.CASCADE, related_name="memberships", db_index=False
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships"
    )
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.VIEWER)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("collection", "user"), name="membership_once"),
            models.CheckConstraint(
                condition=Q(role__in=("viewer", "editor", "manager")), name="membership_role_known"
            ),
        )

    def __str__(self) -> str:
        return f"{self.user_id} {self.role} of {self.collection_id}"
