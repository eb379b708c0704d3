"""Medians, percentiles, the ratio of two arms with its interval, and when that is a claim."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "LEAST_ROUNDS",
    "LEAST_TEXTS",
    "Ratio",
    "Spread",
    "TextRatio",
    "claimed",
    "geometric_mean_over_texts",
    "ratio_of",
    "ratio_of_sums_over_texts",
    "spread_of",
]

LEAST_ROUNDS = 9
"""Rounds that a claim needs. The bootstrap interval of a median is made of order statistics: of 9 values it runs from
the second to the eighth and covers 96 %, of 7 it covers only 87 %."""
LEAST_TEXTS = 9
"""Texts that a claim over texts needs; and two of each group, or nothing is known of the group's spread."""
_DRAWS, _SEED, _COVERS = 4000, 0, 0.95

Group = tuple[Sequence[float], Sequence[float]]
"""Seconds of an arm and of the reference, text by text."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Seconds of several rounds."""

    median: float
    p10: float
    p90: float


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times the reference's seconds an arm takes: median over rounds, with a 95 % bootstrap interval."""

    median: float
    low: float
    high: float
    rounds: int

    @property
    def claim(self) -> str | None:
        """`faster` or `slower` (the reference than the arm); None if the interval holds 1 or rounds are too few."""
        return _claim(self.low, self.high) if self.rounds >= LEAST_ROUNDS else None


@dataclass(frozen=True, slots=True)
class TextRatio:
    """How many times the reference's seconds an arm takes over texts of such groups, with a 95 % bootstrap interval.

    The interval is that of the texts' differences, in which those of their timing are contained.
    """

    median: float
    """A mean in truth, see who makes it; the name is `Ratio`'s, whose place it takes in rows."""
    low: float
    high: float
    texts: int
    least: int
    """Texts of the smallest group."""

    @property
    def claim(self) -> str | None:
        """As `Ratio.claim`; None too if texts are too few."""
        return _claim(self.low, self.high) if self.texts >= LEAST_TEXTS and self.least > 1 else None


def claimed(ratio: Ratio | TextRatio, *, guarded: bool) -> dict[str, Any]:
    """For a row of results. What was not guarded, or not quiet often enough, is no ground for a claim."""
    return {**asdict(ratio), "claim": ratio.claim if guarded else None}


def spread_of(seconds: Sequence[float]) -> Spread:
    """Percentiles between the values, as NumPy takes them."""
    p10, median, p90 = np.quantile(np.asarray(seconds), [0.1, 0.5, 0.9])
    return Spread(float(median), float(p10), float(p90))


def ratio_of(arm: Sequence[float], reference: Sequence[float]) -> Ratio:
    """The rounds are pairs: a slow minute slows both, so the ratio is taken in each round."""
    ratios = np.asarray(arm) / np.asarray(reference)
    drawn = np.random.default_rng(_SEED).integers(0, len(ratios), (_DRAWS, len(ratios)))
    medians = np.median(ratios[drawn], axis=1)
    return Ratio(float(np.median(ratios)), *_interval(medians), len(ratios))


def geometric_mean_over_texts(groups: Sequence[Group]) -> TextRatio:
    """Of the groups' geometric means; groups weigh the same, however many texts they have."""

    def mean(arms: NDArray[np.float64], references: NDArray[np.float64]) -> NDArray[np.float64]:
        return (np.log(arms) - np.log(references)).mean(axis=-1)

    return _over_texts(groups, lambda parts: np.exp(np.mean([mean(*part) for part in parts], axis=0)))


def ratio_of_sums_over_texts(groups: Sequence[Group]) -> TextRatio:
    """Of all seconds; long texts weigh more."""
    counts = [len(arm) for arm, _ in groups]

    def sums(parts: list[_Drawn], which: int) -> NDArray[np.float64]:
        return np.sum([n * part[which].mean(axis=-1) for n, part in zip(counts, parts, strict=True)], axis=0)

    return _over_texts(groups, lambda parts: sums(parts, 0) / sums(parts, 1))


_Drawn = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Seconds of an arm and of the reference; the last axis is that of texts."""


def _over_texts(groups: Sequence[Group], figure: Callable[[list[_Drawn]], NDArray[np.float64]]) -> TextRatio:
    arrays = [(np.asarray(arm, np.float64), np.asarray(reference, np.float64)) for arm, reference in groups]
    drawn = figure(list(_draws(arrays)))
    texts = [len(arm) for arm, _ in arrays]
    return TextRatio(float(figure(arrays)), *_interval(drawn), sum(texts), min(texts))


def _draws(groups: Sequence[_Drawn]) -> Iterator[_Drawn]:
    """Texts drawn anew within each group, one less than it has: of n drawn the mean would spread too little, by a fifth
    in its variance where there are five texts.
    """
    rng = np.random.default_rng(_SEED)
    for arm, reference in groups:
        chosen = rng.integers(0, len(arm), (_DRAWS, max(len(arm) - 1, 1)))
        yield arm[chosen], reference[chosen]


def _interval(values: NDArray[np.float64]) -> tuple[float, float]:
    edge = (1.0 - _COVERS) / 2.0
    low, high = np.quantile(values, [edge, 1.0 - edge])
    return float(low), float(high)


def _claim(low: float, high: float) -> str | None:
    if low <= 1.0 <= high:
        return None
    return "faster" if low > 1.0 else "slower"
