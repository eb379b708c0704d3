"""Weights that stay in mapped files: every stored type gives the bits of repacked ones, in logits and in texts."""

from __future__ import annotations

import random

import numpy as np
import pytest

import draftwood as dw
from draftwood.models import memory

torch = pytest.importorskip("torch")
gguf = pytest.importorskip("gguf")

from support.families import MODELS, VOCAB, family_model  # noqa: E402 - needs torch
from support.native import native_logits  # noqa: E402

PROMPT = random.Random(6).choices(range(VOCAB), k=50)
FLOATS, SIMPLE, SUPER = ("F32", "F16", "BF16"), ("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"), ("Q4_K", "Q5_K", "Q6_K")
SCALES = {"Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}


def write(path, kind, width=256, heads=4, others=()):
    """A llama of two layers; weights of K types are random bits with small scales, which nothing here can encode.

    `others`: types by the last part of a name, for tensors that have another one.
    """
    rng, others = np.random.default_rng(1), dict(others)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(256)
    writer.add_embedding_length(width)
    writer.add_block_count(2)
    writer.add_feed_forward_length(width)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads // 2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(VOCAB)

    def add(name, *shape):
        kind_of = others.get(name.split(".")[-2], kind)
        stored = gguf.GGMLQuantizationType[kind_of]
        block, size = gguf.GGML_QUANT_SIZES[stored]
        if len(shape) == 1:
            writer.add_tensor(name, rng.uniform(0.5, 1.5, shape).astype(np.float32))
        elif kind_of in SCALES:
            blocks = rng.integers(0, 256, (shape[0], shape[1] // block, size), np.uint8)
            for at in SCALES[kind_of]:
                scales = rng.uniform(-1, 1, blocks.shape[:2]).astype(np.float16) * np.float16(3e-4)
                blocks[:, :, at : at + 2] = scales[..., None].view(np.uint8)
            writer.add_tensor(name, blocks.reshape(shape[0], -1), raw_dtype=stored)
        else:
            values = rng.standard_normal(shape).astype(np.float32) * 0.1
            writer.add_tensor(name, gguf.quantize(values, stored), raw_dtype=stored)

    add("token_embd.weight", VOCAB, width)
    add("output_norm.weight", width)
    for layer in range(2):
        kv = width // 2
        for name, rows in (("attn_q", width), ("attn_k", kv), ("attn_v", kv), ("attn_output", width)):
            add(f"blk.{layer}.{name}.weight", rows, width)
        for name in ("ffn_gate", "ffn_up", "ffn_down"):
            add(f"blk.{layer}.{name}.weight", width, width)
        add(f"blk.{layer}.attn_norm.weight", width)
        add(f"blk.{layer}.ffn_norm.weight", width)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def check(path, **options):
    """Logits in chunks of several sizes, and a sampled text with drafts, repacked and mapped."""
    found = []
    for weights in ("repack", "map"):
        with dw.Engine.load(str(path), weights=weights, **options) as engine:
            assert (" mapped" in engine.stats().executor) == (weights == "map")
            params = dw.SamplingParams(max_new_tokens=20, temperature=1.0, seed=3)
            text = engine.generate(PROMPT, params).token_ids.tolist()
            found.append(([native_logits(engine, PROMPT, chunk) for chunk in (1, 2, 7, 50)], text))
    (repacked, text), (mapped, other) = found
    assert np.isfinite(repacked[0]).all() and np.ptp(repacked[0], axis=0).min() > 0
    assert all(np.array_equal(a, b) for a, b in zip(repacked, mapped, strict=True)) and text == other


@pytest.mark.parametrize("kind", [*FLOATS, *SIMPLE, *SUPER])
def test_every_type_of_gguf(kind, tmp_path):
    path = write(tmp_path / "model.gguf", kind)
    check(path)
    if kind not in FLOATS:
        check(path, activations="float32")
    elif kind != "F32":
        check(path, numerics="fast")
    if kind in SIMPLE:  # heads that are padded with rows of zeros
        check(write(tmp_path / "padded.gguf", kind, width=96, heads=4))


@pytest.mark.parametrize(("kind", "up"), [("Q4_0", "Q8_0"), ("Q8_0", "F16"), ("Q4_K", "Q6_K")])
def test_gate_and_up_of_different_types_keep_their_bits(kind, up, tmp_path):
    path = write(tmp_path / "model.gguf", kind, others={"ffn_up": up})
    check(path)
    matrices = [tensor for tensor in gguf.GGUFReader(path).tensors if len(tensor.shape) == 2]
    with dw.Engine.load(str(path), activations="float32", drafter=None) as stored:
        bytes = sum(int(tensor.n_bytes) for tensor in matrices)
        assert bytes <= stored.executor._model.step_bytes <= 1.05 * bytes  # rows of zeros fill the last panel
        logits = native_logits(stored, PROMPT, 7)
    with dw.Engine.load(str(path), dtype="float32", drafter=None) as float32:
        assert np.abs(native_logits(float32, PROMPT, 7) - logits).max() < 1e-3


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_every_family_and_type_of_folders(name, dtype, tmp_path):
    family_model(name).to(getattr(torch, dtype)).save_pretrained(tmp_path, max_shard_size="100KB")
    check(tmp_path)


def test_auto_maps_what_fills_half_of_the_free_memory(tmp_path, monkeypatch):
    path = write(tmp_path / "model.gguf", "Q8_0")
    size = path.stat().st_size
    for free, mapped in ((2 * size, False), (2 * size - 1, True)):
        monkeypatch.setattr(memory, "free_memory", lambda free=free: free)
        with dw.Engine.load(str(path), drafter=None) as engine:
            assert (" mapped" in engine.executor.caps.name) == mapped
        with dw.Engine.load(str(path), weights="repack", drafter=None) as engine:
            assert " mapped" not in engine.executor.caps.name
    # float32 has to be made of it: there is nothing to map.
    with dw.Engine.load(str(path), dtype="float32", drafter=None) as engine:
        assert " mapped" not in engine.executor.caps.name


def test_what_cannot_be_mapped_is_refused(tmp_path):
    path = write(tmp_path / "model.gguf", "Q8_0")
    for settings, words in (
        ({"weights": "borrow"}, "weights must be one of auto, repack, map"),
        ({"weights": "map", "dtype": "float32"}, 'dtype must be "auto" with weights="map" of Q8_0'),
        ({"weights": "map", "executor": "transformers"}, 'weights must be "auto" with the transformers executor'),
    ):
        with pytest.raises(dw.InvalidArgument, match=words):
            dw.Engine.load(str(path), **settings)
    with dw.testing.toy_engine() as toy, pytest.raises(dw.InvalidArgument, match='weights must be "auto"'):
        dw.Engine(toy.executor, weights="map")
    check(write(tmp_path / "f32.gguf", "F32"), dtype="float32")


def test_a_scale_that_is_not_finite_ends_the_text(tmp_path):
    path = write(tmp_path / "model.gguf", "Q8_0")
    data = bytearray(path.read_bytes())
    reader = gguf.GGUFReader(path)
    (tensor,) = [one for one in reader.tensors if one.name == "blk.1.ffn_up.weight"]
    at = int(tensor.data_offset)
    del reader, tensor
    data[at : at + 2] = b"\x00\x7c"
    path.write_bytes(data)
    with pytest.raises(dw.ModelFormatError, match=r'model.gguf: at byte \d+: value 0 of tensor "blk.1.ffn_up.weight"'):
        dw.Engine.load(str(path), weights="repack")
    engine = dw.Engine.load(str(path), weights="map", drafter=None)
    with pytest.raises(dw.DraftwoodError, match=r"NaN|finite"):
        engine.generate(PROMPT, dw.SamplingParams(max_new_tokens=3))
