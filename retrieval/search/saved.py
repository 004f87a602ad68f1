"""Saved searches: kept with a name, shared within a collection, and what is new since last looked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.utils import timezone

from retrieval.errors import FieldInvalid, Forbidden, NameTaken, NotFound
from retrieval.models import Collection, Image, Membership, Release, SavedSearch, SavedSearchLook
from retrieval.permissions import can_manage, managed_by, require_edit, visible_to
from retrieval.search import charts
from retrieval.search.answers import Answer, run
from retrieval.search.grammar import MAX_LIMIT, Query, parse
from retrieval.search.vectors import descriptors_of

User = Any


def searches_for(user: User) -> QuerySet[SavedSearch]:
    """The user's own, and those shared within collections that the user and their author see."""
    member = Membership.objects.filter(collection=OuterRef("collection"), user=OuterRef("owner"))
    author_sees = (
        Q(collection__owner=F("owner"))
        | Q(collection__visibility="public")
        | Q(owner__is_superuser=True)
        | Exists(member)
    )
    shared = Q(author_sees, shared=True, collection__in=visible_to(user))
    return (
        SavedSearch.objects.filter(Q(owner=user) | shared)
        .select_related("owner", "collection")
        .order_by("name", "id")
    )


def search_for(user: User, pk: int) -> SavedSearch:
    """NotFound for what does not exist and what is not the user's to see, alike."""
    found = searches_for(user).filter(pk=pk).first()
    if found is None:
        raise NotFound("There is no such saved search.")
    return found


def _checked_name(name: str) -> str:
    name = name.strip().replace("\0", "")
    if not name or len(name) > 120:
        raise FieldInvalid("A saved search's name has 1 to 120 characters.", field="name")
    return name


def _checked_query(query: Any, release: Release) -> dict[str, Any]:
    parse(query, release=release)
    return {key: value for key, value in query.items() if key not in ("cursor", "limit")}


def _store(search: SavedSearch) -> SavedSearch:
    try:
        with transaction.atomic():
            search.save()
    except IntegrityError as error:
        raise NameTaken(
            f"You have a saved search named {search.name!r} already.", field="name"
        ) from error
    return search


def _require_sharing(user: User, collection: Collection | None) -> None:
    """What is shared stands on everybody's page, so it takes the right to change the collection."""
    if collection is None:
        raise FieldInvalid("A search is shared within a collection; name one.", field="collection")
    require_edit(user, collection)


def save(
    user: User,
    name: str,
    query: Any,
    release: Release,
    collection: Collection | None = None,
    shared: bool = False,
) -> SavedSearch:
    """Keep a query.

    Raises:
        FieldInvalid, QueryInvalid, NameTaken: by its name, its query, or no collection to share in.
        Forbidden: it is shared in a collection that the user may not change.
    """
    name, query = _checked_name(name), _checked_query(query, release)
    if shared:
        _require_sharing(user, collection)
    made = SavedSearch(owner=user, name=name, query=query, collection=collection, shared=shared)
    return _store(made)


def change(user: User, search: SavedSearch, release: Release, **values: Any) -> SavedSearch:
    """Change name, query, collection or shared; only the owner may.

    Those who manage the collection may end the sharing, and nothing else. A query that is not given
    is not checked: one that no longer means anything can be renamed still.

    Raises:
        Forbidden: it is somebody else's, or stays shared where the user may not change anything.
        FieldInvalid, QueryInvalid, NameTaken: as for a new one.
    """
    if not (values == {"shared": False} and manages_sharing(user, search)):
        require_owner(user, search)
    for key, value in values.items():
        setattr(search, key, value)
    search.name = _checked_name(search.name)
    if "query" in values:
        search.query = _checked_query(search.query, release)
    if search.shared:
        _require_sharing(user, search.collection)
    return _store(search)


def manages_sharing(user: User, search: SavedSearch) -> bool:
    """Whether the search is shared in a collection that the user manages."""
    shared_in = search.collection if search.shared else None
    return shared_in is not None and can_manage(user, shared_in)


def removable(user: User, searches: Sequence[SavedSearch]) -> set[int]:
    """Ids of those that the user may delete or share no longer; asks nothing where all are own."""
    own = {one.pk for one in searches if one.owner_id == user.pk or user.is_superuser}
    others = [one for one in searches if one.pk not in own and one.shared]
    if not others:
        return own
    places = {one.collection_id for one in others if one.collection_id is not None}
    managed = set(managed_by(user).filter(pk__in=places).values_list("pk", flat=True))
    return own | {one.pk for one in others if one.collection_id in managed}


def require_owner(user: User, search: SavedSearch) -> None:
    """Raises Forbidden unless the search is the user's own."""
    if search.owner_id != user.pk and not user.is_superuser:
        raise Forbidden(f"{search.name!r} is {search.owner}'s; save it under a name of your own.")


def delete(user: User, search: SavedSearch) -> None:
    """Remove it for everybody; Forbidden unless it is one's own, or shared where one manages."""
    if not manages_sharing(user, search):
        require_owner(user, search)
    search.delete()


# --- looking -----------------------------------------------------------------------------------


def looked_at(user: User, search: SavedSearch) -> datetime | None:
    """When the user looked last."""
    found = SavedSearchLook.objects.filter(user=user, search=search).first()
    return found.looked_at if found else None


def looks_at(user: User, searches: Sequence[SavedSearch]) -> dict[int, datetime]:
    """When the user looked last at each of these that was looked at, by id."""
    rows = SavedSearchLook.objects.filter(user=user, search__in=searches)
    return dict(rows.values_list("search_id", "looked_at"))


def look(user: User, search: SavedSearch, release: Release, **page: Any) -> tuple[Answer, int]:
    """The answer with the user's own rights, and how many of it are new; remembers the look.

    `page` may hold limit and cursor; only a first page counts as a look.
    """
    query = parse({**search.query, **page}, release=release)
    answer = run(query, user, release)
    new = new_since(user, search, release)
    if query.cursor is None:
        SavedSearchLook.objects.update_or_create(
            user=user, search=search, defaults={"looked_at": timezone.now()}
        )
    return answer, new


def _since(query: Query, moment: datetime) -> Query:
    return replace(query, where=replace(query.where, parsed=(moment, query.where.parsed[1])))


def new_since(user: User, search: SavedSearch, release: Release) -> int:
    """How many pictures of the answer were parsed after the user's last look.

    A query of filters alone matches or does not, so its new matches are counted. A ranked query
    orders everything there is: of it the first 200 are the answer. Without a look nothing is new.

    Raises:
        QueryInvalid: a class or an example means nothing to this release any more.
        NotFound: an example is gone, or not the user's to see.
    """
    query = parse(search.query, release=release)
    descriptors_of(query, release, user)  # a dead search says so before anybody looked, too
    moment = looked_at(user, search)
    if moment is None:
        return 0
    newer = _since(query, moment)
    if not query.has_vectors:
        return charts.count(newer, user, release)
    if not charts.count(newer, user, release):
        return 0
    hits = run(replace(query, limit=MAX_LIMIT), user, release).hits
    return (
        Image.objects.filter(pk__in=[hit.image.pk for hit in hits])
        .exclude(analyses__state="done", analyses__finished_at__lte=moment)
        .count()
    )
