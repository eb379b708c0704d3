"""Tiny random encoder–decoders, their prompts, and what transformers says about them."""

from __future__ import annotations

import numpy as np
import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    MarianConfig,
    MarianMTModel,
    T5Config,
    T5ForConditionalGeneration,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

VOCAB, MEL, HEARD = 256, 8, 20
FAMILIES = ("t5", "bart", "marian", "whisper")


def tiny(family, *, seed=0, scale=5.0, own_head=True, config=None, **settings):
    """A random model of two layers whose matrices are multiplied, because fresh ones give flat rows; it has no end
    token of its own. `settings` go into its generation_config, `config` into its config."""
    torch.manual_seed(seed)
    common = {"vocab_size": VOCAB, "d_model": 64, "pad_token_id": 0, "eos_token_id": None, "bos_token_id": None}
    layers = {
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 96,
        "decoder_ffn_dim": 96,
        "decoder_start_token_id": 1,
    }
    if family == "t5":
        sizes = {"d_kv": 16, "d_ff": 96, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 1}
        model = T5ForConditionalGeneration(T5Config(**common, **sizes, relative_attention_max_distance=24))
    elif family == "bart":
        more = {"max_position_embeddings": 128, "forced_eos_token_id": None, "scale_embedding": True}
        model = BartForConditionalGeneration(BartConfig(**common, **layers, **more))
    elif family == "marian":
        more = {"max_position_embeddings": 128, "forced_eos_token_id": None, "decoder_vocab_size": VOCAB}
        model = MarianMTModel(MarianConfig(**common, **layers, **more | (config or {})))
    else:
        sizes = {"num_mel_bins": MEL, "max_source_positions": HEARD, "max_target_positions": 96}
        model = WhisperForConditionalGeneration(WhisperConfig(**common, **layers, **sizes))
    # A head of its own: with the embedding's weights, a text says its last token over and over.
    if own_head:
        head = torch.nn.Linear(64, model.get_output_embeddings().out_features, bias=False)
        setattr(model, "proj_out" if family == "whisper" else "lm_head", head)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # T5 does not scale its scores: with larger queries and keys, rounding decides which key is seen at all.
            if parameter.ndim > 1 and "embed_positions" not in name and not name.endswith((".q.weight", ".k.weight")):
                parameter.mul_(scale)
            elif name.endswith("bias"):
                parameter.normal_(std=0.1)
        if hasattr(model, "final_logits_bias"):
            model.final_logits_bias.normal_()
    own = {"forced_bos_token_id": None, "forced_eos_token_id": None, "max_length": None, "num_beams": 1}
    model.generation_config.update(
        **own | {"decoder_start_token_id": 1, "pad_token_id": 0, "eos_token_id": None} | settings
    )
    return model.eval()


def sources(family, count, seed=0, longest=24):
    """Ragged ids, or sounds."""
    rng = np.random.default_rng(seed)
    if family == "whisper":
        return [{"input_features": rng.standard_normal((MEL, 2 * HEARD)).astype(np.float32)} for _ in range(count)]
    return [rng.integers(2, VOCAB, int(rng.integers(1, longest))).tolist() for _ in range(count)]


def inputs_of(source):
    """The same for transformers, a batch of one."""
    if isinstance(source, dict):
        return {"input_features": torch.from_numpy(source["input_features"])[None]}
    ids = torch.tensor([source])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def decoder_logits(model, source, tokens):
    """[T, V] by a full run of the untouched module without any cache."""
    with torch.inference_mode():
        return model(**inputs_of(source), decoder_input_ids=torch.tensor([tokens]), use_cache=False).logits[0].float()


def greedy(model, source, tokens, **settings):
    """transformers' greedy continuation: new ids, the gap of the two best logits and the logits of each step."""
    begin = len(settings["decoder_input_ids"][0]) if "decoder_input_ids" in settings else 1
    with torch.inference_mode():
        out = model.generate(
            **inputs_of(source),
            do_sample=False,
            max_new_tokens=tokens,
            output_logits=True,
            return_dict_in_generate=True,
            **settings,
        )
    logits = torch.stack([row[0] for row in out.logits]).float().numpy()
    best = np.sort(logits, axis=1)[:, -2:]
    return out.sequences[0, begin:].tolist(), best[:, 1] - best[:, 0], logits


def idle(engine):
    """Whether nothing is left of any request."""
    stats = engine.stats()
    return stats.pages_free == stats.pages_total and not engine.executor.sources
