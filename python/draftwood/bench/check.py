"""Equal answers, and the one excuse: a near-tie that two roundings decide differently."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["FLOAT32_ROUNDING", "SIXTEEN_BIT_ROUNDING", "Difference", "compare", "compare_beams", "first_difference"]

FLOAT32_ROUNDING = 0.05
"""Log-probabilities of two float32 engines lie no further apart (llama.cpp's between one row and eight: 0.05)."""

SIXTEEN_BIT_ROUNDING = 0.3
"""And of an engine that rounds weights, activations or its cache to 16 bits."""

Judge = Callable[[int], Mapping[str, Any]]
"""From a number of tokens to a worker's `judge` reply for that many."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Where the answer of an arm leaves the reference's."""

    work: str
    position: int
    reference: int | None
    other: int | None
    """The tokens there; None past the end of an answer."""
    gap: float
    """How far the two tokens lie apart there in the reference's log-probabilities."""
    rounding: float
    """Largest difference between the two arms' log-probabilities of the same tokens up to there."""
    near_tie: bool

    def as_dict(self) -> dict[str, Any]:
        """For a row of results."""
        return asdict(self)

    def __str__(self) -> str:
        place = f"token {self.position} of {self.work}"
        if self.near_tie:
            return f"near-tie at {place}"
        return f"{place}: {self.other} instead of {self.reference}, gap {self.gap:.2g}, rounding {self.rounding:.2g}"


def first_difference(left: Sequence[int], right: Sequence[int]) -> int | None:
    """The first position at which two answers differ, one of them ending included."""
    for position, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return position
    return None if len(left) == len(right) else min(len(left), len(right))


def compare(
    work: str,
    reference: Sequence[int],
    other: Sequence[int],
    judges: tuple[Judge, Judge] | None,
    most: float = FLOAT32_ROUNDING,
) -> Difference | None:
    """None for equal answers. `judges` are the reference's and the other's; None leaves no excuse.

    A near-tie: in the reference's log-probabilities, the other's token lies closer to the best than twice the largest
    difference that the two arms have on the tokens that they share. That difference must itself be at most `most`, or
    an arm that computes something else would excuse itself.
    """
    position = first_difference(reference, other)
    if position is None:
        return None
    ends = position >= min(len(reference), len(other))
    left, right = (answer[position] if position < len(answer) else None for answer in (reference, other))
    if ends or judges is None:
        return Difference(work, position, left, right, float("inf"), 0.0, near_tie=False)
    ours, theirs = (judge(position + 1) for judge in judges)
    best, top = ours["top"][0], dict(map(tuple, ours["top"]))
    gap = best[1] - top.get(right, -math.inf)
    # Judges that leave the common text judge another one.
    follows = all(list(told["tokens"][:position]) == list(reference[:position]) for told in (ours, theirs))
    rounding = _rounding(ours, theirs, position)
    near = follows and best[0] == left and rounding <= most and gap < 2.0 * rounding
    return Difference(work, position, left, right, gap, rounding, near_tie=near)


def compare_beams(
    work: str, reference: Sequence[int], other: Sequence[int], score: Callable[[Sequence[int]], float], most: float
) -> Difference | None:
    """None for equal texts. `score` is the reference's sum of log-probabilities of a text.

    Two roundings may keep different beams somewhere and end in different texts, of which neither is wrong if the other
    text's sum, told by the reference, lies within `most` of its own text's.
    """
    position = first_difference(reference, other)
    if position is None:
        return None
    left, right = (answer[position] if position < len(answer) else None for answer in (reference, other))
    if len(reference) != len(other):
        return Difference(work, position, left, right, float("inf"), 0.0, near_tie=False)
    gap = abs(score(reference) - score(other))
    return Difference(work, position, left, right, gap, most, near_tie=gap <= most)


def _rounding(ours: Mapping[str, Any], theirs: Mapping[str, Any], position: int) -> float:
    pairs = list(zip(ours["chosen"][:position], theirs["chosen"][:position], strict=True))
    beside = dict(map(tuple, theirs["top"]))
    pairs += [(value, beside[token]) for token, value in ours["top"] if token in beside]
    return max((abs(a - b) for a, b in pairs), default=0.0)
