"""A language model of hashes: no weights, needs only NumPy, and every logit depends on every visible cache slot.

It is an executor like the real ones: it stores what each row is into cache slots and computes logits from the slots
that the plan's pages and masks make visible. So a wrong slot, mask, position or move changes the text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..types import ExecutorCaps

if TYPE_CHECKING:
    from ..step import StepPlan
    from ..types import Rows

__all__ = ["ToyExecutor", "ToyRows"]

U64 = NDArray[np.uint64]
_EMPTY = np.uint64(0xDEAD_BEEF_DEAD_BEEF)  # what an unwritten slot holds; seen by a row, it spoils its logits


@dataclass(frozen=True, slots=True)
class ToyRows:
    """The result of a forward: logits [R', V] f32."""

    logits: NDArray[np.float32]


def _mix(x: U64) -> U64:
    """splitmix64, the finaliser of Steele et al. 2014: every input bit reaches every output bit."""
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E37_79B9_7F4A_7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
        return x ^ (x >> np.uint64(31))


class ToyExecutor:
    """Logits = a table row of the last token, plus `context_weight` times noise hashed from the whole visible text.

    With a small weight the texts fall into loops that drafts can follow; with a large one nothing is predictable.
    """

    def __init__(
        self,
        vocab_size: int = 256,
        max_context: int = 4096,
        seed: int = 0,
        context_weight: float = 0.5,
        scale: float = 3.0,
    ) -> None:
        self.caps = ExecutorCaps(
            vocab_size=vocab_size, max_context=max_context, slot_bytes=8, name="toy (hashes, no weights)"
        )
        self._weight, self._scale = np.float32(context_weight), np.float32(scale)
        self._table = np.random.default_rng(seed).standard_normal((vocab_size, vocab_size)).astype(np.float32)
        self._ids = np.arange(vocab_size, dtype=np.uint64)
        self._slots: U64 = np.empty(0, np.uint64)

    def allocate(self, pages: int, page_size: int) -> None:
        """One hash of (token, position) per slot."""
        self._slots = np.full(pages * page_size, _EMPTY, np.uint64)

    def forward(self, plan: StepPlan, hidden: tuple[str, ...] = ()) -> Rows:
        """Stores the rows, then hashes what each read row sees."""
        self._slots[plan.slots] = self._entry(plan.tokens, plan.positions)
        sums = np.empty(plan.rows, np.uint64)
        with np.errstate(over="ignore"):
            for s in range(plan.sequences):
                sums[plan.row_offsets[s] : plan.row_offsets[s + 1]] = self._visible_sums(plan, s)
        return ToyRows(self._logits(sums[plan.head_rows], plan.tokens[plan.head_rows]))

    def apply(self, moves: NDArray[np.int32]) -> None:
        """Gathers all sources, then scatters."""
        self._slots[moves[1]] = self._slots[moves[0]]

    def reference(self, tokens: NDArray[np.int32]) -> NDArray[np.float32]:
        """Logits [V] after `tokens`, without a cache: the oracle of every test."""
        with np.errstate(over="ignore"):
            total = self._entry(tokens, np.arange(len(tokens))).sum(dtype=np.uint64)
        row: NDArray[np.float32] = self._logits(np.array([total], np.uint64), np.asarray(tokens[-1:]))[0]
        return row

    def _visible_sums(self, plan: StepPlan, s: int) -> U64:
        first, last = plan.row_offsets[s], plan.row_offsets[s + 1]
        pages = plan.pages[plan.page_offsets[s] : plan.page_offsets[s + 1]]
        logical = np.arange(plan.context[s] + last - first)
        seen = self._slots[pages[logical // plan.page_size] * plan.page_size + logical % plan.page_size]
        context, own = seen[: plan.context[s]].sum(dtype=np.uint64), seen[plan.context[s] :]
        chain = int(plan.chain[s])
        sums = np.empty(last - first, np.uint64)
        sums[: chain - 1] = np.cumsum(own[: chain - 1], dtype=np.uint64)
        before_tree = own[: chain - 1].sum(dtype=np.uint64)
        tree = own[chain - 1 :]
        masks = np.ascontiguousarray(plan.masks[first + chain - 1 : last])
        bits = np.unpackbits(masks.view(np.uint8), axis=1, bitorder="little", count=None)
        sums[chain - 1 :] = before_tree + bits[:, : len(tree)].astype(np.uint64) @ tree
        total: U64 = sums + context
        return total

    def _entry(self, tokens: NDArray[np.int32], positions: NDArray[np.integer]) -> U64:
        return _mix((np.asarray(positions).astype(np.uint64) << np.uint64(32)) + tokens.astype(np.uint64))

    def _logits(self, sums: U64, last: NDArray[np.int32]) -> NDArray[np.float32]:
        with np.errstate(over="ignore"):
            noise = _mix(_mix(sums)[:, None] + self._ids * np.uint64(0xD1B5_4A32_D192_ED03))
        uniform = (noise >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1.0)
        return self._scale * (self._table[last] + self._weight * uniform)
