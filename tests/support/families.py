"""Tiny random models of every family that the native executor runs, each optional feature on and far from neutral."""

from __future__ import annotations

import numpy as np
import torch
import transformers

VOCAB = 211
ENDS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
COMMON = {
    "vocab_size": VOCAB,
    "hidden_size": 72,
    "intermediate_size": 90,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "max_position_embeddings": 512,
    **ENDS,
}
GPT2 = {"vocab_size": VOCAB, "n_embd": 72, "n_inner": 90, "n_layer": 3, "n_head": 3, "n_positions": 512, **ENDS}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 1000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    # Of the twelve waves of a head four are kept, three blended, five divided.
    "original_max_position_embeddings": 128,
}
# name: (configuration class, settings)
MODELS = {
    "llama2": ("LlamaConfig", {"head_dim": 24, "tie_word_embeddings": False}),
    "llama3": (
        "LlamaConfig",
        {
            "head_dim": 24,
            "rope_parameters": LLAMA3,
            "attention_bias": True,
            "mlp_bias": True,
            "tie_word_embeddings": True,
        },
    ),
    "llama-linear": (
        "LlamaConfig",
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 500.0, "factor": 4.0}, "hidden_act": "gelu_new"},
    ),
    "smollm3": (
        "SmolLM3Config",
        {
            "no_rope_layers": [1, 0, 1],
            "use_sliding_window": True,
            "sliding_window": 19,
            "attention_bias": True,
            "mlp_bias": True,
            "rope_parameters": {"rope_type": "default", "rope_theta": 300.0},
        },
    ),
    "mistral": ("MistralConfig", {"sliding_window": 33, "head_dim": 24}),
    "qwen2": ("Qwen2Config", {"use_sliding_window": True, "sliding_window": 21, "max_window_layers": 1}),
    "qwen3": (
        "Qwen3Config",
        {
            "head_dim": 24,
            "attention_bias": True,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
            "use_sliding_window": True,
            "sliding_window": 40,
            "tie_word_embeddings": True,
        },
    ),
    "gpt2": ("GPT2Config", {}),
}


def family_model(name, seed=0, **changes):
    """A random module; norms and biases are random too, and matrices wide enough for rows that are not flat."""
    kind, settings = MODELS[name]
    config = getattr(transformers, kind)(**(GPT2 if name == "gpt2" else COMMON) | settings | changes)
    torch.manual_seed(seed)
    module = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for path, parameter in module.named_parameters():
            if parameter.ndim > 1:
                parameter.mul_(5)
            elif path.endswith("bias"):
                parameter.normal_(std=0.2)
            else:
                parameter.normal_(mean=1.0, std=0.3)
    return module.eval()


def write_gguf(module, path):
    """The module as llama.cpp's converter would write it: names, keys, order of rows, fused and transposed tensors."""
    import gguf

    config, kind = module.config, module.config.model_type
    writer = gguf.GGUFWriter(path, kind)
    heads = config.num_attention_heads
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(heads)
    writer.add_vocab_size(config.vocab_size)
    if kind == "gpt2":
        writer.add_feed_forward_length(config.n_inner)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
    else:
        writer.add_feed_forward_length(config.intermediate_size)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
        rope = config.rope_parameters
        if rope["rope_type"] == "llama3":
            writer.add_tensor("rope_freqs.weight", _divisors(rope, head_dim))
        if rope["rope_type"] == "linear":
            writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
            writer.add_rope_scaling_factor(rope["factor"])
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[kind.upper()], config.num_hidden_layers)
    for name, tensor in module.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array = tensor.numpy()
        if kind == "gpt2" and array.ndim == 2 and ".h." in name:
            array = array.T
        if kind in ("llama", "smollm3") and any(part in name for part in ("q_proj.", "k_proj.")):
            count = heads if "q_proj." in name else config.num_key_value_heads
            array = array.reshape(count, 2, len(array) // count // 2, -1).swapaxes(1, 2).reshape(array.shape)
        writer.add_tensor(names.get_name(name, (".weight", ".bias")), np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _divisors(rope, head_dim):
    """llama.cpp's `rope_freqs` of a Llama 3 configuration, pair by pair."""
    low = rope["original_max_position_embeddings"] / rope["low_freq_factor"]
    high = rope["original_max_position_embeddings"] / rope["high_freq_factor"]
    divisors = []
    for i in range(0, head_dim, 2):
        wave = 2 * np.pi * rope["rope_theta"] ** (i / head_dim)
        if wave < high:
            divisors.append(1.0)
        elif wave > low:
            divisors.append(rope["factor"])
        else:
            smooth = (rope["original_max_position_embeddings"] / wave - rope["low_freq_factor"]) / (
                rope["high_freq_factor"] - rope["low_freq_factor"]
            )
            divisors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.array(divisors, np.float32)
