"""Makes block_goldens.gguf: random and extreme blocks of the quantised types, and the values in them.

    pip install gguf==0.19.0; python tests/data/make_block_goldens.py

Tensor `T` holds blocks of type T, tensor `T.values` the f32 values that the Python package gguf gives for them.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

OUT = Path(__file__).with_name("block_goldens.gguf")
# Where the f16 scales of a block lie.
SCALES = {
    "Q4_0": (0,),
    "Q4_1": (0, 2),
    "Q5_0": (0,),
    "Q5_1": (0, 2),
    "Q8_0": (0,),
    "Q4_K": (0, 2),
    "Q5_K": (0, 2),
    "Q6_K": (208,),
}
_EXPONENT = 0x7C00
_EXTREMES = (0x0000, 0x8000, 0x0001, 0x83FF, 0x0400, 0x3C00, 0x7BFF, 0xFBFF)
"""Halves: both zeros, the smallest and largest subnormal, the smallest normal, 1, and the largest of both signs."""


def blocks(kind: str, count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Blocks [count, bytes] of `kind` with finite scales; up to 24 of them, at most half, are extremes."""
    rng = np.random.default_rng(seed)
    size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]][1]
    data = rng.integers(0, 256, (count, size), np.uint8)
    # 0x80 as a signed byte is −128; 0x00 and 0xFF are the nibbles 0 and 15 with all high bits off and on.
    extreme = np.arange(min(24, count // 2))
    data[extreme] = np.array((0x80, 0x00, 0xFF), np.uint8)[extreme % 3, None]
    for at in SCALES[kind]:
        halves = rng.integers(0, 2**16, count, np.uint16)
        halves[halves & _EXPONENT == _EXPONENT] &= ~np.uint16(_EXPONENT)
        halves[extreme] = np.array(_EXTREMES, np.uint16)[(extreme + at) % 8]
        data[:, at : at + 2] = halves.astype("<u2").view(np.uint8).reshape(-1, 2)
    return data


def dequantized(data: NDArray[np.uint8], kind: str) -> NDArray[np.float32]:
    """Values [count, values per block], by the package gguf."""
    return np.asarray(gguf.quants.dequantize(data, gguf.GGMLQuantizationType[kind]), np.float32)


def main() -> None:
    writer = gguf.GGUFWriter(OUT, "none")
    writer.add_string("made_by", f"gguf {version('gguf')}")
    for kind in SCALES:
        data = blocks(kind, 16 if kind.endswith("K") else 48)
        writer.add_tensor(kind, data, raw_dtype=gguf.GGMLQuantizationType[kind])
        writer.add_tensor(f"{kind}.values", dequantized(data, kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(OUT.name, OUT.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
