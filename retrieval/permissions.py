"""Who may see and change what: the one rule that API, pages, media and search share."""

from __future__ import annotations

from typing import Any

from django.db.models import Q, QuerySet

from retrieval.errors import Forbidden
from retrieval.models import Collection, Membership

User = Any


def visible_to(user: User) -> QuerySet[Collection]:
    """Collections whose images `user` may see, the own query pictures included; none for anonymous.

    What is in a trash, nobody sees.
    """
    if not user.is_authenticated:
        return Collection.objects.none()
    rule = Q(owner=user) | Q(visibility="public") | Q(memberships__user=user)
    if user.is_superuser:
        rule |= Q(kind="normal")
    return Collection.objects.filter(rule).exclude(kind="trash").distinct()


def editable_by(user: User) -> QuerySet[Collection]:
    """Collections whose images `user` may change: the set of which `can_edit` is the test."""
    if user.is_superuser:
        return visible_to(user)
    roles = (Membership.Role.EDITOR, Membership.Role.MANAGER)
    rule = Q(owner=user) | Q(memberships__user=user, memberships__role__in=roles)
    return Collection.objects.filter(rule).exclude(kind="trash").distinct()


def can_edit(user: User, collection: Collection) -> bool:
    """Owner, editors, managers and the administrator."""
    if collection.owner_id == user.pk or user.is_superuser:
        return True
    roles = (Membership.Role.EDITOR, Membership.Role.MANAGER)
    return collection.memberships.filter(user=user, role__in=roles).exists()


def require_edit(user: User, collection: Collection) -> None:
    """Raises Forbidden unless `can_edit`."""
    if not can_edit(user, collection):
        raise Forbidden(f"You may look at {collection.name!r} but not change it.")


def can_manage(user: User, collection: Collection) -> bool:
    """Owner, managers and the administrator: name, visibility, members and webhooks are theirs."""
    if collection.owner_id == user.pk or user.is_superuser:
        return True
    return collection.memberships.filter(user=user, role=Membership.Role.MANAGER).exists()


def managed_by(user: User) -> QuerySet[Collection]:
    """Collections that `user` manages: the set of which `can_manage` is the test."""
    if user.is_superuser:
        return visible_to(user)
    rule = Q(owner=user) | Q(memberships__user=user, memberships__role=Membership.Role.MANAGER)
    return Collection.objects.filter(rule).exclude(kind="trash").distinct()


def require_manage(user: User, collection: Collection) -> None:
    """Raises Forbidden unless `can_manage`."""
    if not can_manage(user, collection):
        raise Forbidden(f"You may not manage {collection.name!r}; ask its owner.")
