"""What followed the longest repeated suffix earlier in the same text."""

from __future__ import annotations

from .. import _core
from ..requests import _count as count_of
from ..requests import _field as field_of

__all__ = ["Suffix"]


class Suffix(_core.Suffix):
    """Drafts what followed the longest suffix of prompt and output that occurred before, however long the match.

    What an encoder has read comes before them.

    Shapes
        min_prob: least path probability of a node; max_nodes: most nodes of a tree, the root included.
    Returns
        A drafter for `Engine(drafter=…)`, or a part of a `Mix`.
    Errors
        InvalidArgument for values outside their range.
    Cost
        A fraction of a microsecond per token and node, whatever the match length; at most about 120 bytes per token
        of context.
    Source
        oliaro2024, on a suffix automaton; what a match leaves goes to its suffixes, at rates learned from the text.
    Example
        >>> import draftwood as dw
        >>> engine = dw.testing.toy_engine(drafter=dw.drafters.Suffix(max_nodes=32))
        >>> engine.generate([1, 2, 1, 2, 1], dw.SamplingParams(max_new_tokens=4)).token_ids.shape
        (4,)
    """

    def __new__(cls, min_prob: float = 0.01, *, max_nodes: int = 16) -> Suffix:
        return super().__new__(cls, field_of(min_prob, float, "min_prob", "a number"))  # type: ignore[return-value]

    def __init__(self, min_prob: float = 0.01, *, max_nodes: int = 16) -> None:
        self.max_nodes = count_of(max_nodes, "max_nodes")
