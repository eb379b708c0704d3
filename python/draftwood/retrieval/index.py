"""`FMIndex`: what a corpus of tokens holds, how often, and where."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from .. import _core
from ..errors import InvalidArgument, shown_as
from ..requests import _count as count_of
from ..requests import _flag as flag_of
from .arguments import MOST, callback_of, iterable_of, path_of
from .documents import IndexedDocuments
from .encoding import title_end_of
from .ids import ids_of
from .results import Span
from .spill import fill_corpus
from .tokens import tokenizer_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["FMIndex", "index_of"]

_TIERS = ("tiny", "compact", "standard", "fast")

Path = str | os.PathLike[str]


class FMIndex(IndexedDocuments):
    """An index over documents of tokens: memory-mapped, opened in milliseconds, shared by processes and threads.

    No n-gram crosses the border of a document. Several files are one index, documents numbered on.

    Example
        >>> import draftwood as dw, tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> index = dw.FMIndex.build([[5, 6, 7], [6, 7, 8], []], path=f"{folder.name}/corpus.dwx")
        >>> index.count([6, 7]), len(index)
        (2, 3)
    """

    @classmethod
    def build(
        cls,
        documents: Iterable[Any],
        *,
        path: Path,
        tokenizer: Any = None,
        tier: str = "standard",
        title_end: Any = None,
        resume: bool = True,
        progress: Callable[[str], None] | None = None,
    ) -> FMIndex:
        """Builds the index of `documents` at `path`; the file appears there complete or not at all.

        Tokens of more than 8 MB of documents wait on disk in `path` + ".partial". A build that is killed or raises
        leaves them there, and the next one of the same documents goes on from them. A path is built by one process at a
        time.

        Shapes
            documents: strings, ids [T] below 2^20, or tuples (id, title, string or ids); tokenizer: an engine, a
            tokenizer or the path of one, for strings and for the fingerprint; tier: "tiny" (counts and followers),
            "compact" (also places), "standard" (also the text at once) or "fast" (places at once); progress: called
            with each phase's name.
            title_end: the ids that end the titles of documents given as ids. A tuple with a title and a string is
            stored as the tokens of " title", " @@" and " string", so that titles can be searched for; one with None for
            a title keeps its text as it is. resume: False discards what an interrupted build has left.
        Returns
            The index, opened.
        Errors
            InvalidArgument for documents that are none, ids from 2^20 on, strings without a tokenizer, another tier,
            paths that cannot be written or are being built by another, and documents that differ from those of the
            interrupted build.
        Cost
            About 0.2 µs per token. Memory of 80 MB and about 10 bytes per token, 14 above 65,535 distinct ones,
            whatever the documents are. On disk 2, 4.3, 8.5 or 12.5 bytes per token by tier; each stored copy of the
            text (one in compact, two in standard and fast) takes as many bits per token as its distinct tokens need.
        Source
            bevilacqua2022 (reversed documents); ferragina2000 (the FM-index).
        Example
            >>> import draftwood as dw, tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     dw.FMIndex.build([[1, 2], [3]], path=f"{folder}/a.dwx", tier="tiny").info()["tokens"]
            3
        """
        name, resume = path_of(path, "path"), flag_of(resume, "resume")
        if not isinstance(tier, str) or tier not in _TIERS:
            got = f'"{tier}"' if isinstance(tier, str) else shown_as(repr, tier)
            raise InvalidArgument.of("tier", "tiny, compact, standard or fast", got)
        documents = iterable_of(documents, "documents", "a sequence of documents")
        tell = callback_of(progress, "progress") or (lambda phase: None)
        tokens = None if tokenizer is None else tokenizer_of(tokenizer)
        corpus = _core.Corpus()
        # Claimed before the first document is read: a second build is refused at once, not after hours of work.
        with closing(_core.IndexClaim(name)) as claim:
            tell("tokens")
            has_titles = fill_corpus(corpus, documents, tokens, claim, resume=resume)
            if has_titles or title_end is not None:
                corpus.set_title_end(title_end_of(tokens, title_end))
            fingerprint = None if tokens is None else bytes.fromhex(tokens.fingerprint)
            _core.Index.build(corpus, claim, tier, fingerprint, tell)
            return cls(_core.Index.open([name]), tokens)

    @classmethod
    def open(cls, path: Path | Sequence[Path], *, tokenizer: Any = None) -> FMIndex:
        """Opens an index file, or several as one.

        Shapes
            path: a `.dwx` file, or a list of them; tokenizer: as in `build`, for text in queries.
        Returns
            The index.
        Errors
            InvalidArgument (no such file), IndexFormatError (damaged, with the offset, or of another tokenizer).
        Cost
            Milliseconds, whatever the size: blocks are read and checked when they are first touched.
        Source
            None.
        Example
            >>> import draftwood as dw
            >>> dw.FMIndex.open("no-such.dwx")
            Traceback (most recent call last):
            ...
            draftwood.errors.InvalidArgument: the index file must be ...
        """
        listed: Any = [path] if isinstance(path, str | os.PathLike) else path
        listed = iterable_of(listed, "path", "the path of an index file, or a list of them")
        paths = [path_of(one, f"path[{i}]") for i, one in enumerate(listed)]
        index = cls(_core.Index.open(paths), None if tokenizer is None else tokenizer_of(tokenizer))
        if index.tokenizer is not None:
            index.check_tokenizer(index.tokenizer)
        return index

    def count(self, ids: Any, *, anchored: bool = False) -> int:
        """How often an n-gram occurs; `anchored`: at the start of documents.

        Shapes
            ids: [T] ids, or a string if the index has a tokenizer; the empty one occurs once per token.
        Returns
            The count.
        Errors
            InvalidArgument for ids that are none; IndexFormatError for a damaged block.
        Cost
            Two cache misses per token, whatever the vocabulary.
        Source
            ferragina2000.
        Example
            >>> import draftwood as dw, tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     index = dw.FMIndex.build([[1, 2, 1, 2]], path=f"{folder}/a.dwx")
            ...     index.count([1, 2]), index.count([1, 2], anchored=True), index.count([2, 2])
            (2, 1, 0)
        """
        return self.core.count(self._ids(ids), flag_of(anchored, "anchored"))

    def counts(self, ngrams: Any, *, anchored: bool = False) -> NDArray[np.uint64]:
        """How often each of many n-grams occurs: `count` for all of them in one call.

        Shapes
            ngrams: a sequence of n n-grams of any lengths, each as in `count`; or ids [n, T].
        Returns
            counts [n] uint64.
        Errors
            InvalidArgument for n-grams that are none, by their number; IndexFormatError for a damaged block.
        Cost
            Two cache misses per token, those of up to 32 n-grams under way at once; the interpreter is free meanwhile.
            A list's n-grams become arrays one by one, ids [n, T] all at once.
        Source
            ferragina2000.
        Example
            >>> import draftwood as dw, tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     index = dw.FMIndex.build([[1, 2, 1, 2]], path=f"{folder}/a.dwx")
            ...     index.counts([[1, 2], [1], [2, 2], []]).tolist(), index.counts([[1, 2], [2, 1]]).tolist()
            ([2, 2, 0, 4], [2, 1])
        """
        import numpy as np

        flat, lengths = self._ids_of_all(ngrams)
        return np.frombuffer(self.core.counts(flat, lengths, flag_of(anchored, "anchored")), np.uint64)

    def next_tokens(
        self, ids: Any, top: int | None = None, *, anchored: bool = False
    ) -> tuple[NDArray[np.uint32], NDArray[np.uint64]]:
        """The tokens that follow an n-gram, with counts.

        Shapes
            ids: [T]; top: only so many, the most frequent first, of equals the lower id.
        Returns
            ids [n] uint32, ascending without `top`, and counts [n] uint64.
        Errors
            InvalidArgument for ids and a `top` that are none; IndexFormatError.
        Cost
            About 2 ns per occurrence, at most 50 ns per distinct token of the corpus.
        Source
            bevilacqua2022.
        Example
            >>> import draftwood as dw, tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     index = dw.FMIndex.build([[1, 2, 1, 3, 1, 3]], path=f"{folder}/a.dwx")
            ...     [array.tolist() for array in index.next_tokens([1])]
            [[2, 3], [1, 2]]
        """
        import numpy as np

        top = None if top is None else count_of(top, "top", MOST)
        found, counts, _ = self.core.next_tokens(self._ids(ids), top, flag_of(anchored, "anchored"))
        return np.frombuffer(found, np.uint32), np.frombuffer(counts, np.uint64)

    def locate(self, ids: Any, limit: int = 10, *, anchored: bool = False) -> NDArray[np.int64]:
        """Where an n-gram occurs.

        Shapes
            ids: [T], T ≥ 1; limit: at most so many places, evenly spaced among all.
        Returns
            int64 [n, 2]: document and offset, sorted.
        Errors
            InvalidArgument for an empty n-gram, a limit that is none and the tiny tier; IndexFormatError.
        Cost
            Per place one cache miss (fast), about 32 steps (standard) or 16 (compact).
        Source
            ferragina2000.
        Example
            >>> import draftwood as dw, tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     dw.FMIndex.build([[1, 2], [9, 1, 2]], path=f"{folder}/a.dwx").locate([1, 2]).tolist()
            [[0, 0], [1, 1]]
        """
        import numpy as np

        limit, anchored = count_of(limit, "limit", MOST), flag_of(anchored, "anchored")
        return np.frombuffer(self.core.locate(self._ids(ids), limit, anchored), np.int64).reshape(-1, 2)

    def probability(self, ids: Any, next: int | None = None) -> tuple[Any, int]:
        """What follows the longest suffix of `ids` that occurs: an n-gram model with n as large as the corpus allows.

        Shapes
            ids: [T]; next: the token to judge.
        Returns
            (probability of `next`, length of the suffix); without `next` (ids [n], probabilities [n] float64) comes
            first. The end of a document has a share too, so that they may sum to less than 1.
        Errors
            InvalidArgument for ids and a token that are none; IndexFormatError.
        Cost
            As `count` and `next_tokens`.
        Source
            liu2024infinigram.
        Example
            >>> import draftwood as dw, tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     index = dw.FMIndex.build([[1, 2, 3, 9, 2, 4]], path=f"{folder}/a.dwx")
            ...     index.probability([7, 1, 2], 3), index.probability([9, 9, 2], 4), index.probability([5, 2], 4)
            ((1.0, 2), (1.0, 2), (0.5, 1))
        """
        import numpy as np

        next = None if next is None else count_of(next, "next", 2**32 - 1)
        length, count, (found, counts, _) = self.core.suffix(self._ids(ids))
        following = np.frombuffer(found, np.uint32)
        seen = np.frombuffer(counts, np.uint64).astype(np.float64)
        shares = seen / max(count, 1)
        if next is None:
            return (following, shares), length
        at = int(np.searchsorted(following, next))
        known = at < len(following) and following[at] == next
        return (float(shares[at]) if known else 0.0), length

    def attribute(self, ids: Any, min_length: int = 8, *, places: int = 10) -> list[Span]:
        """The parts of a text that occur in the corpus, as long as they can be.

        Shapes
            ids: [T]; min_length: shortest span in tokens; places: most places per span.
        Returns
            Spans in the order of the text; they may overlap, none contains another.
        Errors
            InvalidArgument for a length below 1 and numbers that are none; IndexFormatError.
        Cost
            A step per token and suffix that occurs with a count of its own: a handful in ordinary text.
        Source
            liu2025.
        Example
            >>> import draftwood as dw, tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     index = dw.FMIndex.build([[1, 2, 3, 4], [3, 4, 5]], path=f"{folder}/a.dwx")
            ...     [(s.start, s.end, s.places.tolist()) for s in index.attribute([2, 3, 4, 5, 2], min_length=2)]
            [(0, 3, [[0, 1]]), (1, 4, [[1, 0]])]
        """
        import numpy as np

        min_length, places = count_of(min_length, "min_length", MOST), count_of(places, "places", MOST)
        return [
            Span(start, end, count, np.frombuffer(found, np.int64).reshape(-1, 2))
            for start, end, count, found in self.core.attribute(self._ids(ids), min_length, places)
        ]

    def _ids(self, ids: Any) -> NDArray[np.uint32]:
        if isinstance(ids, str) and self.tokenizer is not None:
            return ids_of(self.tokenizer.encode_plain([ids])[0], "ids")
        return ids_of(ids, "ids")

    def _ids_of_all(self, ngrams: Any) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        """The ids of n-grams one after the other, and how many each has."""
        import numpy as np

        if getattr(ngrams, "ndim", 1) == 2:
            flat = ids_of(ngrams.reshape(-1), "ngrams")
            return flat, np.full(len(ngrams), ngrams.shape[1], np.uint32)
        if isinstance(ngrams, str | bytes):
            raise InvalidArgument.of("ngrams", "a sequence of n-grams", "one string", "put it into a list")
        every = list(iterable_of(ngrams, "ngrams", "a sequence of n-grams"))
        if self.tokenizer is not None and any(isinstance(one, str) for one in every):
            texts = iter(self.tokenizer.encode_plain([one for one in every if isinstance(one, str)]))
            every = [next(texts) if isinstance(one, str) else one for one in every]
        arrays = [ids_of(one, f"ngrams[{i}]") for i, one in enumerate(every)]
        lengths = np.fromiter(map(len, arrays), np.uint32, len(arrays))
        return np.concatenate(arrays) if arrays else np.zeros(0, np.uint32), lengths

    def __repr__(self) -> str:
        core = self.core
        return f"FMIndex({core.tier}, {core.documents:,} documents, {core.tokens:,} tokens)"


def index_of(index: Any) -> FMIndex:
    """`index`, if it is one."""
    if not isinstance(index, FMIndex):
        raise InvalidArgument.of("index", "an FMIndex", type(index).__name__, "FMIndex.open opens a file")
    return index
