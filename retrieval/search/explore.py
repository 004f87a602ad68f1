"""The map of a collection: what of it is seen in a window, one picture for each cell.

A worker projects the context vectors to the plane (`workers/projection.py`) and stores the points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from retrieval.models import Collection, MapPoint, Release, Statistic
from retrieval.search import sql
from retrieval.search.fields import Box

MAX_CELLS = 64


@dataclass(frozen=True)
class MapCell:
    """A cell of a window of the map.

    Attributes:
        image: id of the picture that stands for it, the one nearest its middle.
        x, y: where that lies; images: how many lie in the cell.
    """

    image: Any
    x: float
    y: float
    images: int


_WINDOW = """
WITH p AS (
    SELECT image_id, x, y,
           least(%(cells)s - 1, floor((x - %(x0)s) / (%(x1)s - %(x0)s) * %(cells)s)::int) AS cx,
           least(%(cells)s - 1, floor((y - %(y0)s) / (%(y1)s - %(y0)s) * %(cells)s)::int) AS cy
      FROM retrieval_mappoint
     WHERE collection_id = %(collection)s AND release_id = %(release)s
       AND x BETWEEN %(x0)s AND %(x1)s AND y BETWEEN %(y0)s AND %(y1)s
)
SELECT DISTINCT ON (cx, cy) image_id, x, y, count(*) OVER (PARTITION BY cx, cy)
  FROM p
 ORDER BY cx, cy,
          (x - %(x0)s - (cx + 0.5) * (%(x1)s - %(x0)s) / %(cells)s) ^ 2
        + (y - %(y0)s - (cy + 0.5) * (%(y1)s - %(y0)s) / %(cells)s) ^ 2, image_id
"""


def window(collection: Collection, release: Release, box: Box, cells: int) -> list[MapCell]:
    """Cells of a window that hold pictures: at most `cells`² of them, however many pictures.

    Args:
        box: (x0, y0, x1, y1) of the map, 0 to 1; zooming in makes it smaller.
    """
    x0, y0, x1, y1 = box
    values = {"x0": x0, "y0": y0, "x1": x1, "y1": y1, "cells": cells}
    values |= {"collection": collection.pk, "release": release.pk}
    with sql.connection.cursor() as cursor:
        cursor.execute(_WINDOW, values)
        return [MapCell(*row) for row in cursor.fetchall()]


def state(collection: Collection, release: Release) -> dict[str, Any]:
    """{"points", "images", "measured_at"}: how whole the map is."""
    found = Statistic.objects.filter(collection=collection, release=release, name="map").first()
    points = MapPoint.objects.filter(collection=collection, release=release).count()
    return {
        "points": points,
        "images": found.images if found else 0,
        "measured_at": found.measured_at.isoformat() if found else None,
    }
