"""What a model is, apart from its weights: the numbers that the native executor is built from."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

__all__ = ["LayerSpec", "Spec"]


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """What sets a decoder layer apart from the others."""

    window: int | None
    """Positions that a row sees, its own included; None: all."""


@dataclass(frozen=True, slots=True)
class Spec:
    """A decoder of the Llama family; the fields are those of `rust/forward/src/spec.rs`."""

    vocab: int
    hidden: int
    feed_forward: int
    layers: tuple[LayerSpec, ...]
    heads: int
    kv_heads: int
    head_dim: int
    context: int
    norm_epsilon: float
    rope_base: float
    rope_neighbours: bool
    """Rope pairs are stored as neighbours (2i, 2i+1), as in llama files, instead of halves."""
    tied: bool

    def to_json(self) -> str:
        """As the core reads it."""
        return json.dumps(asdict(self))
