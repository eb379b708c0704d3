"""What followed the longest repeated suffix earlier in the same text."""

from __future__ import annotations

from .. import _core
from ..requests import _count as count_of
from ..requests import _field as field_of

__all__ = ["Suffix"]


class Suffix(_core.Suffix):
    """Drafts what followed the longest suffix of prompt and output that occurred before, however long the match.

    What an encoder has read comes before them. Of a text of more than `max_tokens` tokens the last ones are searched,
    at least half as many: two automata read along, and the younger one takes the place of the one that is full.

    Shapes
        min_prob: least path probability of a node; max_tokens: most tokens searched, 16 … 2^30; max_nodes: most nodes
        of a tree, the root included.
    Returns
        A drafter for `Engine(drafter=…)`, or a part of a `Mix`.
    Errors
        InvalidArgument for values outside their range.
    Cost
        A fraction of a microsecond per token and node, whatever the match length, up to twice that per token beyond
        `max_tokens / 2`; at most 140 bytes per token of context, and never more than 1.5 · 140 · `max_tokens` per text.
    Source
        oliaro2024, on a suffix automaton; what a match leaves goes to its suffixes, at rates learned from the text.
    Example
        >>> import draftwood as dw
        >>> engine = dw.testing.toy_engine(drafter=dw.drafters.Suffix(max_nodes=32))
        >>> engine.generate([1, 2, 1, 2, 1], dw.SamplingParams(max_new_tokens=4)).token_ids.shape
        (4,)
    """

    def __new__(cls, min_prob: float = 0.01, max_tokens: int = 1 << 22, *, max_nodes: int = 16) -> Suffix:
        min_prob, max_tokens = field_of(min_prob, float, "min_prob", "a number"), count_of(max_tokens, "max_tokens")
        return super().__new__(cls, min_prob, max_tokens)  # type: ignore[return-value]

    def __init__(self, min_prob: float = 0.01, max_tokens: int = 1 << 22, *, max_nodes: int = 16) -> None:
        self.max_nodes = count_of(max_nodes, "max_nodes")
