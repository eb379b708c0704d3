"""Constraints and penalties: rules written in Rust, or around a function, that go into `processors=[…]`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from . import _core
from .errors import InvalidArgument

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .retrieval import FMIndex

__all__ = [
    "AllowedPrefix",
    "AllowedTokens",
    "BadWords",
    "BlockNgrams",
    "InCorpus",
    "MinLength",
    "NativeRule",
    "NoRepeatNgrams",
    "Phrases",
    "RepetitionPenalty",
    "Trie",
]


class NativeRule:
    """A rule that runs in Rust. Its methods are those of `Processor`, for rules of yours that are built on it."""

    def __init__(self, rule: _core.Rule) -> None:
        self._rule = rule

    @property
    def core(self) -> _core.Rule:
        """The rule itself, as searches and sessions take it."""
        return self._rule

    def init(self, ids: NDArray[np.int32]) -> _core.RuleState:
        """The state after the prompt."""
        import numpy as np

        return self._rule.init(np.ascontiguousarray(ids, np.int32))

    def fork(self, state: _core.RuleState) -> _core.RuleState:
        """States never change."""
        return state

    def advance(self, state: _core.RuleState, token: int) -> _core.RuleState:
        """The state after one more token."""
        return self._rule.advance(state, token)

    def apply(self, state: _core.RuleState, row: NDArray[np.float32]) -> None:
        """Changes the row in place."""
        self._rule.apply(state, row)

    def allows(self, state: _core.RuleState, token: int) -> bool | None:
        """Whether a token may follow; None from a rule that changes values."""
        return self._rule.allows(state, token)

    def candidates(self, state: _core.RuleState) -> NDArray[np.uint32] | None:
        """Every token that may follow, if the rule knows them."""
        import numpy as np

        found = self._rule.candidates(state)
        return None if found is None else np.frombuffer(found, np.uint32)

    def progress(self, state: _core.RuleState) -> int | None:
        """How far the text has come towards what must occur."""
        return self._rule.progress(state)

    def advances(self, state: _core.RuleState) -> list[int]:
        """Tokens that take it further."""
        return self._rule.advances(state)

    def done(self, state: _core.RuleState) -> bool:
        """Whether everything that must occur has occurred."""
        return self._rule.done(state)

    def ends(self, state: _core.RuleState) -> bool:
        """Whether the text may end here, though no end token is listed."""
        return self._rule.ends(state)


class Trie(NativeRule):
    """Generated tokens follow one of the given sequences, and the text may end where one is complete.

    Shapes
        sequences: lists of ids, or an array [N, L]. End tokens need not be part of them: where a sequence is complete,
            any end token may come. Without end tokens texts end by `max_new_tokens`.
    Returns
        A rule for `processors`.
    Errors
        InvalidArgument without a sequence, for an empty one, or for what is no token id.
    Cost
        Built by one sort; about 8 bytes per node. A step reads the allowed children only, whatever V is.
    Source
        De Cao et al., decao2021.
    Example
        >>> import draftwood as dw
        >>> engine = dw.testing.toy_engine()
        >>> trie = dw.search.Trie([[5, 6, 7], [5, 9, 1]])
        >>> params = dw.BeamParams(num_beams=2, num_return=2, max_new_tokens=3, processors=[trie])
        >>> beams = engine.beam_search([1], params)
        >>> sorted(h.token_ids.tolist() for h in beams)
        [[5, 6, 7], [5, 9, 1]]
    """

    def __init__(self, sequences: Any) -> None:
        super().__init__(_core.Rule.trie(*_flat(sequences, "the sequences of a trie")))


class Phrases(NativeRule):
    """Every phrase occurs in the generated tokens, before the end token.

    Shapes
        phrases: each entry a phrase (a list of ids), or a list of phrases of which one must occur.
        ordered: one after the other without overlap; otherwise in any order, and they may overlap.
    Returns
        A rule for `processors`. Beams are kept by how far they have come; texts that lack a phrase are no hypotheses.
    Errors
        InvalidArgument without a phrase or for an empty one.
    Cost
        One Knuth–Morris–Pratt step per phrase and token.
    Source
        Post and Vilar, post2018; the slots of a step go round over the classes of progress, and candidates are the best
        B of each beam, so that what holds a phrase is not crowded out.
    Example
        >>> import draftwood as dw
        >>> engine = dw.testing.toy_engine()
        >>> rule = dw.search.Phrases([[7, 8], [[3], [4, 4]]])
        >>> best = engine.beam_search([1], dw.BeamParams(num_beams=8, max_new_tokens=6, processors=[rule]))[0]
        >>> "7, 8" in str(best.token_ids.tolist())
        True
    """

    def __init__(self, phrases: Iterable[Any], ordered: bool = False) -> None:
        what = "the phrases that must occur"
        entries = []
        for entry in _listed(phrases, what):
            parts = _listed(entry, what)
            many = bool(parts) and (hasattr(parts[0], "__len__") or hasattr(parts[0], "__iter__"))
            entries.append([_ids(part, what) for part in (parts if many else [parts])])
        super().__init__(_core.Rule.phrases(entries, bool(ordered)))


class InCorpus(NativeRule):
    """What is generated is part of a document of an index, word for word.

    The generated tokens count, not the prompt. A text may end, by any end token, where what it says ends a document;
    else it ends by `max_new_tokens`. `Seal` searches under the same constraint and ranks documents by what it finds.

    Shapes
        index: an `FMIndex`; one over several files (`FMIndex.open([…])`) allows what any of them says.
        anchored: what is generated begins where a document begins.
    Returns
        A rule for `processors`.
    Errors
        InvalidArgument for what is no index. IndexFormatError where an engine has another tokenizer than the index, and
        for a block of the file that is found to be damaged: it ends the text or the search.
    Cost
        Each beam carries its range of the index, so that a token is tested by two or three cache misses per file,
        whatever the vocabulary and the length of the text; followers are listed where at most 1,024 places are left.
        Beam search makes no mask; greedy decoding and sampling list the followers of every step, at most 50 ns per
        distinct token of the corpus.
    Source
        bevilacqua2022.
    Example
        >>> import draftwood as dw, tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> index = dw.FMIndex.build([[5, 6, 7, 8], [6, 7, 9]], path=f"{folder.name}/a.dwx")
        >>> engine, rule = dw.testing.toy_engine(), dw.search.InCorpus(index)
        >>> params = dw.BeamParams(num_beams=9, num_return=9, max_new_tokens=2, processors=[rule])
        >>> beams = engine.beam_search([1, 2], params)
        >>> sorted(beam.token_ids.tolist() for beam in beams)
        [[5, 6], [6, 7], [7, 8], [7, 9]]
    """

    def __init__(self, index: FMIndex, *, anchored: bool = False) -> None:
        self.index = _index(index)
        super().__init__(_core.Rule.in_corpus(self.index.core, bool(anchored)))

    def check_tokenizer(self, tokenizer: Any) -> None:
        """Refuses a tokenizer whose ids do not mean what the index' ids mean."""
        self.index.check_tokenizer(tokenizer)


class BlockNgrams(NativeRule):
    """No n-gram of a set or of an index is ever completed, also not one that begins in the prompt: nothing is quoted.

    Where every token is blocked the text ends with `finish_reason="constraint"`.

    Shapes
        ngrams: ids, all of the same length; or an `FMIndex`: all n-grams of its documents.
        n: their length; None for that of the n-grams given, an index needs it.
    Returns
        A rule for `processors`.
    Errors
        InvalidArgument without an n-gram, for one of another length, and for n below 1. With an index, IndexFormatError
        where an engine has another tokenizer, and for a damaged block.
    Cost
        A binary search per token. With an index n − 1 of its steps, of two or three cache misses, per generated token,
        or fewer where the text leaves the corpus before, and one per token that is tested.
    Source
        Ippolito et al., ippolito2022 (MemFree decoding).
    Example
        >>> import draftwood as dw
        >>> engine = dw.testing.toy_engine()
        >>> free = engine.generate([1, 2], dw.SamplingParams(max_new_tokens=8)).token_ids.tolist()
        >>> rule = dw.search.BlockNgrams([free[2:5]], n=3)
        >>> ours = engine.generate([1, 2], dw.SamplingParams(max_new_tokens=8, processors=[rule])).token_ids.tolist()
        >>> ours[:4] == free[:4], ours[4] == free[4]
        (True, False)
    """

    def __init__(self, ngrams: Any, n: int | None = None) -> None:
        from .requests import _count

        if n is not None and (n := _count(n, "n")) < 1:
            raise InvalidArgument.of("n", "at least 1", n)
        self.index: FMIndex | None = None
        """The index whose n-grams are blocked."""
        if hasattr(ngrams, "next_tokens"):
            if n is None:
                hint = "how many tokens must not be repeated in a row?"
                raise InvalidArgument.of("n", "given with an index", None, hint)
            self.index = _index(ngrams)
            super().__init__(_core.Rule.block_corpus(self.index.core, n))
            return
        tokens, lengths = _flat(ngrams, "the blocked n-grams")
        n = n if n is not None or not lengths.size else int(lengths[0])
        if (lengths != n).any():
            raise InvalidArgument.of("the blocked n-grams", f"of length n = {n}", f"one of {lengths[lengths != n][0]}")
        super().__init__(_core.Rule.block(tokens, lengths))

    def check_tokenizer(self, tokenizer: Any) -> None:
        """Refuses a tokenizer whose ids do not mean what the index' ids mean; n-grams fit all."""
        if self.index is not None:
            self.index.check_tokenizer(tokenizer)


class BadWords(NativeRule):
    """Sequences of any lengths that are never completed."""

    def __init__(self, sequences: Any) -> None:
        super().__init__(_core.Rule.block(*_flat(sequences, "bad_words")))


class AllowedTokens(NativeRule):
    """Nothing but these tokens, end tokens included: an end that shall be possible is among them."""

    def __init__(self, tokens: Iterable[int]) -> None:
        super().__init__(_core.Rule.only(_ids(tokens, "allowed_tokens")))


class MinLength(NativeRule):
    """These tokens do not come before so many have been generated."""

    def __init__(self, length: int, tokens: Iterable[int]) -> None:
        from .requests import _count

        super().__init__(_core.Rule.min_length(_count(length, "length"), _ids(tokens, "the end tokens")))


class NoRepeatNgrams(NativeRule):
    """No n-gram of this size comes twice, prompt included."""

    def __init__(self, size: int) -> None:
        from .requests import _count

        super().__init__(_core.Rule.no_repeat(_count(size, "the n-gram size")))


class RepetitionPenalty(NativeRule):
    """Negative values of tokens that the text holds, prompt included, are multiplied by the penalty, others divided."""

    def __init__(self, penalty: float) -> None:
        from .requests import _field

        super().__init__(_core.Rule.repetition(_field(penalty, float, "repetition_penalty", "a number")))


class AllowedPrefix:
    """What may follow is asked of a function.

    Shapes
        fn: called with all ids of the text, int32 [T], prompt included; returns the ids that may follow.
    Returns
        A rule for `processors`.
    Errors
        InvalidArgument for what is no function; what `fn` raises ends the text or the search.
    Cost
        One call per step and beam.
    Source
        `prefix_allowed_tokens_fn` of transformers; De Cao et al., decao2021.
    Example
        >>> import draftwood as dw
        >>> engine = dw.testing.toy_engine()
        >>> rule = dw.search.AllowedPrefix(lambda ids: [(ids[-1] + 1) % 256])
        >>> engine.generate([1], dw.SamplingParams(max_new_tokens=3, processors=[rule])).token_ids.tolist()
        [2, 3, 4]
    """

    def __init__(self, fn: Callable[[NDArray[np.int32]], Sequence[int]]) -> None:
        if not callable(fn):
            raise InvalidArgument.of("AllowedPrefix", "a function", type(fn).__name__)
        self._fn = fn

    def init(self, ids: NDArray[np.int32]) -> tuple[int, ...]:
        """The text."""
        return tuple(ids.tolist())

    def fork(self, state: tuple[int, ...]) -> tuple[int, ...]:
        """Texts never change."""
        return state

    def advance(self, state: tuple[int, ...], token: int) -> tuple[int, ...]:
        """The longer text."""
        return (*state, token)

    def candidates(self, state: tuple[int, ...]) -> list[int]:
        """What the function says."""
        import numpy as np

        return _ids(self._fn(np.array(state, np.int32)), "what AllowedPrefix returns")


def _index(value: Any) -> FMIndex:
    from .retrieval import FMIndex

    if not isinstance(value, FMIndex):
        got, hint = type(value).__name__, "FMIndex.open([…]) opens several files as one index"
        raise InvalidArgument.of("the index", "an FMIndex", got, hint)
    return value


def _listed(value: Any, what: str) -> list[Any]:
    try:
        return list(value)
    except TypeError:
        raise InvalidArgument.of(what, "lists of ids", repr(value)) from None


def _ids(values: Any, what: str) -> list[int]:
    """Token ids as Python integers."""
    listed = _listed(values, what)
    for one in listed:
        if isinstance(one, bool) or not hasattr(one, "__index__") or not 0 <= one.__index__() < 2**31:
            raise InvalidArgument.of(what, "token ids", repr(one))
    return [one.__index__() for one in listed]


def _flat(sequences: Any, what: str) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """All ids one after the other, and the length of each sequence."""
    import numpy as np

    if getattr(sequences, "ndim", None) == 2:
        array = np.asarray(sequences)
        lengths = np.full(len(array), array.shape[1], np.uint32)
        flat = array.reshape(-1)
    else:
        listed = _listed(sequences, what)
        try:
            lengths = np.fromiter(map(len, listed), np.uint32, len(listed))
            flat = np.array([id for sequence in listed for id in sequence])
        except (TypeError, ValueError):
            raise InvalidArgument.of(what, "lists of ids", "something else") from None
    if flat.size and (flat.dtype.kind not in "iu" or flat.min() < 0 or flat.max() >= 2**31):
        raise InvalidArgument.of(what, "token ids", f"{flat.dtype} values, the first one {flat[0]!r}")
    return np.ascontiguousarray(flat, np.uint32), lengths
