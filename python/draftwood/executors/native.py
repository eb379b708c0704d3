"""The forward pass in Rust: the default on the CPU, without torch, bit for bit the same with and without drafts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..errors import InvalidArgument
from ..types import ExecutorCaps
from .options import NativeOptions

if TYPE_CHECKING:
    from ..models.live import Lender
    from ..models.spec import Spec
    from ..step import StepPlan

__all__ = ["NativeExecutor", "NativeRows"]

PAGE_SIZE = 16


@dataclass(frozen=True, slots=True)
class NativeRows:
    """What a forward pass returns, overwritten by the next one.

    Shapes: logits [R', V] f32, or best [R', 2] int32 if that is the selector; hidden [R', d] f32, after the final
    norm, if asked for.
    """

    logits: NDArray[np.float32] | None
    hidden: NDArray[np.float32] | None = None
    best: NDArray[np.int32] | None = None
    """Of each row the token of its largest logit, or −1 if all are −inf; the first token that is NaN or +inf, or −1."""


class NativeExecutor:
    """Runs plans on weights that were repacked for this processor, or that stay in mapped files or in torch's tensors.

    The logits of a row depend on the tokens that it sees and on nothing else: not on the number of rows, drafts, other
    texts, pages, threads or the instruction set. `copy.copy` gives a second executor over the same weights.

    Cost
        All weights are read once per step; attention reads the exact lengths. Weights that stay where they are are
        packed anew in each step, tile by tile, which costs less than reading them but is not free.
    """

    def __init__(
        self, model: _core.NativeModel, spec: Spec, options: NativeOptions | None = None, lender: Lender | None = None
    ) -> None:
        self._spec, self._options = spec, options or NativeOptions()
        self._pages = 0
        self._start(model, lender)

    def _start(self, model: _core.NativeModel, lender: Lender | None) -> None:
        self._model, self._lender = model, lender
        spec = self._spec
        floats, halves = self._options.activations == "float32", self._options.cache_dtype == "float16"
        self._core = _core.NativeExecutor(model, self._options.numerics == "fast", floats, halves)
        kernels = self._core.kernels + ", float32 activations" * floats + ", float16 cache" * halves
        self._logits = np.empty((0, spec.vocab), np.float32)
        self._hidden = np.empty((0, spec.hidden), np.float32)
        self.caps = ExecutorCaps(
            vocab_size=spec.vocab,
            max_context=spec.context,
            slot_bytes=-(-self._core.page_bytes // PAGE_SIZE),
            hidden_states=True,
            embeddings=True,
            selectors=("full", "argmax"),
            name=f"native ({model.main_type}{self._place()}, {kernels})",
        )

    def _place(self) -> str:
        """Where the weights are, if not repacked from files."""
        if self._lender is None:
            return " mapped" if self._model.in_place else ""
        return f" {'borrowed' if self._model.in_place else 'copied'} from {self._lender.name}"

    @property
    def step_bytes(self) -> int:
        """Bytes of weights that a step of one row reads, as they are kept here."""
        return self._model.step_bytes

    @property
    def instruction_set(self) -> str:
        """What the kernels of these weights use: "avx512+vnni", "avx512+bf16", "avx512", "avx2" or "scalar"."""
        return self._core.instruction_set

    def probe(self, rows: int) -> None:
        """Computes and reads `rows` rows of no meaning, to be timed. Overwrites the first pages: no text may be in the
        cache."""
        index = np.arange(rows, dtype=np.int32)
        nothing, ends = np.zeros(rows, np.int32), np.array([0, rows], np.int32)
        count, pages = ends[1:], np.arange(-(-rows // PAGE_SIZE), dtype=np.int32)
        if len(self._logits) < rows:
            self._logits = np.empty((rows, self._spec.vocab), np.float32)
        page_ends = np.array([0, len(pages)], np.int32)
        arrays = (nothing, index, index - 1, index, ends, count, ends[:1], page_ends, pages, nothing, index)
        self._core.forward(arrays, 1, self._logits[:rows], None)

    def __copy__(self) -> NativeExecutor:
        return NativeExecutor(self._model, self._spec, self._options, self._lender)

    # ── weights of a module ─────────────────────────────────────────────────────────────────────────────────────────

    def changed(self) -> str | None:
        """What about borrowed weights is no longer as it was, in words; the engine asks before each step.

        Cost: 0.1 µs per tensor; nothing for weights of files.
        """
        return self._lender.changed() if self._lender is not None and self._model.in_place else None

    def admit(self) -> str | None:
        """The same before a text begins, for copied weights too. Raises if the module itself is another by now.

        Errors
            InvalidArgument (training mode), UnsupportedModel (hooks or modules that came later).
        """
        if self._lender is None:
            return None
        self._lender.check_module()
        return self._lender.changed()

    def refresh(self) -> None:
        """Takes a module's weights as they are now. All cached rows are forgotten.

        Errors
            UnsupportedModel if they can no longer be read; nothing is then changed.
        """
        if self._lender is None:
            return
        model, lender = self._lender.renew()
        self._start(model, lender)
        if self._pages:
            self._core.allocate(self._pages)

    def allocate(self, pages: int, page_size: int) -> None:
        """Makes the cache: `pages` pages of 16 slots; rows cached before are forgotten."""
        if page_size != PAGE_SIZE:
            raise InvalidArgument.of("page_size", "16 with the native executor", page_size)
        self._core.allocate(pages)
        self._pages = pages

    def forward(self, plan: StepPlan, hidden: tuple[str, ...] = ()) -> NativeRows:
        """Computes the rows of a plan, stores their keys and values in `plan.slots` and reads `plan.head_rows`.

        With `plan.selector == "argmax"` the rows' logits are not stored, but looked at as they are computed. Rows in
        `plan.embedded` begin with their vector; what they see, and all kernels, are those of other rows.
        `hidden=("last",)` also returns the hidden states of the read rows, the input of the head.

        Errors
            InvalidArgument for an unknown `hidden`, vectors that do not fit, or a plan that contradicts itself; nothing
            is then computed.
        """
        if set(hidden) - {"last"}:
            raise InvalidArgument.of("hidden", '() or ("last",)', hidden)
        read = len(plan.head_rows)
        logits = states = None
        if plan.selector == "full":
            if len(self._logits) < read:
                self._logits = np.empty((read, self._spec.vocab), np.float32)
            logits = self._logits[:read]
        if hidden:
            if len(self._hidden) < read:
                self._hidden = np.empty((read, self._spec.hidden), np.float32)
            states = self._hidden[:read]
        arrays = (
            plan.tokens, plan.positions, plan.parents, plan.slots, plan.row_offsets, plan.chain, plan.context,
            plan.page_offsets, plan.pages, plan.masks, plan.head_rows,
        )  # fmt: skip
        embedded = None if plan.embedded is None else (plan.embedded.rows, plan.embedded.vectors)
        best = self._core.forward(arrays, plan.masks.shape[1], logits, states, embedded)
        return NativeRows(logits, states, None if best is None else np.frombuffer(best, np.int32).reshape(-1, 2))

    def embed(self, token_ids: NDArray[np.int32]) -> NDArray[np.float32]:
        """The embeddings [n, d] of tokens [n], without positions: what their rows begin with.

        Errors
            InvalidArgument for a token that does not exist.
        """
        vectors = np.empty((len(token_ids), self._spec.hidden), np.float32)
        self._core.embed(np.ascontiguousarray(token_ids, np.int32), vectors)
        return vectors

    def apply(self, moves: NDArray[np.int32]) -> None:
        """Copies cache rows: `moves` [2, M] are source and destination slots; all sources are read first."""
        self._core.apply(moves[0], moves[1])

    def close(self) -> None:
        """Frees the cache. The weights stay with other executors over them; `allocate` starts anew."""
        self._core.close()
