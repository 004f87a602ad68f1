"""The vector spaces of a release and how pgvector compares in them.

pgvector's operators: `<=>` cosine distance, `<#>` negative inner product, `<->` Euclidean distance.
"""

from __future__ import annotations

from dataclasses import dataclass

from retrieval.models import Release

_NOT_UNIFORM = "uniform_class IS NULL"
"""Equal vectors fill each other's lists of neighbours, and what is nearly like them is found no more:
the graphs are without them, and `sql.uniform_candidates` adds them."""


@dataclass(frozen=True)
class Space:
    """One vector space of a release; all vectors stored in it have length 1.

    Attributes:
        table: where its vectors are; alias: what that is called in queries.
        expression: the column, cast to the release's width.
        indexed: what its HNSW index holds, with `{}` for the table's alias: the expression, or a
            shorter stand-in for it whose nearest are ranked again by the expression.
        stand_in: SQL that turns a query vector, `{}`, into what is compared with `indexed`.
        ef_search: how many candidates a scan keeps; measured in docs/search.md.
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
    ef_search: int = 400

    def similarity(self, metric: str, unit: bool) -> str:
        """SQL of the similarity, larger is nearer, with one placeholder for the query vector.

        Cosine: 1 − cosine distance; of a painted layout, which is compared by what it paints only,
        the inner product. Euclidean: 1 − d/2, from 1 for equal to 0 for opposite unit vectors.
        """
        if metric == "euclidean" and unit:
            return f"1 - ({self.alias}.{self.expression} <-> %s::{self.cast}) / 2"
        return f"-({self.alias}.{self.expression} <#> %s::{self.cast})"

    def similar(self, distance: float) -> float:
        """The cosine or inner product that the operator gives as this distance."""
        return -distance if self.operator == "<#>" else 1 - distance


def spaces_of(release: Release) -> dict[str, Space]:
    """The release's spaces: three of whole pictures, one of their segments."""
    classes, width = release.class_count, release.context_width
    dense, short = f"halfvec({width})", f"halfvec({classes})"
    sparse = f"sparsevec({64 * classes})"
    return {
        "context": Space(
            "context",
            f"context::{dense}",
            dense,
            "<=>",
            "halfvec_cosine_ops",
            indexed="{}context::" + dense,
        ),
        "layout": Space(
            "layout",
            f"layout::{sparse}",
            sparse,
            "<#>",
            "sparsevec_ip_ops",
            indexed="{}layout::" + sparse,
            condition=_NOT_UNIFORM,
        ),
        "composition": Space(
            "composition",
            f"composition::{short}",
            short,
            "<=>",
            "halfvec_cosine_ops",
            indexed="{}composition::" + short,
            condition=_NOT_UNIFORM,
            # Pictures of two classes lie on a line, and crowd there: a wider graph, of small elements.
            m=24,
            ef_construction=128,
        ),
        "region": Space(
            "region",
            f"vector::{dense}",
            dense,
            "<~>",
            "bit_hamming_ops",
            # Signs only: 32 bytes for each of some seven segments a picture instead of 512.
            indexed=f"binary_quantize({{}}vector::{dense})::bit({width})",
            stand_in=f"binary_quantize({{}})::bit({width})",
            m=12,
            table="retrieval_region",
            alias="r",
            condition="class_index IS NOT NULL",
        ),
    }
