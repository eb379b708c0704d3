"""Random models for whole generations, without end tokens of their own."""

from __future__ import annotations

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM


def tiny_model(family, vocab, *, seed, hidden, feed_forward, heads, kv_heads):
    """2 layers whose rows are not flat; the sizes are those of "llama", "gpt2" has one of its own."""
    torch.manual_seed(seed)
    ends = {"eos_token_id": None, "bos_token_id": None}
    if family == "llama":
        config = LlamaConfig(
            vocab_size=vocab,
            hidden_size=hidden,
            intermediate_size=feed_forward,
            num_hidden_layers=2,
            num_attention_heads=heads,
            num_key_value_heads=kv_heads,
            head_dim=hidden // heads,
            max_position_embeddings=512,
            **ends,
        )
        model = LlamaForCausalLM(config)
    else:
        model = GPT2LMHeadModel(GPT2Config(vocab_size=vocab, n_embd=64, n_layer=2, n_head=4, n_positions=512, **ends))
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.data.mul_(5.0)
    return model.eval()
