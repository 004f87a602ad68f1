"""PostgreSQL and Redis that need no installation: started below PAYSAGE_HOME for who has no others."""

from retrieval.embedded.services import EmbeddedError, start_services

__all__ = ["EmbeddedError", "start_services"]
