"""Search: one grammar, one planner, SQL. `parse` checks a query, `run` answers it."""

from retrieval.search import fields
from retrieval.search.answers import Answer, Hit, MatchedRegion, run
from retrieval.search.grammar import Query, parse

__all__ = ["Answer", "Hit", "MatchedRegion", "Query", "fields", "parse", "run"]
