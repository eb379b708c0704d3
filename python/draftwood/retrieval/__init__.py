"""Retrieval: an index over a corpus that says what may follow, how often, and where it stands."""

from .index import FMIndex
from .results import Span

__all__ = ["FMIndex", "Span"]
