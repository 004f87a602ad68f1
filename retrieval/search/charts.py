"""What collections hold, in numbers: exact counts, histograms and areas of classes, co-occurrence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from django.conf import settings

from retrieval.models import Collection, Release, Statistic
from retrieval.search import sql, statistics
from retrieval.search.grammar import Query, parse
from retrieval.search.planner import searched_collections, where_of
from retrieval.selectors import classes_of

BINS = 20
OCCURS = 0.01
"""Share from which a class counts as occurring in a picture."""


def count(query: Query, user: Any, release: Release) -> int:
    """Exactly how many visible pictures match."""
    return sql.count(where_of(query, user, release))


_BINS = """
SELECT a.class_index, least({bins} - 1, floor(a.fraction * {bins})::int) AS bin, count(*)
  FROM retrieval_classarea a
 WHERE a.release_id = {release} AND a.collection_id = ANY(%s) {filter}
 GROUP BY 1, 2
"""


def histograms(query: Query, user: Any, release: Release) -> dict[str, Any]:
    """Of every class, how many pictures have it with each share; what stands behind its slider.

    Counts what the query's filters on records leave, without its class ranges, so that a slider
    shows what moving it would bring. Bin i holds shares from i/20 to (i+1)/20; pictures without the
    class are counted in `without`.
    """
    where = sql.filters(parse({}, release=release), release, searched_collections(query, user), [])
    images = sql.count(where)
    restricted = sql.filters(
        Query(where=query.where), release, searched_collections(query, user), []
    )
    text, values = "", ()
    if restricted != where:
        images = sql.count(restricted)
        text = (
            "AND a.image_id IN (SELECT d.image_id FROM retrieval_descriptor d WHERE "
            f"{restricted.text})"
        )
        values = restricted.values
    rows = sql.rows_of(
        _BINS.format(bins=BINS, release=int(release.pk), filter=text),
        (searched_collections(query, user), *values),
    )
    bins = np.zeros((release.classes.count(), BINS), int)
    for index, place, found in rows:
        bins[index, place] = found
    return {
        "images": images,
        "bins": BINS,
        "classes": [
            {
                "name": c.name,
                "counts": bins[c.index].tolist(),
                "without": int(images - bins[c.index].sum()),
            }
            for c in classes_of(release)
        ],
    }


_SETS = """
SELECT classes, count(*) FROM (
    SELECT array_agg(a.class_index ORDER BY a.class_index) AS classes
      FROM retrieval_classarea a
     WHERE a.release_id = %s AND a.collection_id = ANY(%s) AND a.fraction >= %s
     GROUP BY a.image_id) s
 GROUP BY classes
"""
_AREAS = """
SELECT a.class_index, sum(a.fraction), count(*)
  FROM retrieval_classarea a WHERE a.release_id = %s AND a.collection_id = ANY(%s) GROUP BY 1
"""


def measure(collections: Sequence[int], release: Release) -> dict[str, Any]:
    """Mean area of each class, and of each two classes in how many pictures both occur.

    Pictures are counted by the set of their classes first: there are far fewer sets than pictures.
    """
    classes = release.classes.count()
    together = np.zeros((classes, classes), np.int64)
    for found, times in sql.rows_of(_SETS, (release.pk, list(collections), OCCURS)):
        together[np.ix_(found, found)] += times
    where = sql.filters(parse({}, release=release), release, collections, [])
    images = sql.count(where)
    areas, pictures = np.zeros(classes), np.zeros(classes, int)
    for index, total, number in sql.rows_of(_AREAS, (release.pk, list(collections))):
        areas[index], pictures[index] = total / max(images, 1), number
    return {
        "images": images,
        "areas": [round(float(a), 6) for a in areas],
        "pictures": pictures.tolist(),
        "together": together.tolist(),
    }


def keep(collection: Collection, release: Release) -> Statistic:
    """Measure one collection and store it; large ones are charted from there."""
    values = measure([collection.pk], release)
    return statistics.keep(collection, release, "charts", values["images"], values)


def charts(collections: Sequence[int], release: Release) -> dict[str, Any]:
    """Areas and co-occurrence over these collections, from what is kept where they are large.

    `together[i][j]` counts pictures in which classes i and j both cover 1 % or more; the diagonal
    counts pictures with the class.
    """
    figures = []
    for pk in collections:
        found = Statistic.objects.filter(collection=pk, release=release, name="charts").first()
        if found is not None and found.images > settings.EXACT_ROWS:
            figures.append(found.values)
        else:
            figures.append(measure([pk], release))
    images = sum(f["images"] for f in figures)
    names = [c.name for c in classes_of(release)]
    nothing = np.zeros(len(names))
    areas = sum((f["images"] * np.array(f["areas"]) for f in figures), nothing) / max(images, 1)
    pictures = sum((np.array(f["pictures"]) for f in figures), nothing)
    together = sum((np.array(f["together"]) for f in figures), np.zeros((len(names),) * 2))
    return {
        "images": images,
        "classes": [
            {"name": name, "mean_area": round(float(a), 6), "images": int(p)}
            for name, a, p in zip(names, areas, pictures, strict=True)
        ],
        "together": together.astype(int).tolist(),
    }
