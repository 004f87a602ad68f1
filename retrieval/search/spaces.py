"""The vector spaces of a release and how pgvector compares in them.

pgvector's operators: `<=>` cosine distance, `<#>` negative inner product, `<->` Euclidean distance.
"""

from __future__ import annotations

from dataclasses import dataclass

from retrieval.models import Release


@dataclass(frozen=True)
class Space:
    """One vector space of a release; all vectors stored in it have length 1.

    Attributes:
        table: where its vectors are; alias: what that is called in queries.
        expression: the column, cast to the release's width.
        indexed: what its HNSW index holds: `expression`, or a shorter stand-in for it.
        stand_in: SQL that turns a query vector, `{}`, into what is compared with `indexed`.
        operator: how its index orders; opclass: of that index.
        condition: rows that its partial index leaves out do not meet this.
        m, ef_construction: of the index (Malkov and Yashunin, 2018).
    """

    name: str
    expression: str
    cast: str
    operator: str
    opclass: str
    indexed: str
    stand_in: str = "{}"
    table: str = "retrieval_descriptor"
    alias: str = "d"
    condition: str = ""
    m: int = 16
    ef_construction: int = 64

    def similarity(self, metric: str, unit: bool) -> str:
        """SQL of the similarity, larger is nearer, with one placeholder for the query vector.

        Cosine: 1 − cosine distance; of a painted layout, which is compared by what it paints only,
        the inner product. Euclidean: 1 − d/2, from 1 for equal to 0 for opposite unit vectors.
        """
        if metric == "euclidean" and unit:
            return f"1 - ({self.alias}.{self.expression} <-> %s::{self.cast}) / 2"
        return f"-({self.alias}.{self.expression} <#> %s::{self.cast})"


def spaces_of(release: Release) -> dict[str, Space]:
    """The release's spaces: three of whole pictures, one of their segments."""
    classes, width = release.classes.count(), release.context_width
    dense, short = f"halfvec({width})", f"halfvec({classes})"
    sparse = f"sparsevec({64 * classes})"
    return {
        "context": Space(
            "context",
            f"context::{dense}",
            dense,
            "<=>",
            "halfvec_cosine_ops",
            indexed=f"context::{dense}",
        ),
        "layout": Space(
            "layout",
            f"layout::{sparse}",
            sparse,
            "<#>",
            "sparsevec_ip_ops",
            indexed=f"layout::{sparse}",
        ),
        "composition": Space(
            "composition",
            f"composition::{short}",
            short,
            "<=>",
            "halfvec_cosine_ops",
            indexed=f"composition::{short}",
        ),
        "region": Space(
            "region",
            f"vector::{dense}",
            dense,
            "<=>",
            "halfvec_cosine_ops",
            indexed=f"vector::{dense}",
            table="retrieval_region",
            alias="r",
            condition="class_index IS NOT NULL",
        ),
    }
