"""Plans for a chain of tokens without a session: what benches and parity tests feed an executor with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

__all__ = ["PAGE", "chain_plan", "pages_for", "shared"]

PAGE = 16


def pages_for(tokens: int) -> int:
    """Pages that a text of so many tokens fills."""
    return -(-tokens // PAGE)


def shared(left: Sequence[int], right: Sequence[int]) -> int:
    """Tokens that two texts have in common from their beginning on."""
    differing = (at for at, (a, b) in enumerate(zip(left, right, strict=False)) if a != b)
    return next(differing, min(len(left), len(right)))


def chain_plan(ids: Sequence[int], start: int = 0, read: Iterable[int] | None = None, *, selector: str = "full") -> Any:
    """One text in pages 0, 1, …: the tokens `ids` at the positions from `start` on, what is before being cached.

    `read`: rows that are read, from 0; all if None. `selector`: what is wanted of them, "full" logits or the "argmax".
    Nothing is drafted: the rows are a known chain.
    """
    count = len(ids)
    positions = np.arange(start, start + count, dtype=np.int32)
    parents = np.arange(-1, count - 1, dtype=np.int32)
    masks = np.zeros((count, 1), np.int32)
    masks[-1] = 1
    arrays: dict[str, Any] = {
        "tokens": np.asarray(ids, np.int32),
        "positions": positions,
        "parents": parents,
        "slots": positions.copy(),
        "masks": masks,
        "head_rows": np.arange(count, dtype=np.int32) if read is None else np.asarray(list(read), np.int32),
        "row_offsets": np.array([0, count], np.int32),
        "page_offsets": np.array([0, pages_for(start + count)], np.int32),
        "pages": np.arange(pages_for(start + count), dtype=np.int32),
        "chain": np.array([count], np.int32),
        "context": np.array([start], np.int32),
    }
    shape = {"rows": count, "sequences": 1, "page_size": PAGE, "mask_words": 1}
    return SimpleNamespace(**shape, selector=selector, embedded=None, **arrays)
