"""What an index answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Document", "Evidence", "Passage", "Span"]


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a text, tokens `start … end`, that occurs in the corpus and lies in no longer one that does.

    Shapes: places int64 [n, 2], (document, offset) of n of its `count` occurrences.
    """

    start: int
    end: int
    count: int
    places: NDArray[np.int64]

    def __len__(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Document:
    """A document of an index: its number in build order, its own id and title if it has them, and its tokens.

    Shapes: token_ids uint32 [T]; text is None if the index has no tokenizer.
    """

    number: int
    id: str | None
    title: str | None
    token_ids: NDArray[np.uint32]
    text: str | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """An n-gram that speaks for a passage: what the model thinks of it, what the corpus does, and what it added."""

    token_ids: tuple[int, ...]
    text: str | None
    """None if the index has no tokenizer."""
    is_title: bool
    """Whether it counts at the start of documents only."""
    log_prob: float
    """Given the query."""
    weight: float
    added: float
    """What it added to the score: its weight, damped by heavier n-grams with the same tokens."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A document that a search found, and why: the heaviest evidence first."""

    document: int
    id: str | None
    title: str | None
    text: str | None
    """None if the index has no tokenizer."""
    score: float
    evidence: tuple[Evidence, ...]
