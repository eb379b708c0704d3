"""Prompt lookup: what followed the last tokens earlier in the same text."""

from __future__ import annotations

from .. import _core
from ..requests import _count as count_of
from ..requests import _field as field_of

__all__ = ["NGram"]


class NGram(_core.NGram):
    """Drafts a tree of what followed earlier occurrences of the last n tokens of prompt and output.

    What an encoder has read comes before them.

    Shapes
        max_ngram: longest suffix that is looked up, 1 … 16; min_prob: least path probability of a node;
        max_nodes: most nodes of a tree, the root included.
    Returns
        A drafter for `Engine(drafter=…)`.
    Errors
        InvalidArgument for values outside their range.
    Cost
        Microseconds per step; about 16 bytes per token of context.
    Source
        saxena2023, as a tree of several continuations with PPM escape between the orders.
    Example
        >>> import draftwood as dw
        >>> engine = dw.testing.toy_engine(drafter=dw.drafters.NGram(max_nodes=64))
        >>> engine.generate([1, 2, 1, 2, 1], dw.SamplingParams(max_new_tokens=4)).token_ids.shape
        (4,)
    """

    def __new__(cls, max_ngram: int = 3, min_prob: float = 0.01, *, max_nodes: int = 16) -> NGram:
        max_ngram, min_prob = count_of(max_ngram, "max_ngram"), field_of(min_prob, float, "min_prob", "a number")
        return super().__new__(cls, max_ngram, min_prob)  # type: ignore[return-value]

    def __init__(self, max_ngram: int = 3, min_prob: float = 0.01, *, max_nodes: int = 16) -> None:
        self.max_nodes = count_of(max_nodes, "max_nodes")
