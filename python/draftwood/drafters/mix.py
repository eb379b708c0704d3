"""Several drafters as one."""

from __future__ import annotations

from typing import Any

from .. import _core
from ..errors import InvalidArgument
from ..requests import _count as count_of

__all__ = ["Mix"]


class Mix(_core.Mix):
    """Merges the trees of several drafters into the best one under the budget, and learns in each text whom to trust.

    Shapes
        drafters: 1 … 8 of this module's; max_nodes: most nodes of a tree, the root included. Each drafts as many.
    Returns
        A drafter for `Engine(drafter=…)`.
    Errors
        InvalidArgument for another number, and for drafters written in Python.
    Cost
        The sum of the drafters', and a fraction of a microsecond per node.
    Source
        None. A token's probability is the mean of those who have an opinion, weighted by how much they gave to the
        tokens that came.
    Example
        >>> import draftwood as dw
        >>> both = dw.drafters.Mix(dw.drafters.NGram(), dw.drafters.Suffix(), max_nodes=32)
        >>> engine = dw.testing.toy_engine(drafter=both)
        >>> engine.generate([1, 2, 1, 2, 1], dw.SamplingParams(max_new_tokens=4)).token_ids.shape
        (4,)
    """

    def __new__(cls, *drafters: _core.Drafter, max_nodes: int = 16) -> Mix:
        for i, drafter in enumerate(drafters):
            if not isinstance(drafter, _core.Drafter):
                hint = "a drafter with propose(view) runs alone"
                raise InvalidArgument.of(f"drafters[{i}]", "one of draftwood.drafters", type(drafter).__name__, hint)
        return super().__new__(cls, list(drafters))  # type: ignore[return-value]

    def __init__(self, *drafters: _core.Drafter, max_nodes: int = 16) -> None:
        self.drafters, self.max_nodes = drafters, count_of(max_nodes, "max_nodes")

    def check_tokenizer(self, tokenizer: Any) -> None:
        """Refuses a model whose ids do not mean what the ids of the drafters' indexes mean."""
        for drafter in self.drafters:
            check = getattr(drafter, "check_tokenizer", None)
            if check is not None:
                check(tokenizer)

    def __repr__(self) -> str:
        return f"Mix({', '.join(map(repr, self.drafters))})"
