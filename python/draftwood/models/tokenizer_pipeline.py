"""Tokenizers from finished pipelines of the `tokenizers` library: a tokenizer.json and what stands beside it, or one of
transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import _core
from ..errors import InvalidArgument, UnsupportedModel
from . import format_error, sentencepiece
from .sentencepiece import Kind

if TYPE_CHECKING:
    from .tokenizer import Tokenizer

__all__ = ["copy", "read_file"]


def read_file(cls: type[Tokenizer], path: Path) -> Tokenizer:
    """A tokenizer.json, or the folder that holds one; see `Tokenizer.from_file`."""
    from tokenizers import Tokenizer as Backend

    path = path / "tokenizer.json" if path.is_dir() else path
    if not path.is_file():
        raise InvalidArgument.of("the tokenizer", "a tokenizer.json, or a folder with one", f"'{path}'")
    try:
        backend = Backend.from_file(str(path))
    except Exception as error:  # tokenizers raises plain Exception
        raise format_error(str(path), "the file", "a tokenizer of the tokenizers library", error) from error
    config = _config(path.with_name("tokenizer_config.json"))
    names = ("bos_token", "eos_token", "unk_token", "pad_token")
    specials = {name: text for name in names if (text := _token_text(config.get(name))) is not None}
    template = config.get("chat_template")
    jinja = path.with_name("chat_template.jinja")
    if jinja.is_file():
        template = jinja.read_text(encoding="utf-8")
    eos = backend.token_to_id(specials["eos_token"]) if "eos_token" in specials else None
    return _wrap(cls, backend, template, specials, [] if eos is None else [eos])


def copy(cls: type[Tokenizer], tokenizer: Any) -> Tokenizer:
    """A copy of a fast tokenizer of transformers; see `Tokenizer.from_transformers`."""
    from tokenizers import Tokenizer as Backend

    live = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(live, Backend):
        kind = type(tokenizer).__name__
        raise UnsupportedModel.of(f"the tokenizer {kind}", "load the fast one, or pass token ids")
    # transformers switches truncation and padding of its backend on and off from call to call.
    backend = Backend.from_str(live.to_str())
    backend.no_truncation()
    backend.no_padding()
    specials = {k: str(v) for k, v in tokenizer.special_tokens_map.items() if isinstance(v, str)}
    eos = tokenizer.eos_token_id
    return _wrap(cls, backend, tokenizer.chat_template, specials, [] if eos is None else [eos])


def _wrap(
    cls: type[Tokenizer], backend: Any, template: Any, specials: dict[str, str], stop_ids: list[int]
) -> Tokenizer:
    """A tokenizer over a finished `tokenizers` pipeline."""
    from tokenizers import decoders

    vocabulary = backend.get_vocab(with_added_tokens=True)
    tokens: list[str | None] = [None] * (max(vocabulary.values(), default=-1) + 1)
    for token, index in vocabulary.items():
        tokens[index] = token
    control = sorted(index for index, added in backend.get_added_tokens_decoder().items() if added.special)
    puts_space = False
    if isinstance(backend.decoder, decoders.ByteLevel):
        table = _core.TokenBytes.from_byte_level(tokens, control)
    elif (strips := sentencepiece.decoder_strips(backend.decoder)) is not None:
        puts_space = strips
        kinds = [Kind.BYTE if token is not None and sentencepiece.byte_of(token) else Kind.NORMAL for token in tokens]
        pieces = zip(tokens, kinds, strict=True)
        spelled = [None if token is None else sentencepiece.piece_bytes(token, kind) for token, kind in pieces]
        table = _core.TokenBytes.from_bytes(spelled, control)
    else:
        kind = type(backend.decoder).__name__
        hint = "byte-level and SentencePiece BPE ones are read; pass token ids"
        raise UnsupportedModel.of(f"a tokenizer with the decoder {kind}", hint)
    if not isinstance(template, str | None):
        template = _default_template(template)
    return cls(
        backend,
        table,
        chat_template=template,
        special_tokens=specials,
        stop_ids=stop_ids,
        puts_space=puts_space,
    )


def _config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise format_error(str(path), "the file", "JSON", error) from error
    if not isinstance(config, dict):
        raise format_error(str(path), "the file", "a JSON object", type(config).__name__)
    return config


def _token_text(value: Any) -> str | None:
    """A token of a config: a string, or an object with its content."""
    value = value.get("content") if isinstance(value, dict) else value
    return value if isinstance(value, str) else None


def _default_template(templates: Any) -> str | None:
    """Of several named templates the one called default."""
    if isinstance(templates, list):
        templates = {t.get("name"): t.get("template") for t in templates if isinstance(t, dict)}
    template = templates.get("default") if isinstance(templates, dict) else None
    return template if isinstance(template, str) else None
