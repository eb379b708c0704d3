"""Where weights lie and how many numbers a token reads of them, from the tables of their files alone."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import DraftwoodError, InvalidArgument, ModelFormatError
from .source import DEFAULT_MODEL

__all__ = ["Weights", "find_weights", "numbers_read"]

_FLOAT32 = 4
_MOST_TABLE = 100 << 20
_EMBEDDINGS = ("token_embd.weight", "model.embed_tokens.weight", "gpt_neox.embed_in.weight")
_HEADS = ("output.weight", "lm_head.weight", "embed_out.weight")


@dataclass(frozen=True, slots=True)
class Weights:
    """Where a model lies."""

    source: str
    path: str | None
    file_bytes: int | None
    float32_bytes: int | None
    """Bytes of weights that decoding one token would read in float32; None when the file does not tell."""
    problem: str | None
    hint: str | None


def find_weights(source: str) -> Weights:
    """Looks where `Engine.load` would."""
    try:
        path = _locate(source)
    except DraftwoodError as error:
        return Weights(source, None, None, None, str(error), error.hint)
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    size = sum(file.stat().st_size for file in files)
    try:
        if not files:
            raise InvalidArgument.of("--model", "a folder with .safetensors files", f"{path} (none there)")
        return Weights(source, str(path), size, _FLOAT32 * numbers_read(files), None, None)
    except DraftwoodError as error:
        return Weights(source, str(path), size, None, str(error), error.hint)


def _locate(source: str) -> Path:
    if source == DEFAULT_MODEL:
        from ..models.gguf import find

        return find(source)
    path = Path(source).expanduser()
    if not path.exists():
        raise InvalidArgument.of("--model", f"{DEFAULT_MODEL}, a folder or a .gguf file", f"{source} (nothing there)")
    return path


def numbers_read(files: list[Path]) -> int:
    """Weights that one token reads; an embedding that is not the head is read by the row."""
    sizes = {name: math.prod(shape) for file in files for name, shape in _tensors(file)}
    if any(name in sizes for name in _HEADS):
        for name in _EMBEDDINGS:
            sizes.pop(name, None)
    return sum(sizes.values())


def _tensors(file: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    if file.suffix != ".safetensors":
        from .._core import GgufFile

        for name, shape, _ in GgufFile.open(file).tensors():
            yield name, shape
        return
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            table = json.loads(stream.read(min(length, _MOST_TABLE)))
        for name, entry in table.items():
            if name != "__metadata__":
                yield name, tuple(entry["shape"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFormatError(f"{file}: the table of tensors must be JSON, got an error ({error})") from error
