"""What a search gives: its hypotheses, what they cost, and the tree of all beams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

from .costs import BeamStats

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Beams", "Hypothesis", "Lattice"]


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One text that a search has found.

    Shapes: token_ids [T] int32, the generated tokens, the end token included; step_scores [T] f32, the log-probability
    of each after processors; beam_indices [T] int32, the beam of the step that each token was chosen for.
    """

    token_ids: NDArray[np.int32]
    score: float
    """Sum of step_scores / T ** length_penalty; in groups less their penalties."""
    text: str
    """Without the end token; empty without a tokenizer."""
    finish_reason: str
    """stop, length, or constraint: nothing could be finished, this is the best prefix."""
    stop_reason: int | str | None
    """The end token or the stop string."""
    step_scores: NDArray[np.float32]
    beam_indices: NDArray[np.int32]
    raw_score: float = 0.0
    """Sum of step_scores / T ** length_penalty, always."""
    group: int = 0
    """Which group of beams found it."""
    log_weight: float | None = None
    """Log of the importance weight of a draw without replacement."""


@dataclass(frozen=True, slots=True)
class Lattice:
    """All texts that were beams of a search, as a tree: node 0 is the prompt, every other node adds a token to its
    parent. A node that did not end and has no children was crowded out by better ones in the next step, or was alive
    when the search stopped.

    Shapes: all [N], parents before children. parents int32, −1 for node 0; tokens int32, −1 for node 0; beam_indices
    int32, the beam of the step that the token was chosen for; groups int32; step_scores f32, the token's
    log-probability after processors; ended bool.
    """

    parents: NDArray[np.int32]
    tokens: NDArray[np.int32]
    beam_indices: NDArray[np.int32]
    groups: NDArray[np.int32]
    step_scores: NDArray[np.float32]
    ended: NDArray[np.bool_]
    """Finished texts, those too that did not stay among the best."""

    def __len__(self) -> int:
        return len(self.parents)


@dataclass(frozen=True, slots=True)
class Beams(Sequence["Hypothesis"]):
    """The hypotheses of one prompt, best first."""

    hypotheses: tuple[Hypothesis, ...]
    stats: BeamStats
    error: Exception | None = None
    """What ended the search early, in a list of prompts; the hypotheses are those found until then."""
    candidates: tuple[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]], ...] = ()
    """With `keep_candidates`, per step: the beam, the token and the score of its best candidates."""
    lattice: Lattice | None = None
    """With `keep_lattice`, the tree of all texts that were beams."""

    @overload
    def __getitem__(self, index: int) -> Hypothesis: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Hypothesis]: ...
    def __getitem__(self, index: int | slice) -> Hypothesis | Sequence[Hypothesis]:
        return self.hypotheses[index]

    def __len__(self) -> int:
        return len(self.hypotheses)
