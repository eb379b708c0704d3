"""A tiny model that is the same in every version of transformers: its weights come out of NumPy."""

from __future__ import annotations

import zlib

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

VOCAB = 96
PAD = 0
"""Never generated: where a group of beams has ended, transformers pads it, and counts the pads as its choices."""


def golden_model():
    """2 layers, d = 32, weights large enough that rows are not flat; no end tokens of its own."""
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=False,
        eos_token_id=None,
        bos_token_id=None,
        pad_token_id=PAD,
    )
    model = LlamaForCausalLM(config).eval()
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            rng = np.random.default_rng(zlib.crc32(name.encode()))
            scale = 0.4 if name == "lm_head.weight" else 0.15
            values = scale * rng.standard_normal(tuple(parameter.shape))
            parameter.data = torch.from_numpy(values.astype(np.float32))
        else:
            parameter.data.fill_(1.0)
    return model
