"""The table from architectures to layer programs: one row per family, for config.json and for GGUF metadata alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .reader import Reader
from .spec import Place, Spec

__all__ = ["FAMILIES", "Family", "Names", "Part"]


@dataclass(frozen=True, slots=True)
class Part:
    """How a file calls a product or norm of a layer, and how it stores it."""

    name: str
    third: int | None = None
    """It is the first, second or third part of a fused [q; k; v]."""
    transposed: bool = False


@dataclass(frozen=True, slots=True)
class Names:
    """What the files of a family call the tensors of a program."""

    whole: Mapping[str, str]
    """Tensors outside the layers, without .weight or .bias."""
    layer: str
    parts: Mapping[str, Part]

    def places(self, spec: Spec, prefix: str = "") -> dict[str, Place]:
        """Where each tensor of the program lies; `prefix` is taken off names, for files of a bare decoder."""
        q, kv = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
        thirds = ((0, q), (q, kv), (q + kv, kv))
        places = {}
        for name in spec.tensors():
            stem, kind = name.rsplit(".", 1)
            if stem in self.whole:
                places[name] = Place(f"{self.whole[stem]}.{kind}".removeprefix(prefix))
                continue
            _, layer, stem = stem.split(".")
            part = self.parts[stem]
            stored = f"{self.layer.format(layer)}{part.name}.{kind}".removeprefix(prefix)
            rows = None if part.third is None else thirds[part.third]
            places[name] = Place(stored, rows, part.transposed and kind == "weight")
        return places

    @staticmethod
    def stored_shapes(spec: Spec, places: Mapping[str, Place]) -> dict[str, tuple[int, ...]]:
        """Name and shape, as stored, of each tensor that the places need."""
        q, kv = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
        shapes = {}
        for name, dims in spec.tensors().items():
            place = places[name]
            whole = dims if place.rows is None else (q + 2 * kv, *dims[1:])
            shapes[place.tensor] = whole[::-1] if place.transposed else whole
        return shapes


_LLAMA_PARTS = {
    "attn_norm": Part("input_layernorm"),
    "attn_q": Part("self_attn.q_proj"),
    "attn_k": Part("self_attn.k_proj"),
    "attn_v": Part("self_attn.v_proj"),
    "attn_q_norm": Part("self_attn.q_norm"),
    "attn_k_norm": Part("self_attn.k_norm"),
    "attn_output": Part("self_attn.o_proj"),
    "ffn_norm": Part("post_attention_layernorm"),
    "ffn_gate": Part("mlp.gate_proj"),
    "ffn_up": Part("mlp.up_proj"),
    "ffn_down": Part("mlp.down_proj"),
}
_LLAMA = Names(
    {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"},
    "model.layers.{}.",
    _LLAMA_PARTS,
)
_GPT2 = Names(
    {
        "token_embd": "transformer.wte",
        "position_embd": "transformer.wpe",
        "output_norm": "transformer.ln_f",
        "output": "lm_head",
    },
    "transformer.h.{}.",
    {
        "attn_norm": Part("ln_1"),
        "attn_q": Part("attn.c_attn", third=0, transposed=True),
        "attn_k": Part("attn.c_attn", third=1, transposed=True),
        "attn_v": Part("attn.c_attn", third=2, transposed=True),
        "attn_output": Part("attn.c_proj", transposed=True),
        "ffn_norm": Part("ln_2"),
        "ffn_up": Part("mlp.c_fc", transposed=True),
        "ffn_down": Part("mlp.c_proj", transposed=True),
    },
)
_GGUF_WHOLE = {name: name for name in ("token_embd", "position_embd", "rope_freqs", "output_norm", "output")}
_GGUF = Names(_GGUF_WHOLE, "blk.{}.", {name: Part(name) for name in _LLAMA_PARTS})
_GGUF_FUSED = Names(
    _GGUF_WHOLE,
    "blk.{}.",
    {name: Part(name) for name in _LLAMA_PARTS}
    | {f"attn_{letter}": Part("attn_qkv", third=third) for third, letter in enumerate("qkv")},
)


# ── which layers see how far, and which are turned ──────────────────────────────────────────────────────────────────


def _no_windows(config: Reader, layers: int) -> list[int | None]:
    return [None] * layers


def _one_window(config: Reader, layers: int) -> list[int | None]:
    return [config.integer("sliding_window", None)] * layers


def _windows_by_type(config: Reader, layers: int) -> list[int | None]:
    """`layer_types` decides where there is one; else `max_window_layers` or, in SmolLM3, which layers have no rope."""
    window = config.integer("sliding_window", None) if config.flag("use_sliding_window", False) else None
    kinds = config.items("layer_types")
    if kinds is None:
        first = config.integer("max_window_layers", None, least=0)
        late = [first is not None and layer >= first for layer in range(layers)]
        sliding = late if first is not None else [not turned for turned in _turned_by_list(config, layers)]
        return [window if slides else None for slides in sliding]
    return [window if kind == "sliding_attention" else None for kind in kinds]


def _all_turned(config: Reader, layers: int) -> list[bool]:
    return [True] * layers


def _none_turned(config: Reader, layers: int) -> list[bool]:
    return [False] * layers


def _turned_by_list(config: Reader, layers: int) -> list[bool]:
    turned = config.items("no_rope_layers")
    if turned is not None:
        return [bool(turn) for turn in turned]
    interval = config.integer("no_rope_layer_interval", 4)
    return [(layer + 1) % interval != 0 for layer in range(layers)]


# ── the table ───────────────────────────────────────────────────────────────────────────────────────────────────────

_KEYS = {
    "vocab": "vocab_size",
    "hidden": "hidden_size",
    "feed_forward": "intermediate_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "context": "max_position_embeddings",
    "norm_epsilon": "rms_norm_eps",
    "activation": "hidden_act",
}
_LLAMA_DEFAULTS: dict[str, Any] = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "rope_theta": 10000.0,
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": False,
    "eos_token_id": 2,
}
_QWEN_DEFAULTS = _LLAMA_DEFAULTS | {
    "vocab_size": 151936,
    "intermediate_size": 22016,
    "num_key_value_heads": 32,
    "max_position_embeddings": 32768,
    "sliding_window": 4096,
    "max_window_layers": 28,
    "eos_token_id": None,
}


@dataclass(frozen=True, slots=True)
class Family:
    """One row: how a family's program follows from its configuration.

    A bias is always there (True), never (False), or where the key of this name in config.json says so (GGUF: where its
    tensors are).
    """

    defaults: Mapping[str, Any]
    """What transformers takes where config.json is silent."""
    names: Names = _LLAMA
    keys: Mapping[str, str] = field(default_factory=lambda: _KEYS)
    """Where config.json has the numbers of a `Spec`."""
    more_keys: frozenset[str] = frozenset()
    """Keys that the row's functions read, or that may be spoken of by older files."""
    neutral: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Keys that must have one of these values: others change the mathematics."""
    norm: Literal["rms", "layer"] = "rms"
    head_norm: bool = False
    qkv_bias: bool | str = False
    output_bias: bool | str = False
    feed_forward_bias: bool | str = False
    gated: bool = True
    learned_positions: bool = False
    windows: Callable[[Reader, int], list[int | None]] = _no_windows
    turned: Callable[[Reader, int], list[bool]] = _all_turned
    gguf: Names | None = _GGUF
    """How GGUF files of this architecture name tensors; None: there is no such architecture."""
    gguf_neighbours: bool = False
    """Their rows of q and k are stored as neighbouring pairs."""
    gguf_epsilon: str = "attention.layer_norm_rms_epsilon"


_WINDOW_KEYS = frozenset({"sliding_window", "use_sliding_window", "max_window_layers", "layer_types"})

FAMILIES: dict[str, Family] = {
    "llama": Family(
        _LLAMA_DEFAULTS,
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        feed_forward_bias="mlp_bias",
        gguf_neighbours=True,
    ),
    "mistral": Family(
        _LLAMA_DEFAULTS
        | {
            "intermediate_size": 14336,
            "num_key_value_heads": 8,
            "max_position_embeddings": 131072,
            "sliding_window": 4096,
        },
        more_keys=frozenset({"sliding_window"}),
        windows=_one_window,
        gguf=None,  # llama.cpp writes it as llama
    ),
    "qwen2": Family(_QWEN_DEFAULTS, qkv_bias=True, more_keys=_WINDOW_KEYS, windows=_windows_by_type),
    "qwen3": Family(
        _QWEN_DEFAULTS | {"head_dim": 128},
        head_norm=True,
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        more_keys=_WINDOW_KEYS,
        windows=_windows_by_type,
    ),
    "smollm3": Family(
        _LLAMA_DEFAULTS
        | {
            "vocab_size": 128256,
            "hidden_size": 2048,
            "num_hidden_layers": 36,
            "num_attention_heads": 16,
            "num_key_value_heads": 4,
            "max_position_embeddings": 32768,
            "rope_theta": 2000000.0,
            "tie_word_embeddings": True,
            "eos_token_id": 128001,
        },
        more_keys=_WINDOW_KEYS | {"no_rope_layers", "no_rope_layer_interval"},
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        feed_forward_bias="mlp_bias",
        windows=_windows_by_type,
        turned=_turned_by_list,
        gguf_neighbours=True,
    ),
    "gpt2": Family(
        {
            "vocab_size": 50257,
            "n_positions": 1024,
            "n_embd": 768,
            "n_layer": 12,
            "n_head": 12,
            "activation_function": "gelu_new",
            "layer_norm_epsilon": 1e-5,
            "tie_word_embeddings": True,
            "eos_token_id": 50256,
        },
        _GPT2,
        keys={
            "vocab": "vocab_size",
            "hidden": "n_embd",
            "feed_forward": "n_inner",
            "layers": "n_layer",
            "heads": "n_head",
            "context": "n_positions",
            "norm_epsilon": "layer_norm_epsilon",
            "activation": "activation_function",
        },
        more_keys=frozenset({"n_ctx", "reorder_and_upcast_attn"}),
        neutral={"scale_attn_weights": (True,), "scale_attn_by_inverse_layer_idx": (False,)},
        norm="layer",
        qkv_bias=True,
        output_bias=True,
        feed_forward_bias=True,
        gated=False,
        learned_positions=True,
        turned=_none_turned,
        gguf=_GGUF_FUSED,
        gguf_epsilon="attention.layer_norm_epsilon",
    ),
}
