"""`manage.py benchmark index`: recall and speed of the indexes against exact search, by selectivity."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from django.conf import settings
from django.db import connection
from numpy.typing import NDArray

from retrieval.search import indexes, sql
from retrieval.search.grammar import Example, Query, Where
from retrieval.search.planner import Search, page_of
from retrieval.search.recall import recall_of
from retrieval.search.spaces import spaces_of
from retrieval.search.vectors import Part, Targets, painted
from segmentation.predict import Parser
from workers.resample import Batch, Resampler, sources_from
from workers.scratch import Scratch, scratch_database

SELECTIVITIES = (1.0, 0.1, 0.01, 0.001)
NEAREST = 10
EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
PAINTED_CELLS = 24
WARM = 60
"""Queries that are run before any is timed."""


@dataclass(frozen=True)
class Asked:
    """One query of the benchmark: what is searched near, and how its spaces are weighed."""

    targets: Targets
    rank: dict[str, float]


def _painted(batch: Batch, i: int, classes: int, rng: np.random.Generator) -> NDArray[Any]:
    """A scene painted as a person would: some cells of a real layout, each with its main class."""
    places, values = batch.layout[i]
    cells = {}
    for place, _ in sorted(zip(places.tolist(), values.tolist(), strict=True), key=lambda x: x[1]):
        cells[place // classes] = place % classes
    chosen = rng.permutation(list(cells))[:PAINTED_CELLS].tolist()
    return painted([(cell // 8, cell % 8, cells[cell]) for cell in chosen], classes)


def asked_of(
    batch: Batch, resampler: Resampler, ranking: dict[str, float]
) -> dict[str, list[Asked]]:
    """Queries of each kind from crops that are not in the database."""
    found: dict[str, list[Asked]] = {}
    rng = resampler.rng
    for i in range(len(batch.context)):
        layout = np.zeros(64 * resampler.classes)
        layout[batch.layout[i][0]] = batch.layout[i][1]
        whole = {
            "context": batch.context[i].astype(np.float64),
            "layout": layout,
            "composition": batch.composition[i].astype(np.float64),
        }
        for space, vector in whole.items():
            found.setdefault(space, []).append(Asked(Targets({space: vector}), {space: 1.0}))
        found.setdefault("default", []).append(Asked(Targets(whole), ranking))
        scene = Targets({"layout": _painted(batch, i, resampler.classes, rng)})
        found.setdefault("painted", []).append(Asked(scene, {"layout": 1.0}))
        source = resampler.sources[int(batch.sources[i])]
        row = source.rows[batch.regions[i][0][0]].astype(np.float64)
        part = Part(Example(EXAMPLE_ID, region=0), row / np.linalg.norm(row), 1.0)
        found.setdefault("region", []).append(Asked(Targets({}, (part,)), {"region": 1.0}))
    return found


EXAMPLE_ID: Any = None  # an example that is no stored picture


class Measurement:
    """Runs queries on a filled and indexed scratch database."""

    def __init__(self, scratch: Scratch, images: int, judged: int = 20) -> None:
        self.scratch, self.images = scratch, images
        self.judged = judged  # exact answers take long at a million: all are timed, some judged

    def search(self, asked: Asked, share: float, exact: bool) -> Search:
        """As the planner makes it ready."""
        end = EPOCH + timedelta(seconds=self.images * share - 1)
        where = Where(taken=(None, end)) if share < 1 else Where()
        cells = ((0, 0, 0),)  # says only that the query has vectors
        query = Query(where=where, limit=NEAREST, rank=asked.rank, exact=exact, cells=cells)
        clause = sql.filters(query, self.scratch.release, [self.scratch.collection.pk], [])
        user, release = self.scratch.user, self.scratch.release
        return Search(query, user, release, clause, asked.targets, asked.rank)

    def warm(self, asked: list[Asked], share: float) -> None:
        """Other queries first: a server that answers all day has its indexes in memory."""
        for one in asked:
            page_of(self.search(one, share, False), None)

    def row(self, space: str, asked: list[Asked], share: float) -> dict[str, Any]:
        """Recall, times and rows compared of one kind of query under one filter."""
        recalls: list[float] = []
        times, compared, kinds = [], [], set()
        for position, one in enumerate(asked):
            started = time.perf_counter()
            page = page_of(self.search(one, share, False), None)
            times.append(1000 * (time.perf_counter() - started))
            found = [row[1] for row in page.rows[:NEAREST]]
            compared.append(page.compared)
            kinds.add(page.kind)
            if page.kind == "exact":
                recalls.append(1.0)
                continue
            if position >= self.judged:
                continue
            search = self.search(one, share, True)
            best = sql.exact(search.where, search.scoring, NEAREST)
            recalls.append(recall_of(found, [row[1] for row in best]))
        return {
            "space": space,
            "filter_percent": 100 * share,
            "kind": "+".join(sorted(kinds)),
            "recall_at_10": round(float(np.mean(recalls)), 4),
            "p50_ms": round(float(np.percentile(times, 50)), 1),
            "p95_ms": round(float(np.percentile(times, 95)), 1),
            "compared": int(np.mean(compared)),
        }


def build(scratch: Scratch, memory_mb: int, has_regions: bool) -> dict[str, Any]:
    """Build every index; seconds and bytes of each."""
    seconds = {}
    for space in spaces_of(scratch.release).values():
        if space.name != "region" or has_regions:
            started = time.perf_counter()
            indexes.build_index(space, scratch.release, memory_mb, workers=2)
            seconds[space.name] = round(time.perf_counter() - started, 1)
    return {"seconds": seconds, "bytes": indexes.index_sizes(scratch.release)}


def in_process(
    vectors: NDArray[np.float16], asked: list[Asked], best: list[list[float]]
) -> dict[str, Any]:
    """hnswlib on the same context vectors with the same m and ef_construction: no SQL, no disk."""
    try:
        import hnswlib
    except ImportError:
        return {"skipped": "hnswlib is not installed (requirements-bench.txt)"}
    started = time.perf_counter()
    index = hnswlib.Index(space="cosine", dim=vectors.shape[1])
    space_m, space_ef = 16, 64
    index.init_index(len(vectors), ef_construction=space_ef, M=space_m)
    for start in range(0, len(vectors), 50_000):
        index.add_items(vectors[start : start + 50_000].astype(np.float32), num_threads=2)
    built = time.perf_counter() - started
    rows = []
    for ef in (100, 200, 400):
        index.set_ef(ef)
        times, recalls = [], []
        for one, scores in zip(asked, best, strict=True):
            query = one.targets.vectors["context"].astype(np.float32)
            started = time.perf_counter()
            labels, _ = index.knn_query(query, NEAREST, num_threads=1)
            times.append(1000 * (time.perf_counter() - started))
            found = vectors[labels[0]].astype(np.float32) @ query
            recalls.append(sum(float(s) >= scores[-1] - 1e-3 for s in found) / NEAREST)
        rows.append(
            {
                "ef": ef,
                "recall_at_10": round(float(np.mean(recalls)), 4),
                "p50_ms": round(float(np.percentile(times, 50)), 2),
                "p95_ms": round(float(np.percentile(times, 95)), 2),
            }
        )
    return {"build_s": round(built, 1), "queries": rows}


def measure(images: int, queries: int, region_images: int, sources: int) -> dict[str, Any]:
    """Fill, build, ask; everything in one scratch database that is dropped afterwards."""
    parser = Parser.load("starter", settings.DEVICE, bf16=settings.BF16)
    resampler = Resampler(sources_from(parser, sources), len(parser.manifest.labels))
    region_images = min(images, region_images)
    memory_mb = 512 if images <= 100_000 else 2048
    with scratch_database():
        scratch = Scratch(resampler)
        filled = scratch.fill(images, region_images)
        built = build(scratch, memory_mb, region_images > 0)
        measurement = Measurement(scratch, images)
        asked = asked_of(resampler.draw(queries), resampler, dict(scratch.release.ranking))
        if not region_images:
            asked.pop("region", None)
        others = asked_of(resampler.draw(WARM), resampler, dict(scratch.release.ranking))
        rows = []
        for space, some in asked.items():
            for share in SELECTIVITIES:
                measurement.warm(others[space], share)
                rows.append(measurement.row(space, some, share))
        best = []
        for one in asked["context"][: measurement.judged]:
            search = measurement.search(one, 1.0, True)
            best.append([float(r[1]) for r in sql.exact(search.where, search.scoring, NEAREST)])
        answer = {
            "images": images,
            "queries": queries,
            "fill_s": round(filled, 1),
            "table_bytes": _table_bytes(),
            "build_s": built["seconds"],
            "index_bytes": built["bytes"],
            "index_bytes_per_image": _per_image(built["bytes"], images, region_images),
            "region_images": region_images,
            "rows": rows,
            "hnswlib": in_process(scratch.contexts, asked["context"][: measurement.judged], best),
        }
    return answer


def _per_image(sizes: dict[str, int], images: int, region_images: int) -> dict[str, int]:
    """Bytes an image of each index and of all together; regions were made for the first images."""
    each = {
        space: round(size / (region_images if space == "region" else images))
        for space, size in sizes.items()
    }
    return {**each, "all": sum(each.values())}


def _table_bytes() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_table_size('retrieval_descriptor')")
        return int(cursor.fetchone()[0])
