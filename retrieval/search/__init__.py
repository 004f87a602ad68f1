"""Search: one grammar, one planner, SQL. `parse` checks a query, `run` answers it."""

from retrieval.search import fields
from retrieval.search.grammar import Query, parse
from retrieval.search.planner import Answer, Hit, MatchedRegion, run

__all__ = ["Answer", "Hit", "MatchedRegion", "Query", "fields", "parse", "run"]
