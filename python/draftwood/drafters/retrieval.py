"""What follows the text's last tokens in a corpus."""

from __future__ import annotations

from typing import Any

from .. import _core
from ..requests import _count as count_of
from ..requests import _field as field_of
from ..retrieval.index import FMIndex, index_of

__all__ = ["Retrieval"]


class Retrieval(_core.Retrieval):
    """Drafts what follows the longest suffixes of the text in an indexed corpus, as a tree weighted by counts.

    Shapes
        max_match: longest suffix that is looked up, 1 … 64; min_match: shortest one that drafts; min_prob: least path
        probability of a node; max_nodes: most nodes of a tree, the root included.
    Returns
        A drafter for `Engine(drafter=…)`, or a part of a `Mix`.
    Errors
        InvalidArgument for values outside their range and for an index of the tiny tier.
    Cost
        About a microsecond per node and suffix; at most 256 rows are read for each, an even sample of more.
    Source
        he2023, on an FM-index; what a match leaves goes to its suffixes, as escapes do in PPM.
    Example
        >>> import draftwood as dw, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     index = dw.FMIndex.build([[1, 2, 3, 4], [2, 3, 5]], path=f"{folder}/corpus.dwx")
        ...     engine = dw.testing.toy_engine(drafter=dw.drafters.Retrieval(index))
        ...     engine.generate([1, 2], dw.SamplingParams(max_new_tokens=4)).token_ids.shape
        (4,)
    """

    def __new__(
        cls,
        index: FMIndex,
        max_match: int = 16,
        min_match: int = 2,
        min_prob: float = 0.02,
        *,
        max_nodes: int = 16,
    ) -> Retrieval:
        core = index_of(index).core
        max_match, min_match = count_of(max_match, "max_match"), count_of(min_match, "min_match")
        min_prob = field_of(min_prob, float, "min_prob", "a number")
        return super().__new__(cls, core, max_match, min_match, min_prob)  # type: ignore[return-value]

    def __init__(self, index: FMIndex, *_: Any, max_nodes: int = 16, **__: Any) -> None:
        self.index, self.max_nodes = index, count_of(max_nodes, "max_nodes")

    def check_tokenizer(self, tokenizer: Any) -> None:
        """Refuses a model whose ids do not mean what the index' ids mean."""
        self.index.check_tokenizer(tokenizer)
