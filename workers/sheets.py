"""Drawing how pictures were parsed, for those who asked."""

from __future__ import annotations

import io
import logging

from django.core.files.storage import default_storage
from django.db import OperationalError
from PIL import Image as Pillow

from retrieval import sheets
from retrieval.models import Sheet
from segmentation.decode import decode
from segmentation.errors import InputError
from segmentation.explain import SIDE_PX, explain
from workers.pipeline import load_parser

log = logging.getLogger("paysage.worker")


def draw(sheet: Sheet) -> None:
    """Draw one sheet and keep it."""
    with default_storage.open(sheet.image.original.name or "") as file:
        image = decode(file.read(), draft_px=2 * SIDE_PX)
    stages = []
    for stage in explain(load_parser(sheet.release_id), image):
        buffer = io.BytesIO()
        Pillow.fromarray(stage.picture).save(buffer, "PNG")
        stages.append(
            {
                "key": stage.key,
                "title": stage.title,
                "sentence": stage.sentence,
                "shape": stage.shape,
                "png": buffer.getvalue(),
            }
        )
    sheets.record(sheet, stages)


def draw_all() -> int:
    """Draw what is asked for; how many were drawn."""
    drawn = 0
    while (sheet := sheets.take()) is not None:
        try:
            draw(sheet)
            drawn += 1
        except (InputError, FileNotFoundError) as error:
            sheets.fail(sheet, str(error))
        except OperationalError:
            raise  # the database went away: the sheet is taken again when its minute is over
        except Exception as error:
            log.exception("drawing %s", sheet.image_id)
            sheets.fail(sheet, repr(error))
    return drawn
