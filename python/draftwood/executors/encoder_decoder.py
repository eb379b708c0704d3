"""Encoder–decoders of transformers: the encoder runs once per prompt, everything of a request shares its keys."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from transformers import PreTrainedModel

from ..errors import InvalidArgument, UnsupportedModel
from ..models.decoder import DecoderSettings
from ..models.hf import context_of
from ._attention import StepAttention
from ._cross import CrossAttention, CrossKeys, RelativeBias, Source, StepCaches
from ._support import check_encoder_decoder
from .hf import HfExecutor, _ids

if TYPE_CHECKING:
    from ..step import StepPlan

__all__ = ["EncoderDecoderExecutor"]


class EncoderDecoderExecutor(HfExecutor):
    """Runs plans on T5, BART, Marian and Whisper; the module itself stays as its owner left it.

    As in `HfExecutor`, all rows go through the decoder as one packed row. These decoders derive positions, or a bias by
    distance, from the length of their cache; here they are told a "length" per row (`CrossAttention.get_seq_length`),
    or the bias is made of the rows' own positions, so that texts of any lengths, and trees, share a step.

    `sources` says what each request reads: whoever submits a request puts a `Source` there, and takes it away when the
    request has ended. Its keys are computed by the first step that needs them.

    Errors
        InvalidArgument if `model` is no transformers model; UnsupportedModel for families that are not built.
    Cost
        One run of the encoder and of the cross-attention's projections per prompt; S · H · E · 2 · L values while its
        request runs. A step as in `HfExecutor`, and one product per request and layer with those keys.
    Source
        vaswani2017 (encoder–decoder attention).
    Example
        >>> from transformers import T5Config, T5ForConditionalGeneration
        >>> sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
        >>> config = T5Config(vocab_size=64, decoder_start_token_id=0, **sizes)
        >>> executor = EncoderDecoderExecutor(T5ForConditionalGeneration(config).eval())
        >>> executor.encode({"input_ids": [5, 6, 7]}).length
        3
    """

    def __init__(self, model: PreTrainedModel) -> None:
        check_encoder_decoder(model)
        config = model.config
        t5 = config.model_type == "t5"
        heads: int = config.num_heads if t5 else config.decoder_attention_heads
        self._adopt(
            model,
            model.get_decoder(),
            layers=config.num_decoder_layers if t5 else config.decoder_layers,
            kv_heads=heads,
            head_dim=config.d_kv if t5 else config.d_model // heads,
        )
        self._encoder: Any = model.get_encoder()
        self._bias_of = self._decoder.block[0].layer[0].SelfAttention if t5 else None
        names = inspect.signature(type(self._decoder).forward).parameters
        if self._cache_argument != "cache":
            raise UnsupportedModel.of(f"encoder–decoders of transformers {transformers.__version__}", "update to 5.24")
        self._takes_positions = "position_ids" in names
        # Cross-attention is skipped without encoder states; their values are never read, the keys are there already.
        self._more: dict[str, Any] = {"encoder_hidden_states": torch.zeros(1, 1, config.d_model, dtype=self._dtype)}
        if "encoder_attention_mask" in names:
            self._more["encoder_attention_mask"] = self._no_mask
        self.sources: dict[int, Source] = {}
        self.settings = DecoderSettings.of(model)
        self.encoder_runs = 0
        note = ", the encoder runs once per prompt"
        self.caps = self._caps(self._head.weight.shape[0], context_of(model), note)

    def encode(self, inputs: Mapping[str, Any]) -> CrossKeys:
        """Runs the encoder and returns the keys and values that the decoder's layers attend to.

        Shapes: inputs: {"input_ids": [S]} or {"input_features": [mel, frames]}.
        """
        self._check_mode()
        self.encoder_runs += 1
        with torch.inference_mode():
            batch = {name: torch.as_tensor(np.asarray(value))[None] for name, value in inputs.items()}
            if "input_features" in batch:
                batch["input_features"] = batch["input_features"].to(self._dtype)
            states = self._encoder(**batch)[0]
            keys, values = [], []
            for key, value in self._projections():
                keys.append(self._by_head(key(states)))
                values.append(self._by_head(value(states)))
        return CrossKeys(tuple(keys), tuple(values))

    def source(self, prompt: Any) -> Source:
        """What a request reads: ids [S], or {"input_features": [mel, frames]} for Whisper.

        Errors
            InvalidArgument for an empty text, ids or lengths that the encoder does not have, features of another shape,
            and keys that mean nothing.
        """
        config = self.model.config
        if config.model_type == "whisper":
            frames = config.max_source_positions * 2
            return Source({"input_features": _features(prompt, config.num_mel_bins, frames)})
        if isinstance(prompt, Mapping):
            raise InvalidArgument.of(
                "the prompt", "a string or ids", f"a dict of {', '.join(map(repr, prompt))}", "this model reads text"
            )
        ids = np.asarray(prompt, np.int64)
        if not len(ids):
            raise InvalidArgument.of("the prompt", "at least one token for the encoder", "none")
        vocab = self._encoder.get_input_embeddings().weight.shape[0]
        if ids.max() >= vocab:
            hint = "these ids may belong to another tokenizer"
            raise InvalidArgument.of("a prompt id", f"below the encoder's vocabulary size {vocab}", ids.max(), hint)
        most = None if config.model_type == "t5" else config.max_position_embeddings
        if most is not None and len(ids) > most:
            raise InvalidArgument.of("the prompt", f"at most {most} tokens, what the encoder can read", len(ids))
        return Source({"input_ids": ids}, shown=getattr(config, "share_encoder_decoder_embeddings", True))

    @property
    def reads_sound(self) -> bool:
        """Whether prompts are features of sound instead of text."""
        return bool(self.model.config.model_type == "whisper")

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        """As in `HfExecutor`; T5 scales the states, BART and Marian add a bias."""
        with torch.inference_mode():
            if getattr(self.model.config, "scale_decoder_outputs", False):
                hidden = hidden * self.model.config.d_model**-0.5
            logits = super().head(hidden)
            bias = getattr(self.model, "final_logits_bias", None)
            if bias is None:
                return logits
            return logits.add_(bias) if self._plain_head() else logits + bias

    def close(self) -> None:
        """Frees the cache and all encoder texts."""
        super().close()
        self.sources.clear()

    def _prepare(self, plan: StepPlan) -> tuple[StepAttention, dict[str, Any]]:
        sources = [self.sources.get(request) for request in plan.requests.tolist()]
        for source in sources:
            if source is not None and source.cross is None:
                source.cross = self.encode(source.inputs)
        bias = None if self._bias_of is None else RelativeBias(self._bias_of, int(plan.positions.max()) + 1)
        by_length = bias is None and not self._takes_positions
        step = CrossAttention(self._allocated(), plan, sources, bias, positions_from_length=by_length)
        more = {**self._more, self._cache_argument: StepCaches(step, self._layers)}
        if self._takes_positions:
            more["position_ids"] = _ids(plan.positions)[None]
        return step, more

    @property
    def _attentions(self) -> int:
        return 2 * self._layers

    def _projections(self) -> list[tuple[Any, Any]]:
        """The modules that make cross keys and values, per layer."""
        if self._bias_of is not None:
            attentions = [block.layer[1].EncDecAttention for block in self._decoder.block]
            return [(one.k, one.v) for one in attentions]
        attentions = [layer.encoder_attn for layer in self._decoder.layers]
        return [(one.k_proj, one.v_proj) for one in attentions]

    def _by_head(self, rows: torch.Tensor) -> torch.Tensor:
        """[1, S, H · E] → [1, H, S, E]."""
        return rows.view(*rows.shape[:2], self._kv_heads, self._head_dim).transpose(1, 2)


def _features(prompt: Any, mel: int, frames: int) -> NDArray[np.float32]:
    expected = f'{{"input_features": numbers [{mel}, {frames}]}}'
    if not isinstance(prompt, Mapping):
        got = f"a {type(prompt).__name__}"
        raise InvalidArgument.of("the prompt", expected, got, "this model hears: a feature extractor makes its input")
    if unknown := sorted(str(name) for name in prompt if name != "input_features"):
        raise InvalidArgument.of("the prompt", expected, f"a dict with {', '.join(map(repr, unknown))}")
    if "input_features" not in prompt:
        raise InvalidArgument.of("the prompt", expected, "an empty dict")
    value = prompt["input_features"]
    try:
        array = np.asarray(value.float().numpy() if hasattr(value, "float") else value, np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidArgument.of("input_features", f"numbers [{mel}, {frames}]", f"{error}") from None
    if array.ndim == 3 and len(array) == 1:
        array = array[0]
    if array.shape != (mel, frames):
        hint = "one prompt at a time; pad the sound to the length that the model hears"
        raise InvalidArgument.of("input_features", f"of shape [{mel}, {frames}]", list(array.shape), hint)
    if not np.isfinite(array).all():
        raise InvalidArgument.of("input_features", "finite", "NaN or infinite values")
    return array
