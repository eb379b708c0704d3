"""Draftwood: lossless decoding with draft trees for sequence models."""

from typing import TYPE_CHECKING, Any

from . import drafters, processors, runtime, search, testing
from ._core import __version__
from .engine import Engine
from .errors import (
    DraftwoodError,
    IndexFormatError,
    InternalError,
    InvalidArgument,
    KernelError,
    ModelFormatError,
    OutOfPages,
    UnsupportedModel,
)
from .types import (
    BeamParams,
    Beams,
    BeamStats,
    CacheConfig,
    Drafter,
    DraftStats,
    EngineStats,
    Hypothesis,
    Lattice,
    Logprobs,
    Output,
    PhaseTimes,
    SamplingParams,
    Stats,
    StreamEvent,
    Tree,
    View,
)

if TYPE_CHECKING:
    from .retrieval import Document, Evidence, FMIndex, Passage, Seal, SealParams, Span

__all__ = [
    "BeamParams",
    "BeamStats",
    "Beams",
    "CacheConfig",
    "Document",
    "Drafter",
    "DraftwoodError",
    "Engine",
    "DraftStats",
    "EngineStats",
    "Evidence",
    "FMIndex",
    "Hypothesis",
    "IndexFormatError",
    "InternalError",
    "InvalidArgument",
    "KernelError",
    "Lattice",
    "Logprobs",
    "ModelFormatError",
    "OutOfPages",
    "Output",
    "Passage",
    "PhaseTimes",
    "SamplingParams",
    "Seal",
    "SealParams",
    "Span",
    "Stats",
    "StreamEvent",
    "Tree",
    "UnsupportedModel",
    "View",
    "__version__",
    "drafters",
    "processors",
    "runtime",
    "search",
    "testing",
]


_RETRIEVAL = {"Document", "Evidence", "FMIndex", "Passage", "Seal", "SealParams", "Span"}


def __getattr__(name: str) -> Any:
    """The index is read at its first use: importing stays quick."""
    if name not in _RETRIEVAL:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import retrieval

    return getattr(retrieval, name)
