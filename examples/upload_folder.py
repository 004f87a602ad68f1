"""Upload the pictures of a folder into a collection, and wait until they are parsed.

python examples/upload_folder.py FOLDER COLLECTION

May be stopped and run again: a file that is there already is not stored twice.
"""

from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path

from paysage import Paysage

KINDS = {".jpg", ".jpeg", ".png", ".webp"}


def main(folder: Path, name: str) -> None:
    paysage = Paysage()
    collection = paysage.collection(name, make=True)
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in KINDS)
    for number, path in enumerate(files, 1):
        data = path.read_bytes()
        # The same file in the same collection is the same request, however often it is sent.
        key = hashlib.sha256(f"{collection} ".encode() + data).hexdigest()
        answer = paysage.ask(
            "POST",
            "images",
            data={"collection": collection, "tags": path.parent.name},
            files={"file": (path.name, data)},
            headers={"Idempotency-Key": key},
        )
        said = "stored" if answer.status_code == 201 else "there already"
        print(f"{number}/{len(files)} {path.name}: {said}", flush=True)
    while waiting := _summary(paysage, collection)["waiting"]:
        print(f"{waiting} to be parsed", flush=True)
        time.sleep(1)
    print({state: n for state, n in _summary(paysage, collection)["counts"].items() if n})


def _summary(paysage: Paysage, collection: int) -> dict[str, dict[str, int]]:
    summary: dict[str, dict[str, int]] = paysage.ask(
        "GET", "jobs/summary", params={"collection": collection}
    ).json()
    return summary


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2])
