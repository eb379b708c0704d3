"""What an encoder has read, and how the rows of a decoder attend to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import scaled_dot_product_attention
from transformers.cache_utils import EncoderDecoderCache

from ..caches.paged import PagedCache
from ._attention import StepAttention, _additive, _visible

if TYPE_CHECKING:
    from ..step import StepPlan

__all__ = ["CrossAttention", "CrossKeys", "RelativeBias", "Source", "StepCaches"]


@dataclass(frozen=True, slots=True)
class CrossKeys:
    """Keys and values of one encoder text for all decoder layers, each [1, H, S, E]."""

    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]

    @property
    def length(self) -> int:
        """S, the positions that every row of the decoder sees."""
        return self.keys[0].shape[2]


@dataclass(slots=True)
class Source:
    """One prompt of an encoder. It is read by the first step that needs it, so that waiting prompts cost no memory; all
    beams and samples of its request attend to the same keys.

    Shapes: inputs: {"input_ids": [S] int64} or {"input_features": [mel, frames] float32}.
    """

    inputs: Mapping[str, NDArray[Any]]
    shown: bool = True
    """Whether its ids mean to the decoder what they mean to the encoder, so that drafters may look at them."""
    cross: CrossKeys | None = None

    @property
    def token_ids(self) -> NDArray[np.int32] | None:
        """[S] int32 for drafters, None for sound and for ids of another vocabulary."""
        ids = self.inputs.get("input_ids")
        return None if ids is None or not self.shown else ids.astype(np.int32)


class RelativeBias:
    """T5's bias by distance for rows whose positions are given, instead of derived from the length of a cache.

    Made per step, since weights may change in place: one row per distance up to the longest text of the step.
    """

    def __init__(self, attention: Any, longest: int) -> None:
        buckets = attention._relative_position_bucket(
            -torch.arange(longest),
            bidirectional=False,
            num_buckets=attention.relative_attention_num_buckets,
            max_distance=attention.relative_attention_max_distance,
        )
        self._table = attention.relative_attention_bias(buckets).t()

    def of(self, positions: NDArray[np.int32], context: int) -> torch.Tensor:
        """[1, H, n, context + n] for n rows after `context` cached ones; keys after a row are for a mask to hide."""
        keys = np.concatenate([np.arange(context), positions])
        distances = np.maximum(positions[:, None] - keys, 0)
        return self._table[:, torch.from_numpy(distances)][None]


class CrossAttention(StepAttention):
    """The attention of one step of a decoder with an encoder: `StepAttention`, and the cross-attention beside it.

    Rows of sequences that follow one another and belong to one request are one product with its keys, without a mask.

    Shapes: sources: per sequence what its request's encoder has read. None (the request ended while this step was on
    its way) gives NaN, so that a text that needs it could not go on unnoticed.
    """

    def __init__(
        self,
        cache: PagedCache,
        plan: StepPlan,
        sources: list[Source | None],
        bias: RelativeBias | None,
        *,
        positions_from_length: bool,
    ) -> None:
        self._bias = bias
        super().__init__(cache, plan)
        self._positions_from_length = positions_from_length
        self._positions = plan.positions
        # The layers hand it back as "the keys" of their cross-attention: that is how it is recognised.
        self.marker = torch.empty(1, 1, 0, 1)
        self._runs: list[tuple[CrossKeys | None, int]] = []
        before = None
        for request, count, source in zip(plan.requests.tolist(), self._counts, sources, strict=True):
            if request == before:
                count += self._runs.pop()[1]
            before = request
            self._runs.append((None if source is None else source.cross, count))

    def update(
        self, key: torch.Tensor, value: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As in `StepAttention`, but returns none of the rows: T5 would make a bias of its own for each pair."""
        super().update(key, value, layer_idx)
        return key[:, :, :0], value[:, :, :0]

    def attend(
        self,
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        scale: float | None,
        arguments: dict[str, Any],
    ) -> torch.Tensor:
        """Self-attention as in `StepAttention`; cross-attention if `key` is the marker."""
        if self._bias is not None:
            arguments = {name: value for name, value in arguments.items() if name != "position_bias"}
        if key is not self.marker:
            return super().attend(module, query, key, scale, arguments)
        self._check(arguments)
        layer: int = module.layer_idx
        outputs = []
        for q, (cross, _) in zip(query.split([n for _, n in self._runs], dim=2), self._runs, strict=True):
            if cross is None:
                outputs.append(torch.full_like(q, torch.nan))
            else:
                outputs.append(scaled_dot_product_attention(q, cross.keys[layer], cross.values[layer], scale=scale))
        return torch.cat(outputs, dim=2).transpose(1, 2)

    def get_seq_length(self, layer_idx: int = 0) -> Any:
        """What a decoder adds to 0 … R−1 to get positions: for each row what is missing to its own. That a "length" may
        be a tensor [R] is what lets texts of different lengths, and trees, share a step."""
        if not self._positions_from_length:
            return 0
        return torch.from_numpy(self._positions.astype(np.int64) - np.arange(len(self._positions)))

    def _sight(self, plan: StepPlan, rows: slice, context: int, chain: int) -> tuple[torch.Tensor | None, bool]:
        if self._bias is None:
            return super()._sight(plan, rows, context, chain)
        count = rows.stop - rows.start
        mask = self._bias.of(plan.positions[rows], context)
        if count > 1:
            mask = mask + _additive(_visible(plan.masks[rows], count, chain), context)
        return mask.to(self._cache.dtype), False


class StepCaches(EncoderDecoderCache):  # type: ignore[misc]
    """The pair of caches that a decoder of transformers expects: the step's rows, and cross keys that are there."""

    def __init__(self, step: CrossAttention, layers: int) -> None:
        marker = SimpleNamespace(keys=step.marker, values=step.marker)
        self.self_attention_cache: Any = step
        self.cross_attention_cache: Any = SimpleNamespace(layers=[marker] * layers)
        self.is_updated = dict.fromkeys(range(layers), True)

    # What a mask would need; none is built.
    is_sliding = is_linear = is_dummy = ()
