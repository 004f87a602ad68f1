"""Search by words, by a picture, or by both; one line for each hit.

python examples/search.py "street with trees, no cars"
python examples/search.py "sky over 30 %" --like photo.jpg --limit 10
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from paysage import Paysage


def main(text: str, picture: Path | None, limit: int) -> None:
    paysage = Paysage()
    meaning = paysage.ask("POST", "searches/words", json={"text": text}).json()
    for words in meaning["unused"]:
        print(f"not understood: {words}")
    query = {**meaning["query"], "limit": limit}
    answer = _by_picture(paysage, query, picture) if picture else _by_query(paysage, query)
    for hit in answer["results"]:
        print(f"{hit['score']:.3f}  {hit['title']}  {paysage.root}{hit['links']['page']}")
    plan = answer["plan"]
    print(f"{len(answer['results'])} of {plan['matching']}, {plan['kind']}, {plan['ms']} ms")


def _by_query(paysage: Paysage, query: dict[str, Any]) -> Any:
    return paysage.ask("POST", "searches", json=query).json()


def _by_picture(paysage: Paysage, query: dict[str, Any], picture: Path) -> Any:
    """Send the picture; while it is being parsed (202), ask again where the answer will be."""
    answer = paysage.ask(
        "POST",
        "searches",
        params={"wait": 10},
        data={"query": json.dumps(query)},
        files={"file": (picture.name, picture.read_bytes())},
    )
    while answer.status_code == 202:
        time.sleep(1)
        path = answer.json()["location"].removeprefix("/api/v1/")
        answer = paysage.ask("GET", path, params={"wait": 10})
    return answer.json()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text", nargs="?", default="")
    parser.add_argument("--like", type=Path, help="a picture")
    parser.add_argument("--limit", type=int, default=20)
    given = parser.parse_args()
    main(given.text, given.like, given.limit)
