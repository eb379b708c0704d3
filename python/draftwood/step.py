"""One step as Python sees it: the plan's arrays, and user-written drafters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from .errors import InvalidArgument
from .types import Drafter, Tree, View

I32 = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Embedded:
    """Rows that are vectors instead of tokens. Shapes: rows [n] int32, ascending; vectors [n, d] float32."""

    rows: I32
    vectors: NDArray[np.float32]


class StepPlan:
    """The rows of one forward as int32 arrays, views of one block that the next step overwrites.

    Shapes (R rows, S sequences, W mask words, R' read rows, M copies; see rust/tree/src/step.rs)
        tokens, positions, parents, slots [R]; row_offsets, page_offsets [S+1]; chain, context [S]; pages [ragged];
        masks [R, W] bit words; head_rows [R']; requests [S]; copies [2, M] rows to copy before the forward.
    """

    __slots__ = (
        "chain", "context", "copies", "embedded", "head_rows", "mask_words", "masks", "page_offsets", "page_size",
        "pages", "parents", "positions", "requests", "row_offsets", "rows", "selector", "sequences", "slots", "tokens",
    )  # fmt: skip

    tokens: I32
    positions: I32
    parents: I32
    slots: I32
    row_offsets: I32
    chain: I32
    context: I32
    page_offsets: I32
    pages: I32
    masks: I32
    head_rows: I32
    requests: I32
    copies: I32
    selector: str
    """What is asked of the read rows, one of the executor's `caps.selectors`."""
    embedded: Embedded | None
    """Vectors in the place of some tokens' embeddings, for an executor with `caps.embeddings`."""

    def __init__(self, block: I32, borders: Sequence[int], mask_words: int, page_size: int) -> None:
        (t, p, a, s, o, c, x, q, g, m, h, u, k, end) = borders
        self.tokens, self.positions, self.parents, self.slots = block[t:p], block[p:a], block[a:s], block[s:o]
        self.row_offsets, self.chain, self.context = block[o:c], block[c:x], block[x:q]
        self.page_offsets, self.pages = block[q:g], block[g:m]
        self.masks = block[m:h].reshape(-1, mask_words)
        self.head_rows, self.requests = block[h:u], block[u:k]
        self.copies = block[k:end].reshape(2, -1)
        self.rows, self.sequences = p - t, x - c
        self.mask_words, self.page_size = mask_words, page_size
        self.selector = "full"
        self.embedded = None


class PythonDrafter:
    """Runs a drafter of the short form, `propose(view)`, over all views of a step.

    What it raises or proposes wrongly ends that text with the error, not the step.
    """

    def __init__(self, drafter: Drafter) -> None:
        self._drafter = drafter
        self._forest = _core.Forest()
        self.needs_hidden = bool(getattr(drafter, "needs_hidden", False))
        self._hidden: dict[int, Any] = {}

    def observe(self, hidden: dict[int, Any]) -> None:
        """Takes the hidden states [t, d] of the rows that were verified in this step, by sequence."""
        self._hidden.update(hidden)

    def close(self, sequence: int) -> None:
        """Forgets a text."""
        self._hidden.pop(sequence, None)
        close = getattr(self._drafter, "close", None)
        if close is not None:
            close(sequence)

    def propose_batch(self, views: _core.Views) -> _core.Forest:
        forest = self._forest
        forest.clear()
        for i in range(len(views)):
            sequence, tokens, budget, max_depth = views.view(i)
            try:
                source = views.source(i)
                view = View(
                    np.frombuffer(tokens, np.int32),
                    budget,
                    max_depth,
                    sequence,
                    self._hidden.get(sequence),
                    np.frombuffer(source, np.int32) if source else None,
                )
                tree = self._drafter.propose(view)
                if tree is None:
                    forest.add_root(views, i)
                else:
                    forest.add(views, i, *_arrays(tree))
            except Exception as error:
                views.fail(i, error)
                forest.add_root(views, i)
        return forest


def _arrays(tree: Any) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32] | None]:
    if not isinstance(tree, Tree):
        raise InvalidArgument.of("a drafter's proposal", "a draftwood.Tree or None", type(tree).__name__)
    arrays = []
    for name in ("tokens", "parents"):
        array = np.asarray(getattr(tree, name))
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise InvalidArgument.of(
                f"Tree.{name}", "a sequence of integers", f"{array.ndim} dimensions of {array.dtype}"
            )
        arrays.append(np.ascontiguousarray(array, np.int64))
    prob = None if tree.prob is None else np.ascontiguousarray(tree.prob, np.float32)
    return arrays[0], arrays[1], prob
