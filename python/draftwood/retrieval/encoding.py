"""From documents as callers have them to tokens, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import _core
from ..errors import InvalidArgument
from .ids import ids_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..models.tokenizer import Tokenizer

__all__ = ["Encoded", "Given", "encode_batch", "given", "title_end_of"]

_TITLE_END = " @@"


class Given(NamedTuple):
    """A document before its encoding: pieces of text, or ids."""

    name: str
    title: str
    content: Any
    has_title_tokens: bool


class Encoded(NamedTuple):
    """A document as the index takes it."""

    name: str
    title: str
    ids: NDArray[np.uint32]
    has_title_tokens: bool


def given(document: Any, number: int) -> Given:
    """A document as the caller has it: a string, ids, or (id, title, string or ids)."""
    if not (isinstance(document, tuple) and len(document) == 3 and isinstance(document[1], str | None)):
        return Given("", "", document, False)
    name, title, content = document
    if not isinstance(name, str | int) or isinstance(name, bool):
        raise InvalidArgument.of(f"the id of documents[{number}]", "a string or a number", type(name).__name__)
    try:
        name = str(name)
    except ValueError:  # an integer of more digits than Python writes
        raise InvalidArgument.of(f"the id of documents[{number}]", "a number of at most 4,300 digits", name) from None
    spaced = title is not None
    title = title or ""
    for what, text in (("id", name), ("title", title)):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidArgument.of(f"the {what} of documents[{number}]", "text", "lone surrogates") from error
    if isinstance(content, str):
        return Given(name, title, f" {content}" if spaced else content, bool(title))
    return Given(name, title, content, False)


def encode_batch(batch: Sequence[Given], tokenizer: Tokenizer | None, first: int) -> list[Encoded]:
    """The ids of documents `first`, `first` + 1 …; all strings at once, on all cores.

    Errors
        InvalidArgument for strings without a tokenizer and ids that an index does not take, naming token and document.
    """
    import numpy as np

    texts: list[str] = []
    for one in batch:
        if isinstance(one.content, str):
            texts += [f" {one.title}", one.content] if one.has_title_tokens else [one.content]
    if texts and tokenizer is None:
        raise InvalidArgument.of("documents", "token ids", "strings", "pass tokenizer= to encode them")
    ready = iter(tokenizer.encode_plain(texts) if tokenizer is not None else ())
    end = title_end_of(tokenizer, None)
    result = []
    for number, one in enumerate(batch, first):
        content: Any = one.content
        if one.has_title_tokens:
            content = np.concatenate([next(ready), end, next(ready)])
        elif isinstance(content, str):
            content = next(ready)
        ids = ids_of(content, f"documents[{number}]")
        _core.Corpus.check(ids, number)
        result.append(Encoded(one.name, one.title, ids, one.has_title_tokens))
    return result


def title_end_of(tokenizer: Tokenizer | None, own: Any) -> NDArray[np.uint32]:
    """The ids that end titles: those given, or the tokenizer's for the mark behind titles."""
    if own is not None:
        return ids_of(own, "title_end")
    return ids_of([] if tokenizer is None else tokenizer.encode_plain([_TITLE_END])[0], "title_end")
