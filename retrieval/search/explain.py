"""Why a picture is a hit: shares of its score by pairs of regions, by cells, by classes.

Pooling is linear: a picture's context is `Σ_r area_r · norm_r · vector_r / context_norm`, so the context
similarity of two pictures is a sum over pairs of their regions. Layout is a sum over cells and
composition one over classes. Every table here adds up to the similarity it explains.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import NotFound, QueryInvalid
from retrieval.models import Descriptor, Image, Region, Release
from retrieval.search import sql
from retrieval.search.grammar import GRID, Query
from retrieval.search.planner import Search, make_ready
from retrieval.search.vectors import as_text, dense, example_shares, numbers
from retrieval.selectors import classes_of, image_for

MAX_LINKS = 6
"""Most pairs of regions that are linked by colour."""

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class RegionPair:
    """One region of an example beside one of the hit.

    Attributes:
        similarity: cosine of the two regions.
        share: what the pair adds to the context similarity; negative where they differ.
        link: number of the pair's colour among the linked ones, or None.
    """

    query: Region
    hit: Region
    similarity: float
    share: float
    link: int | None = None


@dataclass(frozen=True)
class Explanation:
    """All reasons of one hit; similarities are cosines, whatever metric ordered the answer.

    A Euclidean similarity is no sum over regions, cells or classes, so the tables explain cosines.

    Attributes:
        similarities, weights: by space.
        scores: the similarities in the query's metric, equal to them for cosine; `score`, which is the
            hit's, is their weighted sum.
        pairs: largest share first; all of them sum to the context similarity.
        cells: (8, 8) shares of the layout similarity, or None where layout is not in use.
        classes: by class index: (share of the query, share of the hit, share of the composition
            similarity), the first two as areas.
        regions: of each region or box asked for, the hit's most similar segment.
    """

    image: Image
    release: Release
    score: float
    similarities: dict[str, float]
    scores: dict[str, float]
    weights: dict[str, float]
    pairs: list[RegionPair]
    cells: Matrix | None
    classes: list[tuple[int, float, float, float]]
    regions: list[dict[str, Any]]


def _region_rows(image: uuid.UUID, release: Release) -> tuple[list[Region], Matrix]:
    """Regions of a picture, and area · norm · vector of each, (R, D)."""
    regions = list(Region.objects.filter(image_id=image, release=release).order_by("number"))
    if not regions:
        return [], np.zeros((0, 1))
    return regions, np.stack([r.area * r.norm * numbers(r.vector) for r in regions])


def _pairs(search: Search, hit: Descriptor) -> list[RegionPair]:
    """Every region of every example with every region of the hit; shares sum to the similarity."""
    found: list[RegionPair] = []
    hit_regions, hit_rows = _region_rows(hit.image_id, search.release)
    examples = example_shares(search.query)
    rows = Descriptor.objects.filter(
        release=search.release, image_id__in=[e.image for e, _ in examples]
    )
    stored = {row.image_id: row for row in rows}
    total = sum(share * dense(stored[e.image], "context") for e, share in examples)
    length = float(np.linalg.norm(total))
    for example, share in examples:
        regions, weighted = _region_rows(example.image, search.release)
        norms = stored[example.image].context_norm * hit.context_norm * length
        shares: Any = share * (weighted @ hit_rows.T) / norms if regions and hit_regions else []
        for region, values in zip(regions, shares, strict=True):
            for other, value in zip(hit_regions, values, strict=True):
                cosine = float(numbers(region.vector) @ numbers(other.vector))
                found.append(RegionPair(region, other, cosine, float(value)))
    return sorted(found, key=lambda pair: -abs(pair.share))


def _linked(pairs: Sequence[RegionPair]) -> list[RegionPair]:
    """Give the strongest pairs a link, each region at most one."""
    used: set[tuple[uuid.UUID, int]] = set()
    linked = []
    count = 0
    for pair in pairs:
        ends = {(r.image_id, r.number) for r in (pair.query, pair.hit) if r.class_index is not None}
        if len(ends) == 2 and pair.share > 0 and count < MAX_LINKS and not ends & used:
            used |= ends
            pair = RegionPair(pair.query, pair.hit, pair.similarity, pair.share, count)
            count += 1
        linked.append(pair)
    return linked


def _cells(search: Search, hit: Descriptor) -> Matrix | None:
    vector = search.targets.vectors.get("layout")
    if vector is None:
        return None
    products = vector * dense(hit, "layout")
    return products.reshape(GRID, GRID, -1).sum(2)


def _classes(search: Search, hit: Descriptor) -> list[tuple[int, float, float, float]]:
    vector = search.targets.vectors.get("composition")
    if vector is None:
        return []
    own = dense(hit, "composition")
    rows = [
        (index, float(q * abs(q)), float(h * h), float(q * h))
        for index, (q, h) in enumerate(zip(vector, own, strict=True))
        if abs(q) > 1e-4 or h > 1e-4
    ]
    return sorted(rows, key=lambda row: -abs(row[3]))


def _region_score(search: Search, image: Image) -> float:
    """The region score of the picture in the query's metric, as its hit has it."""
    space, metric = sql.spaces_of(search.release)["region"], search.query.metric
    score = 0.0
    for part in search.targets.parts:
        vector, index = as_text("region", part.vector), part.example.class_index
        rows = sql.matched_regions(space, search.release, vector, index, [image.pk], metric)
        score += part.share * (float(rows[0][5]) if rows else sql.least_similarity(metric))
    return score


def _score(search: Search, space: str, hit: Descriptor) -> float:
    """The similarity of whole pictures in the query's metric; a painting has the cosine alone."""
    vector, own = search.targets.vectors[space], dense(hit, space)
    if search.query.metric == "euclidean" and not search.query.cells:
        return 1 - float(np.linalg.norm(vector - own)) / 2
    return float(vector @ own)


def _regions(search: Search, image: Image) -> tuple[list[dict[str, Any]], float]:
    """Each part's most similar segment, and the sum of their shares."""
    space = sql.spaces_of(search.release)["region"]
    found, score = [], 0.0
    for part in search.targets.parts:
        vector, index = as_text("region", part.vector), part.example.class_index
        rows = sql.matched_regions(space, search.release, vector, index, [image.pk])
        similarity = float(rows[0][5]) if rows else -1.0
        score += part.share * similarity
        found.append(
            {
                "example": {
                    "image": str(part.example.image),
                    "region": part.example.region,
                    "box": part.example.box,
                },
                "number": rows[0][1] if rows else None,
                "similarity": similarity,
                "share": part.share * similarity,
            }
        )
    return found, score


def explain(query: Query, user: Any, release: Release, image_id: uuid.UUID | str) -> Explanation:
    """Why `image_id` has the score that `run` gives it for this query.

    Raises:
        NotFound: the picture is not there for this user.
        QueryInvalid: it is not parsed, or the query has nothing to compare with.
    """
    image = image_for(user, image_id)
    hit = Descriptor.objects.filter(image=image, release=release).first()
    if hit is None:
        raise NotFound("This picture is not parsed by the active release.", field="image")
    if not query.has_vectors:
        raise QueryInvalid(
            "A query of classes alone has no score to explain: its hits are sorted by area.",
            field="query",
        )
    search = make_ready(query, user, release)
    similarities = {
        space: float(vector @ dense(hit, space)) for space, vector in search.targets.vectors.items()
    }
    scores = {space: _score(search, space, hit) for space in search.targets.vectors}
    regions: list[dict[str, Any]] = []
    if search.targets.parts:
        regions, similarities["region"] = _regions(search, image)
        scores["region"] = _region_score(search, image)
    pairs = _linked(_pairs(search, hit)) if "context" in search.targets.vectors else []
    return Explanation(
        image=image,
        release=release,
        score=sum(search.rank[space] * value for space, value in scores.items()),
        similarities=similarities,
        scores=scores,
        weights=dict(search.rank),
        pairs=pairs,
        cells=_cells(search, hit),
        classes=_classes(search, hit),
        regions=regions,
    )


def _region_json(region: Region, names: dict[int, str]) -> dict[str, Any]:
    index = region.class_index
    return {
        "image": str(region.image_id),
        "number": region.number,
        "class": None if index is None else names.get(index),
        "area": round(region.area, 5),
        "box": region.box,
    }


def to_json(explanation: Explanation, most_pairs: int = 20) -> dict[str, Any]:
    """The explanation as the API gives it; pairs beyond `most_pairs` are summed up as `others`."""
    names = {found.index: found.name for found in classes_of(explanation.release)}
    shown, rest = explanation.pairs[:most_pairs], explanation.pairs[most_pairs:]
    answer: dict[str, Any] = {
        "image": str(explanation.image.pk),
        "release": explanation.release.name,
        "score": explanation.score,
        "parts": {
            space: {
                "similarity": value,
                "score": explanation.scores[space],
                "weight": explanation.weights[space],
                "contribution": explanation.weights[space] * explanation.scores[space],
            }
            for space, value in explanation.similarities.items()
        },
    }
    if "context" in explanation.similarities:
        answer["context"] = {
            "pairs": [
                {
                    "query": _region_json(pair.query, names),
                    "hit": _region_json(pair.hit, names),
                    "similarity": round(pair.similarity, 5),
                    "share": pair.share,
                    "link": pair.link,
                }
                for pair in shown
            ],
            "others": sum(pair.share for pair in rest),
        }
    if explanation.cells is not None:
        answer["layout"] = {"grid": GRID, "cells": explanation.cells.tolist()}
    if explanation.classes:
        keys = ("query", "hit", "share")
        answer["composition"] = [
            {"class": names[index], **dict(zip(keys, values, strict=True))}
            for index, *values in explanation.classes
        ]
    if explanation.regions:
        answer["regions"] = explanation.regions
    return answer
