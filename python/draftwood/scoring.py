"""Conditional beam search: a scorer says how probable it is that a text will have an attribute."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from .errors import InvalidArgument
from .types import BeamParams

__all__ = ["LengthScorer", "LookAhead", "NotDegenerate", "Scored"]


class Scored:
    """The steps of a search with a scorer: all continuations of a step are scored by one call."""

    def __init__(self, params: BeamParams) -> None:
        from .requests import _count, _field

        self._scorer = params.scorer
        if not callable(getattr(self._scorer, "log_prob", None)):
            got = type(self._scorer).__name__
            raise InvalidArgument.of("scorer", "an object with log_prob(ids)", got)
        if params.num_beam_groups != 1 or params.do_sample:
            raise InvalidArgument.of("a search with a scorer", "one group, without do_sample", "another")
        self._weight = _field(params.scorer_weight, float, "scorer_weight", "a number")
        if not np.isfinite(self._weight):
            raise InvalidArgument.of("scorer_weight", "finite", self._weight)
        self.needs_hidden = bool(getattr(self._scorer, "needs_hidden", False)) and self._weight != 0.0
        """Whether continuations must be forwarded before they can be scored."""
        self._most = _count(params.scorer_top_k, "scorer_top_k") or params.num_beams
        self._texts: list[list[int]] = [[]]
        self._found: list[tuple[int, int, float, bool]] = []

    def step(
        self, core: _core.BeamSearch, values: Any, rows: Sequence[int], kind: str, banked: list[Any]
    ) -> list[tuple[int, int, float]]:
        """As the plain step, with the scorer's word."""
        self.extend(core, values, rows, kind, banked)
        return self.choose(core)

    def extend(
        self, core: _core.BeamSearch, values: Any, rows: Sequence[int], kind: str, banked: list[Any]
    ) -> list[tuple[int, int, float]]:
        """The first half of a step: (beam, token, score) of the continuations to be scored, best first."""
        self._found = core.extend(values, rows, kind, banked, self._most)
        return [one[:3] for one in self._found]

    def choose(self, core: _core.BeamSearch, hidden: NDArray[np.float32] | None = None) -> list[tuple[int, int, float]]:
        """The second half: (beam, token, score) of those that go on. hidden [n, d]: of the n continuations."""
        texts = [[*self._texts[row], token] for row, token, _, _ in self._found]
        bonus = self._ask(texts, hidden)
        accepts = getattr(self._scorer, "accepts", None)
        ends = [one[3] for one in self._found]
        verdicts = [accepts is None or not end or bool(accepts(text)) for text, end in zip(texts, ends, strict=True)]
        survivors = core.choose(bonus, verdicts)
        self._texts = [[*self._texts[row], token] for row, token, _ in survivors]
        return survivors

    def _ask(self, texts: list[list[int]], hidden: NDArray[np.float32] | None) -> list[float]:
        if not texts or self._weight == 0.0:
            return [0.0] * len(texts)
        if self.needs_hidden:
            scores = np.asarray(self._scorer.log_prob(texts, hidden=hidden))
        else:
            scores = np.asarray(self._scorer.log_prob(texts))
        if scores.shape != (len(texts),) or scores.dtype.kind not in "fiu":
            got = f"{scores.dtype} {scores.shape}"
            raise InvalidArgument.of("what scorer.log_prob returns", f"numbers of shape ({len(texts)},)", got)
        if np.isnan(scores).any() or (scores == np.inf).any():
            raise InvalidArgument.of("the scorer's log-probabilities", "finite or -inf", "NaN or inf")
        return [float(score) for score in self._weight * scores]


class LookAhead:
    """The steps of a search whose scorer reads hidden states.

    Continuations are forwarded before they are chosen. Those that are chosen have thereby been read: their rows are
    where the next ones come from, so that a step of the search is one forward, of all continuations.
    """

    def __init__(self, scored: Scored) -> None:
        self._scored = scored
        self._at: dict[tuple[int, int], int] = {}

    def choose(
        self, core: _core.BeamSearch, states: Any, rows: Sequence[int]
    ) -> tuple[list[tuple[int, int, float]], list[int]]:
        """Moves the beams on: continuation i of the last `extend` has row `rows[i]` of `states` [R, d]. Returns the
        survivors (beam, token, score), and which continuation each was."""
        survivors = self._scored.choose(core, _floats(states, rows))
        return survivors, [self._at[beam, token] for beam, token, _ in survivors]

    def extend(
        self, core: _core.BeamSearch, values: Any, rows: Sequence[int], kind: str, banked: list[Any]
    ) -> list[tuple[int, int, float]]:
        """(beam, token, score) of the continuations to forward; where there are none, the search has ended."""
        found = self._scored.extend(core, values, rows, kind, banked)
        self._at = {(beam, token): i for i, (beam, token, _) in enumerate(found)}
        if not found:
            self._scored.choose(core)
        return found


def _floats(states: Any, rows: Sequence[int]) -> NDArray[np.float32]:
    """These rows as an array of the scorer's own: executors write over theirs."""
    some = states[list(rows)]
    if hasattr(some, "detach"):
        some = some.detach().float().cpu().numpy()
    return np.ascontiguousarray(some, np.float32)


class LengthScorer:
    """Texts of a length: a hypothesis has between `least` and `most` tokens, the end token included.

    Before it has ended nothing is known, so that this is a test at the end alone.
    """

    def __init__(self, least: int = 1, most: int = 2**31) -> None:
        if not 1 <= least <= most:
            raise InvalidArgument.of("least", f"1 … most = {most}", least)
        self._least, self._most = least, most

    def log_prob(self, ids: Sequence[Sequence[int]]) -> list[float]:
        """0 while the length can still be reached, −inf beyond."""
        return [0.0 if len(one) <= self._most else -np.inf for one in ids]

    def accepts(self, ids: Sequence[int]) -> bool:
        """Whether the length is right."""
        return self._least <= len(ids) <= self._most


class NotDegenerate:
    """Texts that do not loop: at most a share of their n-grams may have come before in them.

    `log_prob` is the log of the share of n-grams that are new, so that a text pays as soon as it begins to repeat.
    """

    def __init__(self, n: int = 3, most: float = 0.3) -> None:
        if n < 1:
            raise InvalidArgument.of("n", "at least 1", n)
        if not 0.0 <= most < 1.0:
            raise InvalidArgument.of("most", "0 … below 1", most)
        self._n, self._most = n, most

    def _new(self, ids: Sequence[int]) -> float:
        grams = [tuple(ids[i : i + self._n]) for i in range(len(ids) - self._n + 1)]
        return len(set(grams)) / len(grams) if grams else 1.0

    def log_prob(self, ids: Sequence[Sequence[int]]) -> list[float]:
        """Log of the share of new n-grams."""
        return [float(np.log(self._new(one))) for one in ids]

    def accepts(self, ids: Sequence[int]) -> bool:
        """Whether few enough are repeated."""
        return 1.0 - self._new(ids) <= self._most
