"""`BlockNgrams`: a rule that keeps a text from saying n-grams of a corpus."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidArgument
from ..requests import _count as count_of
from .ids import ids_of
from .index import FMIndex

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BlockNgrams"]

Ids = tuple[int, ...]


class BlockNgrams:
    """A processor that never lets a text complete an n-gram of a corpus, the prompt's last tokens included.

    Where every token is blocked none is left: a search drops that text. Its state is the last n − 1 tokens, immutable.

    Shapes
        source: an `FMIndex`, or n-grams, each n ids; n: tokens of an n-gram, known from the n-grams if those are given.
    Returns
        A processor (`draftwood.processors.Processor`) with `apply`, `mask` and `allows`.
    Errors
        InvalidArgument for n below 1 and for n-grams of different lengths.
    Cost
        Per text and step one search for n − 1 tokens and their followers: microseconds. `allows` finds n tokens.
    Source
        Carlini et al., "Quantifying Memorization Across Neural Language Models", 2022, judges by n-grams of 50.
    Example
        >>> import draftwood as dw, tempfile
        >>> from draftwood.retrieval import BlockNgrams
        >>> folder = tempfile.TemporaryDirectory()
        >>> rule = BlockNgrams(dw.FMIndex.build([[1, 2, 3], [1, 2, 4]], path=f"{folder.name}/a.dwx"), n=3)
        >>> state = rule.advance(rule.init([7, 1]), 2)
        >>> rule.mask(state, 6).tolist(), rule.allows(state, 4)
        ([True, True, True, False, False, True], False)
    """

    def __init__(self, source: FMIndex | Iterable[Any], n: int | None = None) -> None:
        self._index = source if isinstance(source, FMIndex) else None
        self._followers: dict[Ids, set[int]] = {}
        if self._index is None:
            n = self._read(source, n)
        if n is None:
            raise InvalidArgument.of("n", "given with an index", None, "how many tokens must not be repeated in a row?")
        self.n = count_of(n, "n")
        if self.n < 1:
            raise InvalidArgument.of("n", "at least 1", self.n)

    def _read(self, ngrams: Any, n: int | None) -> int | None:
        for i, one in enumerate(ngrams):
            ids = ids_of(one, f"n-gram {i}").tolist()
            n = len(ids) if n is None else n
            if len(ids) != n or not ids:
                raise InvalidArgument.of(f"n-gram {i}", f"{max(n, 1)} tokens long, as the others", len(ids))
            self._followers.setdefault(tuple(ids[:-1]), set()).add(ids[-1])
        return n

    def init(self, ids: Any) -> Ids:
        """The state after the prompt."""
        return self._last(tuple(np.asarray(ids, np.int64).tolist()))

    def fork(self, state: Ids) -> Ids:
        """The same: it never changes."""
        return state

    def advance(self, state: Ids, token: int) -> Ids:
        """The state after one more token."""
        return self._last((*state, int(token)))

    def _last(self, ids: Ids) -> Ids:
        return ids[max(len(ids) - (self.n - 1), 0) :]

    def blocked(self, state: Ids) -> NDArray[np.uint32]:
        """The ids that would complete an n-gram, ascending."""
        if len(state) < self.n - 1:
            return np.zeros(0, np.uint32)
        if self._index is not None:
            return self._index.next_tokens(state)[0]
        return np.array(sorted(self._followers.get(state, ())), np.uint32)

    def apply(self, state: Ids, row: NDArray[np.float32]) -> None:
        """Forbids them in a row [V] of log-probabilities, in place."""
        ids = self.blocked(state)
        row[ids[ids < len(row)]] = -np.inf

    def mask(self, state: Ids, vocab: int) -> NDArray[np.bool_]:
        """bool [vocab], True where a token is allowed."""
        allowed = np.ones(vocab, bool)
        ids = self.blocked(state)
        allowed[ids[ids < vocab]] = False
        return allowed

    def allows(self, state: Ids, token: int) -> bool:
        """Whether a token completes no n-gram."""
        if len(state) < self.n - 1:
            return True
        if self._index is not None:
            return self._index.count([*state, int(token)]) == 0
        return int(token) not in self._followers.get(state, ())
