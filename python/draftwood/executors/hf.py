"""The forward pass through a transformers module: any drafts, any batch, one packed row, one paged cache."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel
from transformers import __version__ as transformers_version

from ..caches.paged import PagedCache
from ..errors import InternalError, InvalidArgument, UnsupportedModel
from ..types import ExecutorCaps
from ._attention import StepAttention
from ._interface import LentConfig
from ._support import check_model

if TYPE_CHECKING:
    from ..step import StepPlan

__all__ = ["HfExecutor", "HfRows"]


@dataclass(frozen=True, slots=True)
class HfRows:
    """What a forward pass returns. The logits are overwritten by the next forward.

    Shapes: logits [R', V] f32; hidden [R', d] in the model's dtype, after the final norm, if asked for.
    """

    logits: NDArray[np.float32]
    hidden: torch.Tensor | None = None


class HfExecutor:
    """Runs plans on a causal language model of transformers; the module itself stays as its owner left it.

    The rows of all sequences go through the module as one packed row [1, R] with explicit positions; attention,
    masks and cache are ours (`StepAttention`), everything else is the module's own code, hooks included. The head
    sees only the rows that are read.

    Errors
        InvalidArgument if `model` is no transformers model; UnsupportedModel for a setting that is not built.
    Cost
        The module's own forward over R rows, attention over the exact lengths, and about 0.1 ms per step.
    Example
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> config = LlamaConfig(vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        ...                      num_attention_heads=2, max_position_embeddings=128)
        >>> executor = HfExecutor(LlamaForCausalLM(config).eval())
        >>> executor.allocate(pages=8, page_size=16)
        >>> executor.caps.max_context
        128
    """

    def __init__(self, model: PreTrainedModel) -> None:
        check_model(model)
        config = model.config
        heads: int = config.num_attention_heads
        self._adopt(
            model,
            model.base_model,
            layers=config.num_hidden_layers,
            kv_heads=getattr(config, "num_key_value_heads", None) or heads,
            head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
        )
        self.caps = self._caps(config.vocab_size, config.max_position_embeddings)

    def _adopt(self, model: PreTrainedModel, decoder: Any, *, layers: int, kv_heads: int, head_dim: int) -> None:
        self.model = model
        self._decoder = decoder
        self._head: Any = model.get_output_embeddings()
        self._lent = LentConfig(decoder.config)
        # Encoder–decoders scale embeddings outside of the module that makes them, each family in its own way.
        self._takes_vectors = not model.config.is_encoder_decoder
        self._layers, self._kv_heads, self._head_dim = layers, kv_heads, head_dim
        self._dtype: torch.dtype = model.dtype
        self._cache: PagedCache | None = None
        self._logits = torch.empty(0, 0)
        # The argument's name changed in transformers 5.24.
        names = inspect.signature(type(self._decoder).forward).parameters
        self._cache_argument = "cache" if "cache" in names else "past_key_values"
        # Four dimensions say "already prepared": no mask is built. Our attention does not look at it.
        self._no_mask = torch.zeros(1, 1, 1, 1)

    def _caps(self, vocab: int, context: int, note: str = "") -> ExecutorCaps:
        return ExecutorCaps(
            vocab_size=vocab,
            max_context=context,
            slot_bytes=2 * self._layers * self._kv_heads * self._head_dim * self._dtype.itemsize,
            hidden_states=True,
            embeddings=self._takes_vectors,
            name=f"transformers {transformers_version} ({type(self.model).__name__}, {self._dtype}{note})",
        )

    def allocate(self, pages: int, page_size: int) -> None:
        """Makes the cache: `pages` pages of `page_size` slots; rows cached before are forgotten."""
        self._cache = PagedCache(
            layers=self._layers,
            heads=self._kv_heads,
            head_dim=self._head_dim,
            pages=pages,
            page_size=page_size,
            dtype=self._dtype,
        )

    def forward(self, plan: StepPlan, hidden: tuple[str, ...] = ()) -> HfRows:
        """Computes the rows of a plan, stores their keys and values in `plan.slots` and reads `plan.head_rows`.

        `hidden=("last",)` also returns the hidden states of the read rows, the input of the head. An exception leaves
        the module and all rows outside `plan.slots` as they were.

        Errors
            InvalidArgument for a model in training mode (dropout) or an unknown `hidden`; UnsupportedModel if the
            module's attention asks for more than a paged cache gives.
        """
        self._check_mode()
        if set(hidden) - {"last"}:
            raise InvalidArgument.of("hidden", '() or ("last",)', hidden)
        with torch.inference_mode():
            step, arguments = self._prepare(plan)
            with self._lent:
                output = self._decoder(
                    **self._inputs(plan),
                    attention_mask=self._no_mask,
                    use_cache=True,
                    dw_plan=step,
                    **arguments,
                )
            if step.calls != self._attentions:
                raise UnsupportedModel.of(
                    f"{type(self._decoder).__name__}, whose layers use an attention of their own,",
                    f"{step.calls} of {self._attentions} layers asked the attention interface",
                )
            read = output[0][0].index_select(0, _ids(plan.head_rows))
            # As NumPy: torch's own DLPack export costs more than the verification of a step.
            return HfRows(self.head(read).numpy(), read if hidden else None)

    def _check_mode(self) -> None:
        if self._decoder.training:
            raise InvalidArgument.of("the model", "in evaluation mode", "training mode", "call model.eval()")

    def _prepare(self, plan: StepPlan) -> tuple[StepAttention, dict[str, Any]]:
        """The attention of a step, and what else the decoder is called with."""
        step = StepAttention(self._allocated(), plan)
        return step, {"position_ids": _ids(plan.positions)[None], self._cache_argument: step}

    def _inputs(self, plan: StepPlan) -> dict[str, torch.Tensor]:
        """The rows, [1, R] ids; [1, R, d] embeddings if some of them are given as such."""
        ids = _ids(plan.tokens)[None]
        if plan.embedded is None:
            return {"input_ids": ids}
        rows = self._decoder.get_input_embeddings()(ids)
        rows[0, _ids(plan.embedded.rows)] = torch.from_numpy(plan.embedded.vectors).to(rows.dtype)
        return {"inputs_embeds": rows}

    def embed(self, token_ids: NDArray[np.int32]) -> NDArray[np.float32]:
        """The embeddings [n, d] of tokens [n], without positions: what their rows begin with."""
        with torch.inference_mode():
            return self._decoder.get_input_embeddings()(_ids(token_ids)).float().numpy()

    @property
    def _attentions(self) -> int:
        """How often a forward pass asks for attention."""
        return self._layers

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits [n, V] f32 of hidden states [n, d] that `forward` returned; overwritten by the next call."""
        with torch.inference_mode():
            if not self._plain_head():
                logits: torch.Tensor = self._head(hidden).float()
                return logits
            if len(self._logits) < len(hidden):
                self._logits = torch.empty(len(hidden), self._head.out_features)
            return torch.mm(hidden, self._head.weight.t(), out=self._logits[: len(hidden)])

    def _plain_head(self) -> bool:
        """Whether the head is one f32 product, so that its rows may go to memory that is already mapped.

        Fresh rows cost more than a small model's step: 64 rows of 49,152 logits are 3,000 page faults.
        """
        head = self._head
        return (
            type(head) is torch.nn.Linear
            and head.bias is None
            and head.weight.dtype == torch.float32
            and not (head._forward_hooks or head._forward_pre_hooks)
        )

    def apply(self, moves: NDArray[np.int32]) -> None:
        """Copies cache rows: `moves` [2, M] are source and destination slots; all sources are read first."""
        self._allocated().move(moves[0], moves[1])

    def close(self) -> None:
        """Frees the cache. The module belongs to its owner; `allocate` starts anew."""
        self._cache = None

    def _allocated(self) -> PagedCache:
        if self._cache is None:
            raise InternalError("forward or apply was called without a cache; call allocate first")
        return self._cache


def _ids(array: NDArray[np.int32]) -> torch.Tensor:
    """A tensor of its own: the plan's memory is overwritten by the next step, and may be read-only."""
    return torch.from_numpy(array.astype(np.int64))
