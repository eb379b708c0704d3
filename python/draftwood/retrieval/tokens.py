"""Text to ids for an index: documents are data, so nothing is added and control tokens in them are plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import InvalidArgument

if TYPE_CHECKING:
    from ..models.tokenizer import Tokenizer

__all__ = ["tokenizer_of"]


def tokenizer_of(source: Any) -> Tokenizer:
    """The library's tokenizer behind `source`: itself, an engine's, a transformers one, or a file or folder."""
    from ..models.tokenizer import Tokenizer

    if isinstance(source, Tokenizer) or (hasattr(source, "encode_plain") and hasattr(source, "fingerprint")):
        return source
    if hasattr(source, "executor") and hasattr(source, "tokenizer"):
        if source.tokenizer is None:
            raise InvalidArgument.of("tokenizer", "one that can encode", "an engine without a tokenizer")
        return tokenizer_of(source.tokenizer)
    if hasattr(source, "backend_tokenizer"):
        return Tokenizer.from_transformers(source)
    if isinstance(source, str) or hasattr(source, "__fspath__"):
        return _read(source)
    expected = "an engine, a tokenizer, or the path of one"
    raise InvalidArgument.of("tokenizer", expected, type(source).__name__)


def _read(source: Any) -> Tokenizer:
    """From a GGUF file, a tokenizer.json, a folder, or the name of the package with weights."""
    from pathlib import Path

    from .. import _core
    from ..models import gguf
    from ..models.tokenizer import Tokenizer

    if source in gguf.PACKAGES:
        source = gguf.find(source)
    path = Path(source).expanduser()
    if path.suffix == ".gguf":
        file = _core.GgufFile.open(path)
        return Tokenizer.from_gguf(file.metadata, str(path))
    return Tokenizer.from_file(path)
