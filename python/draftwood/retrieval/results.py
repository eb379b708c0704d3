"""What an index answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Span"]


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
