"""What a model is, apart from its weights: the numbers and features that the native executor is built from."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["LayerSpec", "Place", "RopeSpec", "Spec", "places_to_json"]


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """What sets a decoder layer apart from the others."""

    window: int | None = None
    """Positions that a row sees, its own included; None: all."""
    rope: int | None = None
    """Which of `Spec.ropes` turns q and k; None: none."""


@dataclass(frozen=True, slots=True)
class RopeSpec:
    """A rotary embedding over whole heads."""

    base: float
    scaling: dict[str, Any] | None = None
    """{"kind": "linear", "factor"}, {"kind": "llama3", "factor", "low", "high", "original"} or {"kind": "divisors"}."""


@dataclass(frozen=True, slots=True)
class Spec:
    """A decoder, described by its features; the fields are those of `rust/forward/src/spec.rs`."""

    vocab: int
    hidden: int
    feed_forward: int
    layers: tuple[LayerSpec, ...]
    heads: int
    kv_heads: int
    head_dim: int
    context: int
    norm_epsilon: float
    tied: bool
    norm: Literal["rms", "layer"] = "rms"
    head_norm: bool = False
    """q and k are normed head by head, before rope."""
    ropes: tuple[RopeSpec, ...] = ()
    rope_neighbours: bool = False
    """Rope pairs are stored as neighbours (2i, 2i+1), as in llama files, instead of halves."""
    learned_positions: bool = False
    """`context` positions of a table are added to the embeddings."""
    qkv_bias: bool = False
    output_bias: bool = False
    feed_forward_bias: bool = False
    activation: Literal["silu", "gelu_tanh"] = "silu"
    gated: bool = True
    """The feed-forward layer is activation(gate) · up instead of activation(up)."""

    def to_json(self) -> str:
        """As the core reads it."""
        return json.dumps(asdict(self))

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of each tensor that the program takes; q, k and v apart."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        hidden, between = self.hidden, self.feed_forward
        shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (self.vocab, hidden)}
        if self.learned_positions:
            shapes["position_embd.weight"] = (self.context, hidden)
        if any((rope.scaling or {}).get("kind") == "divisors" for rope in self.ropes):
            shapes["rope_freqs.weight"] = (self.head_dim // 2,)
        if not self.tied:
            shapes["output.weight"] = (self.vocab, hidden)
        self._norm(shapes, "output_norm")
        for layer in range(len(self.layers)):
            block = f"blk.{layer}."
            self._norm(shapes, block + "attn_norm")
            self._norm(shapes, block + "ffn_norm")
            for name, dims, biased in (
                ("attn_q", (q, hidden), self.qkv_bias),
                ("attn_k", (kv, hidden), self.qkv_bias),
                ("attn_v", (kv, hidden), self.qkv_bias),
                ("attn_output", (hidden, q), self.output_bias),
                ("ffn_up", (between, hidden), self.feed_forward_bias),
                ("ffn_down", (hidden, between), self.feed_forward_bias),
                *([("ffn_gate", (between, hidden), self.feed_forward_bias)] if self.gated else []),
            ):
                shapes[f"{block}{name}.weight"] = dims
                if biased:
                    shapes[f"{block}{name}.bias"] = dims[:1]
            if self.head_norm:
                shapes[f"{block}attn_q_norm.weight"] = shapes[f"{block}attn_k_norm.weight"] = (self.head_dim,)
        return shapes

    def _norm(self, shapes: dict[str, tuple[int, ...]], name: str) -> None:
        shapes[f"{name}.weight"] = (self.hidden,)
        if self.norm == "layer":
            shapes[f"{name}.bias"] = (self.hidden,)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor of the program lies in a file; the fields are those of `rust/forward/src/files.rs`."""

    tensor: str
    rows: tuple[int, int] | None = None
    """First row and number of rows, where it is a part of a fused tensor."""
    transposed: bool = False
    """Stored as [columns, rows]."""


def places_to_json(places: dict[str, Place]) -> str:
    """As the core reads it."""
    return json.dumps({name: asdict(place) for name, place in places.items()})
