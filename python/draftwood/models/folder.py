"""Hugging Face folders for the native executor: config.json and safetensors, without torch or transformers."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .._core import NativeModel, SafeTensors
from ..errors import UnsupportedModel
from . import format_error
from .config import HINT, read_spec
from .families import Family, Names
from .hf import read_json, weight_files
from .memory import is_mapped
from .reader import Reader
from .spec import Place, Spec, places_to_json

if TYPE_CHECKING:
    from ..executors.native import NativeExecutor
    from ..executors.options import NativeOptions

__all__ = ["FolderModel", "open_folder"]

# What older versions of transformers stored beside the weights: masks and rope tables, which follow from the config.
_DERIVED = re.compile(r"(^|\.)(attn\.(bias|masked_bias)|rotary_emb\.inv_freq)$")


@dataclass(frozen=True, slots=True)
class FolderModel:
    """An opened and checked folder; nothing of its weights is read yet."""

    files: SafeTensors
    spec: Spec
    places: dict[str, Place]
    stop_ids: tuple[int, ...]
    tokenizer: Path | None
    name: str

    def native(self, dtype: str = "auto", options: NativeOptions | None = None) -> NativeExecutor:
        """The native executor over the weights: in their own bits, or in "float32".

        Cost: one pass over the files on all threads; as many bytes as they have, or 4 per weight; nothing if mapped.
        """
        from ..executors.native import NativeExecutor

        places = places_to_json(self.places)
        mapped = is_mapped(self.files, options.weights if options else "auto", dtype)
        model = NativeModel.load(self.files, self.spec.to_json(), places, dtype == "float32", mapped)
        return NativeExecutor(model, self.spec, options)


def open_folder(folder: str | os.PathLike[str]) -> FolderModel:
    """Opens a folder and checks that its model is one that the native executor runs.

    Errors
        InvalidArgument (no model folder), ModelFormatError (damaged), UnsupportedModel (sound, but asks for arithmetic
        or tensors that are not built; names the key or the tensor).
    Cost
        Headers only.
    """
    path = Path(folder)
    weight_files(path)
    values = read_json(path / "config.json")
    spec, family = read_spec(path / "config.json", values)
    files = SafeTensors.open(path)
    places = _places(path, files, spec, family)
    tokenizer = path / "tokenizer.json"
    return FolderModel(
        files,
        spec,
        places,
        _stop_ids(path, values, family, spec.vocab),
        tokenizer if tokenizer.is_file() else None,
        path.resolve().name,
    )


def _places(path: Path, files: SafeTensors, spec: Spec, family: Family) -> dict[str, Place]:
    stored = {name: dims for name, dims, _ in files.tensors()}
    embedding = family.names.whole["token_embd"]
    prefix = embedding.split(".")[0] + "."
    # A decoder that was saved without its head has no prefix.
    bare = f"{embedding}.weight" not in stored and f"{embedding}.weight".removeprefix(prefix) in stored
    places = family.names.places(spec, prefix if bare else "")
    expected = Names.stored_shapes(spec, places)
    for name, dims in expected.items():
        if (got := stored.get(name)) != dims:
            found = "none" if got is None else f"shape {list(got)}"
            raise format_error(path, f"tensor {name}", f"of shape {list(dims)}, as config.json says", found)
    head = f"{family.names.whole['output']}.weight"
    for name in stored.keys() - expected.keys():
        if not (_DERIVED.search(name) or (spec.tied and name == head)):
            raise UnsupportedModel.of(f"{path}: tensor {name}", HINT)
    return places


def _stop_ids(path: Path, values: dict[str, object], family: Family, vocab: int) -> tuple[int, ...]:
    """The end tokens of generation_config.json, or of config.json where there is none."""
    file = path / "generation_config.json"
    if file.is_file():
        reader = Reader(file, read_json(file).get)
    else:
        file = path / "config.json"
        defaults = family.defaults
        reader = Reader(file, lambda key: values[key] if key in values else defaults.get(key))
    ids = reader.ids("eos_token_id")
    return tuple(sorted({token for token in ids if token < vocab}))
