"""Timing one text on one engine, and comparing two texts honestly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ..types import PhaseTimes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..engine import Engine
    from ..types import Output, SamplingParams, StreamEvent

__all__ = ["Difference", "Timed", "compare_texts", "time_text"]


@dataclass(frozen=True, slots=True)
class Timed:
    """One text and the time it took; what comes after the first event is decoding, the rest is reading the prompt."""

    output: Output
    first_seconds: float
    first_tokens: int
    decode_seconds: float
    decode_steps: int
    decode_times: PhaseTimes

    @property
    def decode_tokens(self) -> int:
        """Tokens that came after the first event."""
        return len(self.output.token_ids) - self.first_tokens

    @property
    def tokens_per_second(self) -> float:
        """Decoding speed; 0 for a text that ended with its first event."""
        return self.decode_tokens / self.decode_seconds if self.decode_tokens else 0.0


@dataclass(frozen=True, slots=True)
class Difference:
    """Where the texts of two engines part, and whether rounding explains it."""

    position: int
    gap: float
    """How far the plain run's best two log-probabilities lie apart there."""
    rounding: float
    """Largest difference between the two engines' log-probabilities of the same tokens before it."""
    greedy: bool

    @property
    def near_tie(self) -> bool:
        """Whether both tokens are best up to rounding. Sampled texts have no such excuse."""
        return self.greedy and self.gap < 2.0 * self.rounding

    def __str__(self) -> str:
        if self.near_tie:
            return f"near-tie at token {self.position}"
        return f"DIFFERS at token {self.position}"


def time_text(
    engine: Engine, ids: NDArray[np.int32], params: SamplingParams, show: Callable[[StreamEvent, float], None]
) -> Timed:
    """Streams one text; `show(event, tokens_per_second)` is called after each event, outside the clock."""
    shown, first, first_tokens, count = 0.0, 0.0, 0, 0
    before = engine.stats()
    start = perf_counter()
    stream = engine.stream(ids, params)
    for event in stream:
        now = perf_counter() - start - shown
        count += len(event.token_ids)
        if not first:
            first, first_tokens, before = now, count, engine.stats()
        show(event, (count - first_tokens) / (now - first) if now > first else 0.0)
        shown = perf_counter() - start - now
    total = perf_counter() - start - shown
    after = engine.stats()
    output = stream.output
    assert output is not None
    return Timed(output, first, first_tokens, total - first, after.steps - before.steps, after.times - before.times)


def compare_texts(
    plain: Engine, drafted: Engine, ids: NDArray[np.int32], params: SamplingParams, texts: tuple[Any, Any]
) -> Difference | None:
    """None for equal token ids; otherwise both texts are made again up to there, with log-probabilities."""
    import numpy as np

    first, second = texts
    common = min(len(first), len(second))
    differing = np.flatnonzero(first[:common] != second[:common])
    if not differing.size and len(first) == len(second):
        return None
    position = int(differing[0]) if differing.size else common
    again = replace(params, max_new_tokens=position + 1, logprobs=2)
    left, right = plain.generate(ids, again).logprobs, drafted.generate(ids, again).logprobs
    chosen = np.abs(left.chosen[:position] - right.chosen[:position])
    row = left.top[min(position, len(left.top) - 1)]
    return Difference(
        position,
        gap=float(row[0] - row[1]) if len(row) > 1 else float("inf"),
        rounding=float(chosen.max(initial=0.0)),
        greedy=params.temperature == 0.0,
    )
