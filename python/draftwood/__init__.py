"""Draftwood: lossless decoding with draft trees for sequence models."""

from . import drafters, runtime, testing
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
from .retrieval import FMIndex, Span
from .types import (
    CacheConfig,
    Drafter,
    EngineStats,
    Logprobs,
    Output,
    PhaseTimes,
    SamplingParams,
    Stats,
    StreamEvent,
    Tree,
    View,
)

__all__ = [
    "CacheConfig",
    "Drafter",
    "DraftwoodError",
    "Engine",
    "EngineStats",
    "FMIndex",
    "IndexFormatError",
    "InternalError",
    "InvalidArgument",
    "KernelError",
    "Logprobs",
    "ModelFormatError",
    "OutOfPages",
    "Output",
    "PhaseTimes",
    "SamplingParams",
    "Span",
    "Stats",
    "StreamEvent",
    "Tree",
    "UnsupportedModel",
    "View",
    "__version__",
    "drafters",
    "runtime",
    "testing",
]
