"""Reading weights and configurations: each reader ends in one `LoadedModel`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import ModelFormatError, UnsupportedModel

__all__ = ["LoadedModel", "format_error", "import_transformers"]


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model in memory and what its files say about using it."""

    module: Any
    """A transformers causal language model on the CPU, without gradients."""
    tokenizer_source: Any
    """What a tokenizer is built from: a `GgufFile`, the path of a tokenizer.json, a tokenizer object, or None."""
    stop_ids: tuple[int, ...]
    """Ids that end a text, ascending."""
    chat_template: str | None
    """Jinja source, as untrusted as the file it came from."""
    vocab_size: int
    """V, the width of a logit row; the tokenizer may know fewer ids."""
    max_context: int
    """Most tokens of prompt and output together."""
    name: str


def import_transformers() -> tuple[Any, Any]:
    """The modules torch and transformers, imported at the first use of a model.

    Errors
        UnsupportedModel with the command that installs them, if one is missing or too old.
    """
    hint = "pip install 'draftwood[torch]'"
    try:
        import torch
        import transformers
    except ImportError as error:
        raise UnsupportedModel.of(f"loading weights without torch and transformers ({error})", hint) from error
    if int(transformers.__version__.split(".")[0]) < 5:
        # Version 4 reads another spelling of the rope settings and ignores ours without a word.
        raise UnsupportedModel.of(f"transformers {transformers.__version__}", f"5.0 or later is needed: {hint}")
    return torch, transformers


def format_error(file: object, what: str, expected: str, got: object, hint: str = "") -> ModelFormatError:
    """The error of a model file whose structure is sound but whose contents do not fit together."""
    text = f"{file}: {what} must be {expected}, got {got}" + (f"; {hint}" if hint else "")
    return ModelFormatError(text, what=what, expected=expected, got=str(got), hint=hint, file=str(file))
