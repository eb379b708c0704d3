"""A GGUF file of a llama that is small enough to write in a test."""

from __future__ import annotations

import numpy as np
import pytest


def tiny_file(path, tokens=(), dtype="F32", context=64):
    """A whole model of one layer, 60 kB as F32, with a SentencePiece tokenizer of `tokens` if there are any."""
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(context)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_feed_forward_length(64)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(256)
    if tokens:
        writer.add_tokenizer_model("llama")
        writer.add_token_list(tokens)
        writer.add_token_scores([-float(i) for i in range(len(tokens))])
        writer.add_token_types([2, 3, 3] + [1] * (len(tokens) - 3))
    rng = np.random.default_rng(0)

    def add(name, *shape):
        values = rng.standard_normal(shape).astype(np.float32)
        kind = gguf.GGMLQuantizationType[dtype if len(shape) == 2 else "F32"]
        writer.add_tensor(name, gguf.quantize(values, kind), raw_dtype=kind)

    add("token_embd.weight", 256, 32)
    add("output_norm.weight", 32)
    for name, rows in (("attn_q", 32), ("attn_k", 16), ("attn_v", 16), ("attn_output", 32)):
        add(f"blk.0.{name}.weight", rows, 32)
    add("blk.0.attn_norm.weight", 32)
    add("blk.0.ffn_norm.weight", 32)
    add("blk.0.ffn_gate.weight", 64, 32)
    add("blk.0.ffn_up.weight", 64, 32)
    add("blk.0.ffn_down.weight", 32, 64)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
