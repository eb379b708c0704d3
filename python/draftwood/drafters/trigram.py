"""A tree search over trigram weights that follow the text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .. import _core
from ..requests import _count as count_of
from ..retrieval.arguments import iterable_of
from ..retrieval.ids import ids_of

__all__ = ["Trigram"]


class Trigram(_core.Trigram):
    """Drafts by a tree search over trigram weights: a corpus' shares at first, raised by every token of the text.

    Shapes
        documents: ids [T] each, or None to learn from the text alone; iterations: rounds of the search, 1 … 10,000;
        depth: tokens that a round looks ahead, 1 … 16; max_nodes: most nodes of a tree, the root included.
    Returns
        A drafter for `Engine(drafter=…)`, or a part of a `Mix`.
    Errors
        InvalidArgument for values outside their range.
    Cost
        Tens of microseconds per step; about 24 bytes per distinct trigram of the corpus while it is counted.
    Source
        liu2024. Its rollouts are random; here they take the heaviest follower, so that a draft can be repeated.
    Example
        >>> import draftwood as dw
        >>> engine = dw.testing.toy_engine(drafter=dw.drafters.Trigram([[1, 2, 3, 1, 2, 3]]))
        >>> engine.generate([1, 2], dw.SamplingParams(max_new_tokens=4)).token_ids.shape
        (4,)
    """

    def __new__(
        cls, documents: Iterable[Any] | None = None, *, iterations: int = 150, depth: int = 4, max_nodes: int = 16
    ) -> Trigram:
        iterations, depth = count_of(iterations, "iterations"), count_of(depth, "depth")
        corpus = None
        if documents is not None:
            corpus = _core.Corpus()
            for i, document in enumerate(iterable_of(documents, "documents", "a sequence of documents, or None")):
                corpus.push(ids_of(document, f"documents[{i}]"))
        return super().__new__(cls, corpus, iterations, depth)  # type: ignore[return-value]

    def __init__(
        self, documents: Iterable[Any] | None = None, *, iterations: int = 150, depth: int = 4, max_nodes: int = 16
    ) -> None:
        self.max_nodes = count_of(max_nodes, "max_nodes")
