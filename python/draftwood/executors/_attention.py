"""Attention over the paged cache: what a step needs, prepared once, so that a layer only reads tuples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import scaled_dot_product_attention

from ..caches.paged import PagedCache
from ..errors import UnsupportedModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..step import StepPlan

__all__ = ["StepAttention"]

# Arguments of an attention function that say nothing new about what a row may see. A sliding window is compared with
# the context when the executor is made.
_NEUTRAL = frozenset(
    [
        "cache_position",
        "is_causal",
        "output_attentions",
        "output_hidden_states",
        "position_ids",
        "sliding_window",
        "use_cache",
    ]
)


class StepAttention:
    """The keys, values and masks of one step, for all layers.

    transformers sees it as the cache (`update` stores the step's rows) and hands it to the attention function as
    `dw_plan`. Sequences lie one after another in a single packed row; each attends to its own slots only.

    A sequence whose slots are one run reads the cache in place; the others are gathered, all in one index
    operation per layer and tensor. No key beyond a sequence's last row is ever touched, masked or not, because a
    masked key still multiplies its value: 0 · NaN of a stale row would poison the sum.

    Cost: O(R · T) for the masks of trees and chunks; O(1) per sequence that only decodes one row.
    """

    def __init__(self, cache: PagedCache, plan: StepPlan) -> None:
        self.calls = 0
        self._cache = cache
        self._counts: list[int] = []
        self._lengths: list[int] = []
        self._masks: list[torch.Tensor | None] = []
        self._causal: list[bool] = []
        # Per sequence the views of all layers, or None if it is gathered.
        self._views: list[tuple[torch.Tensor, ...] | None] = []
        gathered: list[NDArray[np.int64]] = []
        page_size = plan.page_size
        offsets, page_offsets = plan.row_offsets.tolist(), plan.page_offsets.tolist()
        for s, (context, chain) in enumerate(zip(plan.context.tolist(), plan.chain.tolist(), strict=True)):
            first, count = offsets[s], offsets[s + 1] - offsets[s]
            length = context + count
            pages = plan.pages[page_offsets[s] : page_offsets[s] - (-length // page_size)]
            start = _run(pages)
            if start is None:
                gathered.append(_slots(pages, page_size)[:length])
                self._views.append(None)
            else:
                self._views.append(cache.views(start * page_size, length))
            mask, causal = self._sight(plan, slice(first, first + count), context, chain)
            self._counts.append(count)
            self._lengths.append(length)
            self._causal.append(causal)
            self._masks.append(mask)
        self._gathered = torch.from_numpy(np.concatenate(gathered)) if gathered else None
        self._gathered_lengths = [n for n, view in zip(self._lengths, self._views, strict=True) if view is None]
        self._into: tuple[torch.Tensor, ...] | None = None
        start = _run(plan.slots)
        if start is None:
            self._slots = torch.from_numpy(plan.slots.astype(np.int64))
        else:
            self._into = cache.views(start, plan.rows)

    def _sight(self, plan: StepPlan, rows: slice, context: int, chain: int) -> tuple[torch.Tensor | None, bool]:
        """What is added to the scores [n, T] of a sequence, and whether instead each row sees all rows up to itself."""
        count = rows.stop - rows.start
        causal = count > 1 and context == 0 and chain == count
        if count == 1 or causal:
            return None, causal
        return _additive(_visible(plan.masks[rows], count, chain), context).to(self._cache.dtype), False

    def update(
        self, key: torch.Tensor, value: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Stores the rows of a layer, [1, Hk, R, E] each, and returns them; `attend` reads the cache itself."""
        plane = 2 * layer_idx
        if self._into is not None:
            self._into[plane].copy_(key)
            self._into[plane + 1].copy_(value)
        else:
            cache = self._cache
            cache.rows(plane).index_copy_(0, self._slots, key[0].transpose(0, 1))
            cache.rows(plane + 1).index_copy_(0, self._slots, value[0].transpose(0, 1))
        return key, value

    def attend(
        self,
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        scale: float | None,
        arguments: dict[str, Any],
    ) -> torch.Tensor:
        """Attention of all rows: `query` [1, H, R, E] → [1, R, H, E], after `update` of the same layer.

        `module` is the layer's attention, `key` what it believes to be the keys; the cache has all of them. H may be a
        multiple of Hk; torch's CPU kernel reads shared keys in place (twice as fast as repeating them).

        Errors
            UnsupportedModel if `arguments` asks for more than causal softmax(scale · q·k)·v.
        """
        self._check(arguments)
        plane = 2 * module.layer_idx
        if len(self._counts) == 1 and (view := self._views[0]) is not None:
            return scaled_dot_product_attention(
                query, view[plane], view[plane + 1], self._masks[0], 0.0, self._causal[0], scale=scale, enable_gqa=True
            ).transpose(1, 2)
        keys, values = self._gather(plane), self._gather(plane + 1)
        outputs = []
        for q, view, mask, causal in zip(
            query.split(self._counts, dim=2), self._views, self._masks, self._causal, strict=True
        ):
            k, v = (next(keys), next(values)) if view is None else (view[plane], view[plane + 1])
            out = scaled_dot_product_attention(q, k, v, mask, 0.0, causal, scale=scale, enable_gqa=True)
            outputs.append(out.transpose(1, 2))
        return torch.cat(outputs, dim=1)

    def _check(self, arguments: dict[str, Any]) -> None:
        for name, value in arguments.items():
            if value is not None and name not in _NEUTRAL:
                raise UnsupportedModel.of(f"the attention argument {name}", "attention is plain causal softmax(q·k)·v")
        self.calls += 1

    def _gather(self, plane: int) -> Iterator[torch.Tensor]:
        """The keys or values [1, Hk, T, E] of the gathered sequences, in order."""
        if self._gathered is None:
            return iter(())
        rows = self._cache.rows(plane).index_select(0, self._gathered)
        return iter(rows.transpose(0, 1).unsqueeze(0).split(self._gathered_lengths, dim=2))

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Rows before this step; 0, since every row carries its own position."""
        return 0

    def get_query_offset(self, layer_idx: int = 0) -> int:
        """As `get_seq_length`."""
        return 0

    def get_mask_sizes(self, query: Any, layer_idx: int = 0) -> tuple[int, int]:
        """Length and offset of the keys of a mask that transformers would build; the executor asks for none."""
        return sum(self._counts), 0


def _run(ids: NDArray[np.int32]) -> int | None:
    """The first of `ids` if they follow one another, else None."""
    if len(ids) == 1 or (ids[-1] - ids[0] == len(ids) - 1 and bool((ids[1:] - ids[:-1] == 1).all())):
        return int(ids[0])
    return None


def _slots(pages: NDArray[np.int32], page_size: int) -> NDArray[np.int64]:
    """The slots of `pages`, in order."""
    return (pages.astype(np.int64)[:, None] * page_size + np.arange(page_size)).reshape(-1)


def _visible(masks: NDArray[np.int32], count: int, chain: int) -> NDArray[np.bool_]:
    """Which of the `count` rows of its own sequence and step each row sees: [n, n].

    `masks` [n, W] holds bit j for tree node j; node 0, the root, is the last row of the chain. Chain rows see the
    chain up to themselves, nodes the whole chain, their ancestors and themselves.
    """
    visible = np.zeros((count, count), dtype=bool)
    visible[:chain, :chain] = np.tri(chain, dtype=bool)
    if count > chain:
        words = np.ascontiguousarray(masks[chain:]).astype("<i4", copy=False)
        bits = np.unpackbits(words.view(np.uint8), axis=1, count=count - chain + 1, bitorder="little")
        visible[chain:, :chain] = True
        visible[chain:, chain:] = bits[:, 1:]
    return visible


def _additive(visible: NDArray[np.bool_], context: int) -> torch.Tensor:
    """The mask [n, context + n] that is added to the scores: 0 where visible, else −∞; the context is visible."""
    count = len(visible)
    mask = np.zeros((count, context + count), dtype=np.float32)
    mask[:, context:][~visible] = -np.inf
    return torch.from_numpy(mask)
