"""Collections as their managers see them: name, visibility, members, removal."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from retrieval.errors import FieldInvalid, Forbidden, NameTaken, NotFound
from retrieval.models import Collection, Image, Membership
from retrieval.permissions import require_manage
from retrieval.services import checked_name, remove_images

User = Any
_REMOVED_TOGETHER = 500


def change_collection(
    user: User, collection: Collection, name: str | None = None, visibility: str | None = None
) -> Collection:
    """Rename a collection, or open or close it to everybody; FieldInvalid, Forbidden or NameTaken."""
    require_manage(user, collection)
    if name is not None:
        collection.name = checked_name(name)
    if visibility is not None:
        if visibility not in Collection.Visibility.values:
            raise FieldInvalid("Visibility is private or public.", field="visibility")
        collection.visibility = visibility
    try:
        with transaction.atomic():
            collection.save(update_fields=("name", "visibility"))
    except IntegrityError as error:
        raise NameTaken(
            f"Its owner has a collection named {collection.name!r} already.", field="name"
        ) from error
    return collection


def remove_collection(user: User, collection: Collection) -> None:
    """Delete a collection with all its pictures and files, for good; its owner alone may."""
    if collection.owner_id != user.pk and not user.is_superuser:
        raise Forbidden("Only its owner may delete a collection.")
    while images := list(Image.objects.filter(collection=collection)[:_REMOVED_TOGETHER]):
        remove_images(images)
    collection.delete()


def members_of(user: User, collection: Collection) -> QuerySet[Membership]:
    """Who else has a part in a collection, by name; for those who manage it."""
    require_manage(user, collection)
    return Membership.objects.filter(collection=collection).select_related("user").order_by("pk")


def set_member(
    user: User, collection: Collection, username: str, role: str
) -> tuple[Membership, bool]:
    """Give somebody a role, or another one; the membership, and whether it is new.

    Raises:
        Forbidden: the user may not manage the collection.
        NotFound: nobody has that name.
        FieldInvalid: no such role, or the owner, who has every right already.
    """
    require_manage(user, collection)
    if role not in Membership.Role.values:
        raise FieldInvalid(f"role is one of {', '.join(Membership.Role.values)}.", field="role")
    person = get_user_model().objects.filter(username=username, is_active=True).first()
    if person is None:
        raise NotFound("Nobody has that name.", field="username")
    if person.pk == collection.owner_id:
        raise FieldInvalid("The owner has every right already.", field="username")
    return Membership.objects.update_or_create(
        collection=collection, user=person, defaults={"role": role}
    )


def remove_member(user: User, collection: Collection, username: str) -> None:
    """Take somebody's part away; everybody may give up their own.

    Raises:
        NotFound: nobody of that name is a member.
    """
    if user.get_username() != username:
        require_manage(user, collection)
    gone, _ = Membership.objects.filter(collection=collection, user__username=username).delete()
    if not gone:
        raise NotFound("Nobody of that name is a member.")
