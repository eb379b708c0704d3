"""What generating gives: a whole text, or its pieces as they come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import DraftwoodError
from .costs import Stats

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Logprobs", "Output", "StreamEvent", "error_of_output"]


@dataclass(frozen=True, slots=True)
class Logprobs:
    """Raw log-probabilities (before temperature and filters) of T generated tokens.

    Shapes: chosen [T] f32; top_ids [T, k] int32, best first; top [T, k] f32.
    """

    chosen: NDArray[np.float32]
    top_ids: NDArray[np.int32]
    top: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Output:
    """One generated text.

    Shapes: token_ids [T] int32, every generated token, the end token included.
    """

    text: str
    token_ids: NDArray[np.int32]
    finish_reason: str
    """stop, length, cancelled, constraint or error."""
    stop_reason: int | str | None
    """The end token or the stop string that ended the text, or "loop" for a greedy text that took a token back."""
    logprobs: Logprobs | None
    stats: Stats
    error: Exception | None = None
    """What ended the text, when finish_reason is "error"."""
    sample: int = 0
    """Which sample of the prompt this is: with its seed, the name of its noise."""
    samples: tuple[Output, ...] = ()
    """With n > 1 all n, in the order that `SamplingParams.best_of` tells; the output itself is the first one that no
    error ended."""


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """News of a stream: `text` is the new piece, cut at UTF-8 borders; a sample's last event has a finish_reason."""

    text: str
    token_ids: NDArray[np.int32]
    logprobs: Logprobs | None = None
    finish_reason: str | None = None
    sample: int = 0
    """Which sample of the prompt the news are of."""
    retracted: int = 0
    """Tokens of earlier events that are taken back, before `token_ids` are added: with `backspace_token_id`."""
    retracted_text: int = 0
    """Characters at the end of the text so far that go with them, before `text` is added."""


def error_of_output(output: Output) -> Exception | None:
    """The exception of a text that ended with an error, carrying the output as `.output`."""
    if isinstance(output.error, DraftwoodError):
        output.error.output = output
    return output.error
