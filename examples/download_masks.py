"""Download the masks of a collection as PNG, and its classes as classes.json.

python examples/download_masks.py COLLECTION FOLDER

Run again, it fetches only masks that have changed: it keeps their ETags in etags.json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from paysage import Paysage


def main(name: str, folder: Path) -> None:
    paysage = Paysage()
    folder.mkdir(parents=True, exist_ok=True)
    classes = {row["index"]: row["name"] for row in paysage.rows("classes")}
    (folder / "classes.json").write_text(json.dumps(classes, indent=1, ensure_ascii=False))
    kept = folder / "etags.json"
    etags: dict[str, str] = json.loads(kept.read_text()) if kept.exists() else {}
    fetched = same = 0
    collection = paysage.collection(name)
    for image in paysage.rows("images", collection=collection, state="done", fields="id"):
        pk = image["id"]
        headers = {"If-None-Match": etags[pk]} if pk in etags else {}
        answer = paysage.ask("GET", f"images/{pk}/mask.png", headers=headers)
        if answer.status_code == 304:
            same += 1
            continue
        (folder / f"{pk}.png").write_bytes(answer.content)
        etags[pk] = answer.headers["ETag"]
        fetched += 1
    kept.write_text(json.dumps(etags, indent=1))
    print(f"{fetched} masks fetched, {same} unchanged, in {folder}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], Path(sys.argv[2]))
