"""What users implement: drafters over views of texts, executors over rows and slots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..step import StepPlan

__all__ = ["Drafter", "Executor", "ExecutorCaps", "Rows", "Tree", "View"]


@dataclass(frozen=True, slots=True)
class View:
    """What a drafter sees of one text.

    Shapes: token_ids [T] int32, prompt and output, read-only; the last one is node 0 of the tree to propose.
    """

    token_ids: NDArray[np.int32]
    budget: int
    """Most nodes of the tree, node 0 included."""
    max_depth: int
    """Most levels below node 0 that can be accepted; deeper nodes are dropped."""
    sequence: int
    """Stays the same from step to step."""
    hidden: Any = None
    """For drafters with `needs_hidden`: hidden states [t, d], the input of the head, of the rows that chose the last t
    tokens; None before the first ones."""
    source_ids: NDArray[np.int32] | None = None
    """[S] int32, read-only: what an encoder has read; None without one, and for sound."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A draft: tokens[0] is the view's last token, parents[0] is −1, parents[i] < i, siblings are distinct.

    `prob` holds the drafter's probability of each node given its parent, if it knows one.
    """

    tokens: Sequence[int] | NDArray[Any]
    parents: Sequence[int] | NDArray[Any]
    prob: Sequence[float] | NDArray[Any] | None = None


@runtime_checkable
class Drafter(Protocol):
    """The short form of a drafter: one text at a time. A wrong proposal costs time, never correctness."""

    def propose(self, view: View) -> Tree | None:
        """A tree of continuations, or None for no draft."""


@dataclass(frozen=True, slots=True)
class ExecutorCaps:
    """What an executor can do."""

    vocab_size: int
    max_context: int
    slot_bytes: int
    """Cache bytes of one token over all layers."""
    trees: bool = True
    rollback: bool = True
    hidden_states: bool = False
    embeddings: bool = False
    """Whether rows may be vectors instead of tokens: `plan.embedded`, and `embed(token_ids) → [n, d]`."""
    selectors: tuple[str, ...] = ("full",)
    """What it can say of a row: its logits ("full"), or only which is the largest ("argmax")."""
    device: str = "cpu"
    name: str = "executor"
    """The implementation and why it was chosen; shown by `backend()` and in the stats."""


class Executor(Protocol):
    """Who runs the forward pass. Knows rows and slots, not texts."""

    @property
    def caps(self) -> ExecutorCaps:
        """What it can do."""

    def allocate(self, pages: int, page_size: int) -> None:
        """Makes the cache: `pages` pages of `page_size` slots."""

    def forward(self, plan: StepPlan, hidden: tuple[str, ...] = ()) -> Rows:
        """Computes the rows of a plan and stores their keys and values in `plan.slots`."""

    def apply(self, moves: NDArray[np.int32]) -> None:
        """Copies cache rows: moves [2, M] are source and destination slots; all sources are read first."""


class Rows(Protocol):
    """What a forward returns."""

    @property
    def logits(self) -> Any:
        """[R', V] f32 CPU tensor (DLPack), one row per plan.head_rows entry, unchanged until the step is verified."""
