"""`manage.py benchmark model|ingest|query|index|api`: how fast this machine is at it."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from PIL import Image as Pillow
from tqdm import tqdm

from retrieval import search
from retrieval.doorbell import ring_now
from retrieval.management.awaiting import workers_running
from retrieval.management.prepared import prepare
from retrieval.models import Analysis, Descriptor, Image
from retrieval.releases import weights_of
from retrieval.services import create_collection, remove_images
from retrieval.upload import store_upload
from segmentation.backbones import BACKBONES
from segmentation.decode import decode
from segmentation.predict import Parser
from segmentation.scenes import render
from segmentation.speed import batches_of, measure, random_parser
from workers import api_benchmark, index_benchmark


def picture_files(count: int, folder: Path) -> list[Path]:
    """Pictures to measure with: photographs where they are, each cropped anew to be distinct."""
    photos = sorted((settings.SHARED_DATA / "photos").glob("*.jpg"))
    paths = []
    for number in range(count):
        if photos:
            picture = Pillow.open(photos[number % len(photos)]).convert("RGB")
            top, left = divmod(number // len(photos) % 64, 8)
            picture = picture.crop((left, top, picture.width - 8 + left, picture.height - 8 + top))
        else:
            picture = Pillow.fromarray(render(number).image)
        path = folder / f"{number:05}.jpg"
        picture.save(path, quality=90)
        paths.append(path)
    return paths


def measure_model(parser: Parser, paths: list[Path], batch: int, rounds: int = 0) -> dict[str, Any]:
    """The network on decoded pictures beside the machine's matrix product, in one run."""
    batches = batches_of(parser, map(decode, paths), batch)

    def progress(numbers: list[int]) -> Iterable[int]:
        found: Iterable[int] = tqdm(numbers, "model", mininterval=1)
        return found

    return measure(parser, batches, rounds, progress).to_json()


def _worker_rss() -> float:
    """Memory of this machine's Celery workers together, MB."""
    total = 0
    for process in psutil.process_iter(["cmdline", "memory_info"]):
        if "workers.app" in " ".join(process.info["cmdline"] or []):
            total += process.info["memory_info"].rss
    return total / 1e6


def measure_ingest(paths: list[Path]) -> dict[str, Any]:
    """From files on the disk to recorded rows, by a worker that is warm; its memory meanwhile."""
    from django.contrib.auth import get_user_model

    users: Any = get_user_model().objects
    user = users.filter(is_superuser=True).first() or users.create_user(
        f"benchmark-{uuid.uuid4().hex[:6]}"
    )
    collection = create_collection(user, f"benchmark {uuid.uuid4().hex[:6]}")
    rows = Analysis.objects.filter(collection=collection)

    def take(some: list[Path], ring: bool) -> None:
        for path in some:
            with path.open("rb") as file:
                store_upload(file, filename=path.name, collection=collection, user=user)
        if ring:
            ring_now("bulk")

    def done() -> int:
        if rows.filter(state__in=("rejected", "failed", "quarantined")).exists():
            raise CommandError("a picture of the benchmark could not be parsed")
        return rows.filter(state="done").count()

    memory: list[float] = []
    try:
        with workers_running(("bulk",)):
            take(paths[:8], True)
            while done() < 8:
                time.sleep(0.1)
            started = time.perf_counter()
            take(paths[8:], True)
            with tqdm(total=len(paths), desc="ingest", mininterval=1) as bar:
                while (count := done()) < len(paths):
                    bar.update(count - bar.n)
                    memory.append(_worker_rss())
                    time.sleep(0.5)
            seconds = time.perf_counter() - started
    finally:
        remove_images(list(collection.images.all()))
        collection.delete()
    quarter = max(1, len(memory) // 4)
    return {
        "images": len(paths) - 8,
        "seconds": round(seconds, 1),
        "images_per_s": round((len(paths) - 8) / seconds, 2),
        "worker_mb_second_quarter": round(float(np.mean(memory[quarter : 2 * quarter] or memory))),
        "worker_mb_last_quarter": round(float(np.mean(memory[-quarter:]))),
    }


def measure_query(count: int) -> dict[str, Any]:
    """Searches by stored image through planner and SQL, one after the other."""
    release = prepare()
    ids = list(Descriptor.objects.filter(release=release).values_list("image_id", flat=True)[:2000])
    if not ids:
        raise CommandError("nothing is stored yet: ingest pictures first")
    rng, times = np.random.default_rng(0), []
    for number in rng.integers(0, len(ids), count):
        image = Image.objects.select_related("collection__owner").get(pk=ids[number])
        started = time.perf_counter()
        query = search.parse({"like": [{"image": str(image.pk)}], "limit": 20}, release=release)
        answer = search.run(query, image.collection.owner)
        times.append(1000 * (time.perf_counter() - started))
    return {
        "queries": count,
        "rows": answer.plan["matching"],
        "plan": answer.plan["kind"],
        "p50_ms": round(float(np.percentile(times, 50)), 1),
        "p95_ms": round(float(np.percentile(times, 95)), 1),
    }


class Command(BaseCommand):
    help = "Measure the network, the way from files to rows, or searches."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("what", choices=["model", "ingest", "query", "index", "api"])
        parser.add_argument("--images", type=int, default=2000, help="for ingest; model takes 200")
        parser.add_argument(
            "--regions", type=int, default=100_000, help="index: images with regions"
        )
        parser.add_argument(
            "--sources", type=int, default=600, help="index: pictures resampled from"
        )
        parser.add_argument("--backbone", choices=BACKBONES, help="model: random weights, stride 8")
        parser.add_argument("--size", type=int, default=473, help="model: sides for --backbone, px")
        parser.add_argument("--batch", type=int, default=settings.BATCH, help="model: at a time")
        parser.add_argument("--threads", type=int, default=0, help="model: 0 for torch's choice")
        parser.add_argument("--rounds", type=int, default=0, help="model: 0 for each batch once")
        parser.add_argument("--queries", type=int, default=200)
        parser.add_argument("--json", action="store_true")

    def handle(self, *, what: str, images: int, queries: int, **options: Any) -> None:
        result: dict[str, Any]
        if what == "query":
            result = measure_query(queries)
        elif what == "api":
            result = api_benchmark.measure(images, min(queries, 50))
        elif what == "index":
            result = index_benchmark.measure(
                images, min(queries, 50), options["regions"], options["sources"]
            )
        elif options["backbone"]:
            if options["threads"]:
                torch.set_num_threads(options["threads"])
            result = self._random(options)
        else:
            release = prepare()
            with tempfile.TemporaryDirectory() as folder:
                paths = picture_files(images if what == "ingest" else 200, Path(folder))
                if what == "ingest":
                    result = {"ingest": measure_ingest(paths)}
                parser = Parser.load(weights_of(release), settings.DEVICE, bf16=settings.BF16)
                model = measure_model(parser, paths[:400], options["batch"])
                if what == "ingest":
                    # What the model does for ingest ends with vectors, not with the last map.
                    rate, parsed = result["ingest"]["images_per_s"], model["parsed_images_per_s"]
                    result |= {"model": model, "ratio": round(rate / parsed, 3)}
                    result["ratio_to_network"] = round(rate / model["images_per_s"], 3)
                else:
                    result = model
        self.stdout.write(json.dumps(result) if options["json"] else json.dumps(result, indent=1))

    def _random(self, options: dict[str, Any]) -> dict[str, Any]:
        """A published network's speed, whatever is installed."""
        with tempfile.TemporaryDirectory() as folder:
            paths = picture_files(options["batch"] * 2, Path(folder))
            parser = random_parser(options["backbone"], options["size"], settings.DEVICE)
            return measure_model(parser, paths, options["batch"], options["rounds"] or 8)
