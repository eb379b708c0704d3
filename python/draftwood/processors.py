"""Processors: rules that change or forbid tokens before one is chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

from .constraints import AllowedTokens, BadWords, MinLength, NoRepeatNgrams, RepetitionPenalty

__all__ = [
    "AllowedTokens",
    "BadWords",
    "MinLength",
    "NoRepeatNgrams",
    "Processor",
    "RepetitionPenalty",
]


class Processor(Protocol):
    """A rule over texts. Its state follows one text; texts that fork, fork their states.

    Besides the methods below it has at least one of

    `apply(state, row)`: changes the row [V] f32 (logits in sampling, log-probabilities in beams) in place, or returns a
    new one; −inf forbids.
    `mask(state)`: bool [V], True where a token is allowed.
    `candidates(state) → ids | None`: all that may follow; None where another method is to be asked.
    `allows(state, token) → bool`: tokens are tested in descending order until enough are allowed. Beside one of the
    methods above it only tells which drafted tokens need no row, so that it saves time and changes no text.
    `child(state, token) → state | None`: the same test, which carries what it found.

    A rule about what must occur has `progress(state) → int`, `advances(state) → ids` (tokens that take the text
    further) and `done(state) → bool` (end tokens are masked until then). `ends(state) → bool` says that the text may
    end here, though the rule lists no end token.

    `check_tokenizer(tokenizer)`, if it has that, is called by engines with a tokenizer before anything runs: it raises
    if the rule's ids are those of another one.

    One that raises ends its text or its search with what it raised.

    Shapes: ids [T] int32, the prompt.
    """

    def init(self, ids: NDArray[np.int32]) -> Any:
        """The state after the prompt."""

    def fork(self, state: Any) -> Any:
        """A state that goes its own way from here; an immutable state may be returned as it is."""

    def advance(self, state: Any, token: int) -> Any:
        """The state after one more token: returned, or changed in place (then return None)."""
