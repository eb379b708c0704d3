"""Processors: rules that change or forbid tokens before one is chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Processor"]


class Processor(Protocol):
    """A rule over texts. Its state follows one text; texts that fork, fork their states.

    Besides the methods below it has one of

    `apply(state, row)`: changes the log-probabilities `row` [V] f32 in place, or returns new ones; −inf forbids.
    `mask(state)`: bool [V], True where a token is allowed.

    and may have `allows(state, token) → bool`.

    Shapes: ids [T] int32, the prompt.
    """

    def init(self, ids: NDArray[np.int32]) -> Any:
        """The state after the prompt."""

    def fork(self, state: Any) -> Any:
        """A state that goes its own way from here; an immutable state may be returned as it is."""

    def advance(self, state: Any, token: int) -> Any:
        """The state after one more token: returned, or changed in place (then return None)."""
