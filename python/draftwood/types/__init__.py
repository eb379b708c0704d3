"""The plain data that crosses the public API, and the protocols that users implement."""

from .costs import BeamStats, DraftStats, EngineStats, PhaseTimes, Stats
from .hypotheses import Beams, Hypothesis, Lattice
from .outputs import Logprobs, Output, StreamEvent, error_of_output
from .params import BeamParams, CacheConfig, SamplingParams
from .protocols import Drafter, Executor, ExecutorCaps, Rows, Tree, View

__all__ = [
    "BeamParams",
    "BeamStats",
    "Beams",
    "CacheConfig",
    "DraftStats",
    "Drafter",
    "EngineStats",
    "Executor",
    "ExecutorCaps",
    "Hypothesis",
    "Lattice",
    "Logprobs",
    "Output",
    "PhaseTimes",
    "Rows",
    "SamplingParams",
    "Stats",
    "StreamEvent",
    "Tree",
    "View",
    "error_of_output",
]
