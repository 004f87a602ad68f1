"""What searches would lose if another release answered them."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connection

from retrieval.models import Analysis, Release

_LACKING = """
SELECT count(*), count(*) FILTER (WHERE b.state IS DISTINCT FROM 'done'),
       count(*) FILTER (WHERE b.id IS NULL), count(*) FILTER (WHERE b.state = ANY(%s))
  FROM retrieval_analysis a
  LEFT JOIN retrieval_analysis b ON b.image_id = a.image_id AND b.release_id = %s
 WHERE a.release_id = %s AND a.state = 'done'
"""


@dataclass(frozen=True)
class Lacking:
    """What searches would lose: pictures done by the one release, of these not done by the other, and
    of these again those that it was not asked for and those that it ended badly with."""

    done: int
    lost: int
    unasked: int
    failed: int


def lacking(release: Release, shown: Release) -> Lacking:
    """What `release` lacks of the pictures that `shown` has done."""
    badly = [str(state) for state in Analysis.FINAL if state != Analysis.State.DONE]
    with connection.cursor() as cursor:
        cursor.execute(_LACKING, (badly, release.pk, shown.pk))
        return Lacking(*cursor.fetchone())
