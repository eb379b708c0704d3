"""What follows the text's last tokens in a corpus."""

from __future__ import annotations

from typing import Any

from .. import _core
from ..errors import InvalidArgument, shown_as
from ..requests import _count as count_of
from ..requests import _field as field_of
from ..requests import _flag as flag_of
from ..retrieval.index import FMIndex, index_of

__all__ = ["Retrieval"]


class Retrieval(_core.Retrieval):
    """Drafts what follows the longest suffixes of the text in an indexed corpus, as a tree weighted by counts.

    `style` says which suffixes speak; every number below can be given, and what is not given is the style's own:

    - `"escape"`: followers of the longest suffix first, what they leave goes to the shorter ones, as escapes do in PPM.
      max_match 16, min_match 1, min_prob 0.02, max_rows 256, max_depth 64, max_nodes 16.
    - `"rest"`, as REST: the longest suffix with a follower alone, the nodes that most of its continuations pass.
      max_match 16, min_match 2, min_prob 0, max_rows 5000, max_depth 10, max_nodes 64.
    - `"suffix-decoding"`, as SuffixDecoding: each suffix of m tokens drafts ⌊factor · m + offset⌋ tokens, as a tree or
      as one path, and the draft whose path probabilities sum to most is taken. max_match 64, min_match 1, min_prob 0.1,
      max_rows 5000, max_depth 64, factor 1, offset 0, path False, max_nodes 64.

    Shapes
        max_match: longest suffix that is looked up, 1 … 64; min_match: shortest one that drafts; min_prob: least path
        probability of a node; max_rows: occurrences read per node, suffix and file; max_depth: tokens of a path;
        max_nodes: most nodes of a tree, the root included.
    Returns
        A drafter for `Engine(drafter=…)`, or a part of a `Mix`.
    Errors
        InvalidArgument for values outside their range, for those of another style, and for an index of the tiny tier.
    Cost
        About a microsecond per node and suffix; at most `max_rows` rows are read for each, an even sample of more.
    Source
        he2023 and oliaro2024, both on an FM-index; the escapes are those of our own drafts.
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
        max_match: int | None = None,
        min_match: int | None = None,
        min_prob: float | None = None,
        *,
        style: str = "escape",
        max_rows: int | None = None,
        max_depth: int | None = None,
        factor: float | None = None,
        offset: float | None = None,
        path: bool | None = None,
        max_nodes: int | None = None,
    ) -> Retrieval:
        core = index_of(index).core

        def whole(value: Any, name: str) -> int | None:
            return None if value is None else count_of(value, name)

        def number(value: Any, name: str) -> float | None:
            return None if value is None else field_of(value, float, name, "a number")

        if not isinstance(style, str):
            raise InvalidArgument.of("style", '"escape", "rest" or "suffix-decoding"', shown_as(repr, style))
        return super().__new__(  # type: ignore[return-value]
            cls,
            core,
            whole(max_match, "max_match"),
            whole(min_match, "min_match"),
            number(min_prob, "min_prob"),
            style=style,
            max_rows=whole(max_rows, "max_rows"),
            max_depth=whole(max_depth, "max_depth"),
            factor=number(factor, "factor"),
            offset=number(offset, "offset"),
            path=None if path is None else flag_of(path, "path"),
        )

    def __init__(self, index: FMIndex, *_: Any, style: str = "escape", max_nodes: int | None = None, **__: Any) -> None:
        self.index = index
        default = 16 if style == "escape" else 64
        self.max_nodes = default if max_nodes is None else count_of(max_nodes, "max_nodes")

    def check_tokenizer(self, tokenizer: Any) -> None:
        """Refuses a model whose ids do not mean what the index' ids mean."""
        self.index.check_tokenizer(tokenizer)
