"""Quantised blocks: dequantised bit for bit as by the Python package `gguf`, and refused when a scale is not finite."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import draftwood as dw
from draftwood import _core

gguf = pytest.importorskip("gguf")

_SCRIPT = Path(__file__).parents[1] / "data" / "make_block_goldens.py"
_spec = importlib.util.spec_from_file_location("make_block_goldens", _SCRIPT)
goldens = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(goldens)


def write(path, tensors):
    writer = gguf.GGUFWriter(path, "none")
    for name, (kind, data) in tensors.items():
        writer.add_tensor(name, data, raw_dtype=gguf.GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def values(file, name, count):
    out = np.full(count, np.nan, np.float32)
    file.dequantize(name, out)
    return out


@pytest.mark.parametrize("kind", goldens.SCALES)
def test_random_blocks_equal_those_of_the_gguf_package(tmp_path, kind):
    count = 400 if kind.endswith("K") else 3000
    data = goldens.blocks(kind, count, seed=7)
    write(tmp_path / "x.gguf", {"w": (kind, data)})
    expected = goldens.dequantized(data, kind).reshape(-1)
    file = _core.GgufFile.open(tmp_path / "x.gguf")
    assert file.tensors() == [("w", (count, expected.size // count), kind)]
    # Over 2^16 values, so that several threads take part.
    assert expected.size > 2**16
    assert np.array_equal(values(file, "w", expected.size).view(np.uint32), expected.view(np.uint32))


@pytest.mark.parametrize("kind", [kind for kind in goldens.SCALES if not kind.endswith("K")])
def test_the_packages_own_quantiser_is_read_back(tmp_path, kind):
    weights = np.random.default_rng(3).standard_normal((64, 64)).astype(np.float32)
    data = gguf.quants.quantize(weights, gguf.GGMLQuantizationType[kind])
    write(tmp_path / "x.gguf", {"w": (kind, data)})
    got = values(_core.GgufFile.open(tmp_path / "x.gguf"), "w", weights.size).reshape(weights.shape)
    largest = np.abs(weights).reshape(-1, 32).max(axis=1, keepdims=True)
    error = np.abs(got - weights).reshape(-1, 32)
    # A whole step at the cut end of the symmetric types, half of one elsewhere; the scale is a rounded half.
    assert (error <= 1.01 * largest / 2 ** (int(kind[1]) - 1)).all()


@pytest.mark.parametrize("kind", goldens.SCALES)
def test_scales_that_are_not_finite_are_named(tmp_path, kind):
    for at in goldens.SCALES[kind]:
        for half in (0x7C00, 0xFC00, 0x7E01):
            data = goldens.blocks(kind, 5)
            data[3, at : at + 2] = np.frombuffer(np.uint16(half).tobytes(), np.uint8)
            write(tmp_path / "x.gguf", {"blk.0.w": (kind, data)})
            file = _core.GgufFile.open(tmp_path / "x.gguf")
            count = data.shape[0] * file.tensors()[0][1][1]
            with pytest.raises(dw.errors.ModelFormatError, match=r'tensor "blk\.0\.w" .* must be finite') as e:
                values(file, "blk.0.w", count)
            start = (tmp_path / "x.gguf").read_bytes().index(data.tobytes())
            assert e.value.offset == start + 3 * data.shape[1]
