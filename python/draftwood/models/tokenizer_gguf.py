"""Tokenizers from the metadata of GGUF files: byte-level and SentencePiece BPE."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .. import _core
from ..errors import UnsupportedModel
from . import format_error, sentencepiece
from .pretokenizers import BY_NAME
from .sentencepiece import Kind

if TYPE_CHECKING:
    from .tokenizer import Tokenizer

__all__ = ["Metadata", "read"]

_ID_KEYS = {
    "bos_token": "bos",
    "eos_token": "eos",
    "eot_token": "eot",
    "unk_token": "unknown",
    "pad_token": "padding",
}
_SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token")


class Metadata:
    """Metadata of a GGUF file with types; what does not fit is the file's fault and says so."""

    def __init__(self, get: Callable[[str], Any], file: str) -> None:
        self._get, self.file = get, file

    def of_type(self, key: str, kind: type, expected: str) -> Any:
        """A single value, None if the file has none."""
        value = self._get(f"tokenizer.{key}")
        if value is None or (isinstance(value, kind) and isinstance(value, bool) == (kind is bool)):
            return value
        raise format_error(self.file, f"tokenizer.{key}", expected, repr(value)[:40])

    def texts(self, key: str) -> list[str]:
        """A list of strings, empty if the file has none."""
        values = self._get(f"tokenizer.{key}")
        values = [] if values is None else values
        if not isinstance(values, list | tuple):
            raise format_error(self.file, f"tokenizer.{key}", "a list of strings", repr(values)[:40])
        bad = next((value for value in values if not isinstance(value, str)), None)
        if bad is not None:
            raise format_error(self.file, f"tokenizer.{key}", "a list of strings", repr(bad)[:40])
        return list(values)

    def token_id(self, key: str, tokens: Sequence[str | None]) -> int | None:
        """An id with a token, None if the file has none."""
        value: int | None = self.of_type(key, int, "an id")
        if value is not None and not (0 <= value < len(tokens) and tokens[value] is not None):
            raise format_error(self.file, f"tokenizer.{key}", f"an id with a token, below {len(tokens)}", value)
        return value


def read(cls: type[Tokenizer], data: Metadata) -> Tokenizer:
    """The tokenizer that the metadata describe; see `Tokenizer.from_gguf`."""
    model = data.of_type("ggml.model", str, "a name")
    if model == "gpt2":
        return _byte_level(cls, data)
    if model == "llama":
        return _sentencepiece(cls, data)
    what = f"{data.file} without a tokenizer" if model is None else f"{data.file}: tokenizer.ggml.model = {model!r}"
    hint = "byte-level BPE ('gpt2') and SentencePiece BPE ('llama') are read; token ids work without a tokenizer"
    raise UnsupportedModel.of(what, hint)


def _byte_level(cls: type[Tokenizer], data: Metadata) -> Tokenizer:
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders
    from tokenizers.models import BPE

    pre = data.of_type("ggml.pre", str, "a name")
    if pre not in BY_NAME:
        known = ", ".join(BY_NAME)
        raise UnsupportedModel.of(
            f"{data.file}: pre-tokenizer {pre!r} (tokenizer.ggml.pre)",
            f"known are {known}; token ids work without a tokenizer",
        )
    rule = BY_NAME[pre]
    tokens, kinds = _tokens(data)
    vocabulary = {token: index for index, token in enumerate(tokens) if token is not None}
    merges: list[Any] = [tuple(merge.split(" ")) for merge in data.texts("ggml.merges")]
    bad = next((i for i, merge in enumerate(merges) if len(merge) != 2), None)
    if bad is not None:
        raise format_error(data.file, f"tokenizer.ggml.merges[{bad}]", "two tokens with a space between", merges[bad])
    try:
        backend = Backend(BPE(vocabulary, merges, ignore_merges=rule.whole_words))
    except Exception as error:  # tokenizers raises plain Exception
        raise format_error(data.file, "tokenizer.ggml.merges", "merges of tokens into tokens", error) from error
    normalizer = rule.normalizer()
    if normalizer is not None:
        backend.normalizer = normalizer
    backend.pre_tokenizer = rule.pipeline()
    backend.decoder = decoders.ByteLevel()
    ids = {name: data.token_id(f"ggml.{key}_token_id", tokens) for name, key in _ID_KEYS.items()}
    control = _control(tokens, kinds)
    table = _core.TokenBytes.from_byte_level(tokens, control)
    return _finished(cls, data, backend, table, tokens, kinds, ids, add_bos=rule.add_bos)


def _sentencepiece(cls: type[Tokenizer], data: Metadata) -> Tokenizer:
    tokens, kinds = _tokens(data)
    scores = sentencepiece.checked_scores(data._get("tokenizer.ggml.scores"), len(tokens))
    if scores is None:
        raise format_error(data.file, "tokenizer.ggml.scores", f"{len(tokens)} finite numbers, one per token", "others")
    for key in ("remove_extra_whitespaces", "precompiled_charsmap"):
        if data._get(f"tokenizer.ggml.{key}"):
            what = f"{data.file}: tokenizer.ggml.{key}"
            raise UnsupportedModel.of(what, "text is taken as it is; token ids work without a tokenizer")
    for i, (token, kind) in enumerate(zip(tokens, kinds, strict=True)):
        if token is not None and kind == Kind.BYTE and sentencepiece.byte_of(token) is None:
            raise format_error(data.file, f"tokenizer.ggml.tokens[{i}]", "a byte, <0x00> to <0xFF>", repr(token)[:40])
    ids = {name: data.token_id(f"ggml.{key}_token_id", tokens) for name, key in _ID_KEYS.items()}
    # What llama.cpp takes where old files say nothing.
    for name, i in (("unk_token", 0), ("bos_token", 1), ("eos_token", 2)):
        if ids[name] is None and i < len(kinds) and kinds[i] in (Kind.UNKNOWN, Kind.CONTROL):
            ids[name] = i
    space = data.of_type("ggml.add_space_prefix", bool, "a truth value") is not False
    try:
        backend = sentencepiece.pipeline(tokens, kinds, scores, ids["unk_token"], space=space)
    except Exception as error:  # tokenizers raises plain Exception
        raise format_error(data.file, "tokenizer.ggml.tokens", "a vocabulary of pieces", error) from error
    pieces = zip(tokens, kinds, strict=True)
    spelled = [None if token is None else sentencepiece.piece_bytes(token, kind) for token, kind in pieces]
    table = _core.TokenBytes.from_bytes(spelled, _control(tokens, kinds))
    return _finished(cls, data, backend, table, tokens, kinds, ids, add_bos=True, puts_space=space)


def _control(tokens: Sequence[str | None], kinds: Sequence[int]) -> list[int]:
    return [i for i, kind in enumerate(kinds) if kind in (Kind.CONTROL, Kind.UNKNOWN) and tokens[i] is not None]


def _finished(
    cls: type[Tokenizer],
    data: Metadata,
    backend: Any,
    table: _core.TokenBytes,
    tokens: list[str | None],
    kinds: list[int],
    ids: dict[str, int | None],
    *,
    add_bos: bool,
    puts_space: bool = False,
) -> Tokenizer:
    """What both kinds have in common: tokens that are never cut, ends, template."""
    from tokenizers import AddedToken

    texts = [i for i, kind in enumerate(kinds) if kind == Kind.USER_DEFINED]
    control = _control(tokens, kinds)
    backend.add_special_tokens([AddedToken(tokens[i], normalized=False, special=True) for i in control if tokens[i]])
    backend.add_tokens([AddedToken(tokens[i], normalized=False, special=False) for i in texts if tokens[i]])
    _add_ends(backend, data, ids, tokens, add_bos)
    return cls(
        backend,
        table,
        chat_template=data.of_type("chat_template", str, "a string"),
        special_tokens={name: tokens[i] or "" for name, i in ids.items() if i is not None and name in _SPECIAL},
        stop_ids=[i for name in ("eos_token", "eot_token") if (i := ids[name]) is not None],
        puts_space=puts_space,
    )


def _tokens(data: Metadata) -> tuple[list[str | None], list[int]]:
    """Spelling and kind of each id; padding rows ("unused") are holes."""
    spellings = data.texts("ggml.tokens")
    kinds = data._get("tokenizer.ggml.token_type")
    kinds = [1] * len(spellings) if kinds is None else [int(kind) for kind in kinds]
    if not spellings or len(kinds) != len(spellings):
        got = f"{len(spellings)} tokens and {len(kinds)} types"
        raise format_error(data.file, "tokenizer.ggml.tokens", "a list with a type for each token", got)
    return [t if kind != Kind.UNUSED else None for t, kind in zip(spellings, kinds, strict=True)], kinds


def _add_ends(
    backend: Any, data: Metadata, ids: dict[str, int | None], tokens: list[str | None], add_bos: bool
) -> None:
    """The tokens that encoding a string puts around it."""
    from tokenizers.processors import TemplateProcessing

    wanted = {"bos_token": data.of_type("ggml.add_bos_token", bool, "a truth value")}
    wanted["eos_token"] = data.of_type("ggml.add_eos_token", bool, "a truth value")
    if wanted["bos_token"] is None:
        wanted["bos_token"] = add_bos
    around = {name: i for name, want in wanted.items() if want and (i := ids[name]) is not None}
    if not around:
        return
    template = ["$A"]
    if "bos_token" in around:
        template.insert(0, tokens[around["bos_token"]] or "")
    if "eos_token" in around:
        template.append(tokens[around["eos_token"]] or "")
    backend.post_processor = TemplateProcessing(
        single=template, special_tokens=[(tokens[i], i) for i in set(around.values())]
    )
