"""What other requests have said."""

from __future__ import annotations

from .. import _core
from ..requests import _count as count_of
from ..requests import _field as field_of

__all__ = ["Outputs"]


class Outputs(_core.Outputs):
    """Drafts what followed the longest suffix of the text in outputs of this drafter's earlier requests.

    Sharing is asked for by using it: texts of all requests that one such drafter serves may be drafted to each other,
    as guesses that the model confirms or not; a text never depends on them. Only requests of one
    `SamplingParams.cache_salt` share: give different tenants different ones. The oldest outputs go first, whose they
    may be.

    Shapes
        min_prob: least path probability of a node; max_tokens: most tokens kept, about 120 bytes each; max_nodes: most
        nodes of a tree, the root included.
    Returns
        A drafter for `Engine(drafter=…)`, or a part of a `Mix`, beside `Suffix` for the text itself.
    Errors
        InvalidArgument for values outside their range.
    Cost
        A fraction of a microsecond per token and node.
    Source
        oliaro2024, its tree over past outputs, as generations of suffix automata.
    Example
        >>> import draftwood as dw
        >>> drafter = dw.drafters.Mix(dw.drafters.Suffix(), dw.drafters.Outputs())
        >>> engine = dw.testing.toy_engine(drafter=drafter, context_weight=5.0, draft_policy="always")
        >>> params = dw.SamplingParams()
        >>> first, second = engine.generate([1, 2, 3], params), engine.generate([1, 2, 3], params)
        >>> second.token_ids.tolist() == first.token_ids.tolist(), second.stats.steps < first.stats.steps / 2
        (True, True)
    """

    def __new__(cls, min_prob: float = 0.01, max_tokens: int = 1 << 20, *, max_nodes: int = 16) -> Outputs:
        min_prob, max_tokens = field_of(min_prob, float, "min_prob", "a number"), count_of(max_tokens, "max_tokens")
        return super().__new__(cls, min_prob, max_tokens)  # type: ignore[return-value]

    def __init__(self, min_prob: float = 0.01, max_tokens: int = 1 << 20, *, max_nodes: int = 16) -> None:
        self.max_nodes = count_of(max_nodes, "max_nodes")
