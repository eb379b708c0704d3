"""Retrieval: an index over a corpus that says what may follow, how often, and where it stands."""

from ..constraints import BlockNgrams
from .corpora import Fields, read_documents
from .index import FMIndex
from .results import Document, Evidence, Passage, Span
from .seal import Seal, SealParams

__all__ = [
    "BlockNgrams",
    "Document",
    "Evidence",
    "FMIndex",
    "Fields",
    "Passage",
    "Seal",
    "SealParams",
    "Span",
    "read_documents",
]
