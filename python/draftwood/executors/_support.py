"""Which transformers modules the executor runs; everything else is refused with the reason, never guessed at."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

from ..errors import InvalidArgument, UnsupportedModel

__all__ = ["ENCODER_DECODERS", "FAMILIES", "check_encoder_decoder", "check_model"]

# Tested against a full recompute in tests/parity/test_hf_executor.py.
FAMILIES = ("gpt2", "llama", "mistral", "qwen2", "qwen3")

# Tested in tests/parity/test_encoder_decoders.py.
ENCODER_DECODERS = ("bart", "marian", "t5", "whisper")

# Settings that change the arithmetic of attention or head, with the values at which they do nothing.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "add_cross_attention": (None, False),
    "attn_logit_softcapping": (None,),
    "final_logit_softcapping": (None,),
    "is_causal": (None, True),
    "is_encoder_decoder": (None, False),
    "logit_scale": (None, 1.0),
    "logits_scaling": (None, 1.0),
    "scale_attn_by_inverse_layer_idx": (None, False),
    "scale_attn_weights": (None, True),
}
_ROPE = ("default", "linear", "llama3", "yarn")


def check_model(model: Any) -> None:
    """Raises unless `model` is a causal language model whose every row depends on its position and its keys alone.

    Errors
        InvalidArgument if it is no transformers model; UnsupportedModel, naming the setting, otherwise.
    """
    if not isinstance(model, PreTrainedModel):
        raise InvalidArgument.of("the model", "a transformers PreTrainedModel", type(model).__qualname__)
    config = model.config
    for name, neutral in _NEUTRAL.items():
        if (value := getattr(config, name, None)) not in neutral:
            raise UnsupportedModel.of(f"{name} = {value!r} of {type(model).__name__}", f"it must be {neutral[-1]!r}")
    if config.model_type not in FAMILIES:
        raise UnsupportedModel.of(f"model type {config.model_type!r}", f"the families are {', '.join(FAMILIES)}")
    if model.get_output_embeddings() is None or model.base_model is model:
        raise UnsupportedModel.of(
            f"{type(model).__name__}, a model without a language head,", "load it as AutoModelForCausalLM"
        )
    _check_window(config)
    _check_rope(config)
    _check_devices(model)


def check_encoder_decoder(model: Any) -> None:
    """Raises unless `model` is a known encoder–decoder with a language head.

    Errors
        As `check_model`.
    """
    if not isinstance(model, PreTrainedModel):
        raise InvalidArgument.of("the model", "a transformers PreTrainedModel", type(model).__qualname__)
    known = ", ".join(ENCODER_DECODERS)
    if model.config.model_type not in ENCODER_DECODERS:
        raise UnsupportedModel.of(f"model type {model.config.model_type!r}", f"the encoder–decoders are {known}")
    if model.get_output_embeddings() is None or not model.config.is_encoder_decoder:
        raise UnsupportedModel.of(
            f"{type(model).__name__}, a model without encoder or language head,", "load it as AutoModelForSeq2SeqLM"
        )
    _check_devices(model)


def _check_window(config: Any) -> None:
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    window = getattr(config, "sliding_window", None)
    if kinds != {"full_attention"}:
        raise UnsupportedModel.of(f"layer types {sorted(kinds)}", "all layers must be full_attention")
    if window is not None and window < config.max_position_embeddings and not getattr(config, "layer_types", None):
        raise UnsupportedModel.of(
            f"a sliding window of {window} in a context of {config.max_position_embeddings}",
            "set sliding_window=None if the texts stay below it",
        )


def _check_rope(config: Any) -> None:
    parameters = getattr(config, "rope_parameters", None) or {}
    kind = parameters.get("rope_type", "default")
    if kind not in _ROPE:
        raise UnsupportedModel.of(
            f"rope type {kind!r}, whose table depends on the length of the call,", f"the types are {', '.join(_ROPE)}"
        )


def _check_devices(model: PreTrainedModel) -> None:
    devices = {str(tensor.device) for tensor in model.parameters()}
    if devices != {"cpu"}:
        raise UnsupportedModel.of(f"a model on {', '.join(sorted(devices))}", "move it to one device: model.to('cpu')")
    if model.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise UnsupportedModel.of(f"dtype {model.dtype}", "the types are float32, bfloat16, float16")
