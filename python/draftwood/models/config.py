"""config.json as a `Spec`: every key is either read, known to leave the mathematics alone, or refused by name."""

from __future__ import annotations

from typing import Any

from ..errors import UnsupportedModel
from . import format_error
from .families import FAMILIES, Family
from .reader import Reader, short
from .spec import LayerSpec, RopeSpec, Spec

__all__ = ["read_spec"]

HINT = 'the native executor does not know it: load it with executor="transformers"'

# Keys of transformers' own bookkeeping, of training, and of generation, which generation_config.json has taken over.
_HARMLESS = frozenset(
    """
    _attn_implementation _commit_hash _name_or_path _num_labels architectures attention_dropout attn_implementation
    attn_pdrop auto_map bos_token_id chunk_size_feed_forward classifier_dropout cls_token_id decoder_start_token_id
    dtype embd_pdrop eos_token_id finetuning_task gradient_checkpointing hidden_dropout id2label initializer_range
    is_decoder is_llama_config keys_to_ignore_at_inference label2id model_type name_or_path num_labels output_attentions
    output_hidden_states pad_token_id prefix pretraining_tp problem_type resid_pdrop return_dict sep_token_id
    summary_activation summary_first_dropout summary_proj_to_labels summary_type summary_use_proj task_specific_params
    tokenizer_class torch_dtype torchscript transformers.js_config transformers_version unk_token_id unsloth_fixed
    unsloth_version use_bfloat16 use_cache

    bad_words_ids begin_suppress_tokens diversity_penalty do_sample early_stopping encoder_no_repeat_ngram_size
    exponential_decay_length_penalty forced_bos_token_id forced_eos_token_id length_penalty max_length max_new_tokens
    min_length no_repeat_ngram_size num_beam_groups num_beams num_return_sequences output_scores remove_invalid_values
    repetition_penalty return_dict_in_generate suppress_tokens temperature top_k top_p typical_p
    """.split()  # noqa: SIM905 - one key per line would be four screens
)
# Keys of other families that do nothing at these values (and at null, false, [] and {}, as all that is not known here).
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "embedding_multiplier": (1.0,),
    "logit_scale": (1.0,),
    "logits_scaling": (1.0,),
    "n_routed_experts": (0,),
    "num_experts": (0,),
    "num_experts_per_tok": (0,),
    "num_local_experts": (0,),
    "partial_rotary_factor": (1.0,),
    "residual_multiplier": (1.0,),
}
_ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
}
# The keys of a rope that are read, by its kind; the others must be null or neutral.
_ROPE_KEYS = {
    "default": (),
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}
_ROPE_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "factor": (1.0,),
    "partial_rotary_factor": (1.0,),
    "attention_factor": (1.0,),
}


def read_spec(file: object, values: dict[str, Any]) -> tuple[Spec, Family]:
    """The program of a config.json, and its row of the table.

    Errors
        ModelFormatError (a wrong type or number), UnsupportedModel (asks for what is not built; names key and value).
    """
    config = Reader(file, values.get)
    kind = config.required(config.text("model_type", None), "model_type")
    if kind not in FAMILIES:
        raise _refuse(file, "model_type", kind)
    family = FAMILIES[kind]
    config = Reader(file, lambda key: values[key] if key in values else family.defaults.get(key))
    _check_keys(config, values, family)
    return _spec(config, family, values), family


def _refuse(file: object, key: str, value: object) -> UnsupportedModel:
    return UnsupportedModel.of(f"{file}: {key} = {short(value)}", HINT)


def _check_keys(config: Reader, values: dict[str, Any], family: Family) -> None:
    ropes = () if family.learned_positions else ("rope_parameters", "rope_scaling")
    read = {*family.defaults, *family.keys.values(), *family.more_keys, *ropes}
    # The keys of the features that a row reads by name.
    read |= {name for name in (family.qkv_bias, family.feed_forward_bias) if isinstance(name, str)}
    for key, value in values.items():
        if key in family.neutral:
            if value is not None and value not in family.neutral[key]:
                raise _refuse(config.path, key, value)
        elif key in read or key in _HARMLESS:
            continue
        elif not (value is None or value is False or value in ([], {}) or _one_of(value, _NEUTRAL.get(key, ()))):
            raise _refuse(config.path, key, value)


def _one_of(value: object, allowed: tuple[Any, ...]) -> bool:
    return type(value) in (int, float) and value in allowed


def _spec(config: Reader, family: Family, values: dict[str, Any]) -> Spec:
    def count(what: str, default: int | None = None) -> int:
        key = family.keys.get(what)
        if key is None:
            return int(config.required(default, what))
        return int(config.required(config.integer(key, default), key))

    def bias(setting: bool | str) -> bool:
        return bool(config.flag(setting, False)) if isinstance(setting, str) else setting

    hidden, heads, layers = count("hidden"), count("heads"), count("layers")
    kv_heads = count("kv_heads", heads)
    # An explicit null means the same as none: transformers divides.
    head_dim = count("head_dim", max(hidden // heads, 1))
    if heads % kv_heads or ("head_dim" not in family.keys and hidden % heads):
        got = f"width {hidden}, {heads} heads, {kv_heads} kv heads"
        raise format_error(config.path, family.keys["heads"], "a divisor of the width, a multiple of kv heads", got)
    if head_dim % 2:
        raise _refuse(config.path, family.keys.get("head_dim", "the head size"), head_dim)
    context = count("context")
    activation = config.text(family.keys["activation"], None)
    if activation not in _ACTIVATIONS:
        raise _refuse(config.path, family.keys["activation"], activation)
    epsilon = family.keys["norm_epsilon"]
    turned = family.turned(config, layers)
    return Spec(
        vocab=count("vocab"),
        hidden=hidden,
        feed_forward=count("feed_forward", 4 * hidden),
        layers=_layers(config, family, layers, turned, context),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        context=context,
        norm_epsilon=float(config.required(config.real(epsilon, None), epsilon)),
        tied=bool(config.flag("tie_word_embeddings", False)),
        norm=family.norm,
        head_norm=family.head_norm,
        ropes=(_rope(config, values, context),) if any(turned) else (),
        learned_positions=family.learned_positions,
        qkv_bias=bias(family.qkv_bias),
        output_bias=bias(family.output_bias),
        feed_forward_bias=bias(family.feed_forward_bias),
        activation=_ACTIVATIONS[activation],  # type: ignore[arg-type]
        gated=family.gated,
    )


def _layers(config: Reader, family: Family, count: int, turned: list[bool], context: int) -> tuple[LayerSpec, ...]:
    kinds = config.items("layer_types") or []
    windows = family.windows(config, count)
    for kind, window in zip(kinds, windows, strict=False):
        if kind != "full_attention" and (kind != "sliding_attention" or window is None):
            raise _refuse(config.path, "layer_types", kind)
    for key, got in (("layer_types", len(windows)), ("no_rope_layers", len(turned))):
        if got < count:
            raise format_error(config.path, key, f"a list of {count} layers", f"{got}")
    return tuple(
        # A window that holds every context is none.
        LayerSpec(window if window is not None and window < context else None, 0 if turn else None)
        for window, turn in zip(windows[:count], turned[:count], strict=True)
    )


def _rope(config: Reader, values: dict[str, Any], context: int) -> RopeSpec:
    """The rotary embedding, in the new spelling (`rope_parameters`) or the old one (`rope_theta`, `rope_scaling`)."""
    where = "rope_parameters" if values.get("rope_parameters") else "rope_scaling"
    given = config.table(where) or {}
    rope = Reader(f"{config.path}: {where}", given.get)
    kind = rope.text("rope_type", None) or rope.text("type", None) or "default"
    if kind not in _ROPE_KEYS:
        raise _refuse(config.path, f"{where}.rope_type", kind)
    for key, value in given.items():
        known = key in ("type", "rope_type", "rope_theta", "original_max_position_embeddings", *_ROPE_KEYS[kind])
        if not (known or value is None or _one_of(value, _ROPE_NEUTRAL.get(key, ()))):
            raise _refuse(config.path, f"{where}.{key}", value)
    base = float(rope.real("rope_theta", config.real("rope_theta", None)))

    def number(key: str, default: float | None = None) -> float:
        return float(rope.required(rope.real(key, default), key))

    if kind == "linear":
        return RopeSpec(base, {"kind": kind, "factor": number("factor")})
    if kind == "llama3":
        low, high = number("low_freq_factor"), number("high_freq_factor")
        if high <= low:
            raise format_error(rope.path, "high_freq_factor", "above low_freq_factor", high)
        factor, original = number("factor"), number("original_max_position_embeddings", context)
        return RopeSpec(base, {"kind": kind, "factor": factor, "low": low, "high": high, "original": original})
    return RopeSpec(base)
