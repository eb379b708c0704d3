"""Text to ids and back: the engine's view of a byte-level or SentencePiece tokenizer, whatever it was read from."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import _core
from ..errors import InvalidArgument, ModelFormatError, UnsupportedModel
from . import sentencepiece
from .chat import ChatEncoder
from .pretokenizers import BY_NAME
from .sentencepiece import Kind

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Tokenizer"]


class Tokenizer:
    """Encodes strings and chats, decodes ids, and says what each id stands for.

    Made by `from_gguf`, `from_file` or `from_transformers`; never changes, and may be used from several threads.
    """

    token_bytes: _core.TokenBytes
    """Bytes of every id, shared with the sessions."""
    chat_template: str | None
    """Jinja source, untrusted."""
    stop_ids: tuple[int, ...]
    """Ids that the tokenizer says end a text, ascending."""

    def __init__(
        self,
        backend: Any,
        token_bytes: _core.TokenBytes,
        *,
        chat_template: str | None = None,
        special_tokens: Mapping[str, str] | None = None,
        stop_ids: Iterable[int] = (),
        puts_space: bool = False,
    ) -> None:
        self._backend = backend
        self.token_bytes = token_bytes
        self.chat_template = chat_template
        self._special_tokens = dict(special_tokens or {})
        self.stop_ids = tuple(sorted(set(stop_ids)))
        self._puts_space = puts_space

    @classmethod
    def from_gguf(cls, metadata: Callable[[str], Any], file: str = "the GGUF file") -> Tokenizer:
        """From the metadata of a GGUF file; `metadata(key)` gives a Python value or None, `file` is for messages.

        Errors
            UnsupportedModel for a kind of tokenizer or a pre-tokenizer that is not built (names it); ModelFormatError
            for metadata that do not fit together.
        Cost
            About a third of a second for 50,000 tokens and merges.
        """
        return _gguf(cls, _Metadata(metadata, file))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Tokenizer:
        """From a `tokenizer.json`, or the folder that holds one; `tokenizer_config.json` and `chat_template.jinja`
        beside it name the special tokens and the chat template.

        Errors
            InvalidArgument (no such file), ModelFormatError (damaged), UnsupportedModel (neither byte-level nor
            SentencePiece BPE).
        """
        from tokenizers import Tokenizer as Backend

        path = Path(path)
        path = path / "tokenizer.json" if path.is_dir() else path
        if not path.is_file():
            raise InvalidArgument.of("the tokenizer", "a tokenizer.json, or a folder with one", f"'{path}'")
        try:
            backend = Backend.from_file(str(path))
        except Exception as error:  # tokenizers raises plain Exception
            raise _damaged(str(path), "the file", "a tokenizer of the tokenizers library", error) from error
        config = _config(path.with_name("tokenizer_config.json"))
        names = ("bos_token", "eos_token", "unk_token", "pad_token")
        specials = {name: text for name in names if (text := _token_text(config.get(name))) is not None}
        template = config.get("chat_template")
        jinja = path.with_name("chat_template.jinja")
        if jinja.is_file():
            template = jinja.read_text(encoding="utf-8")
        eos = backend.token_to_id(specials["eos_token"]) if "eos_token" in specials else None
        return _wrap(cls, backend, template, specials, [] if eos is None else [eos])

    @classmethod
    def from_transformers(cls, tokenizer: Any) -> Tokenizer:
        """From a fast tokenizer of transformers; it is copied, so later changes to it have no effect.

        Errors
            UnsupportedModel for a tokenizer without a `tokenizers` backend, or one that is neither byte-level nor
            SentencePiece BPE.
        """
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

    @property
    def vocab_size(self) -> int:
        """Ids from 0 to the highest one with a token; logit rows of a model may be longer."""
        return len(self.token_bytes)

    @cached_property
    def control_ids(self) -> tuple[int, ...]:
        """Ids of tokens that are no text (ends, turn markers), ascending."""
        return tuple(self.token_bytes.control_ids())

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over what every id stands for, padding ids cut: equal for a GGUF and a folder of one model."""
        return hashlib.sha256(self.token_bytes.canonical()).hexdigest()

    def encode(self, text: str) -> NDArray[np.int32]:
        """Ids [T] of `text`, with the special tokens that the tokenizer adds by default.

        Control tokens spelled in `text` become control tokens: a string prompt is the caller's own.

        Errors
            InvalidArgument for text with lone surrogates.
        """
        import numpy as np

        return np.array(self._encode(self._backend, text, add_special_tokens=True), np.int32)

    def encode_plain(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """Ids [T] of each text as data: no special tokens are added, control tokens spelled in it are ordinary text.

        Errors
            InvalidArgument for text with lone surrogates.
        Cost
            All texts at once on all cores.
        """
        import numpy as np

        for text in texts:
            _check_text(text)
        batch = self._ordinary.encode_batch(list(texts), add_special_tokens=False)
        return [np.array(one.ids, np.int32) for one in batch]

    def encode_chat(self, messages: Sequence[Any], *, add_generation_prompt: bool = True) -> NDArray[np.int32]:
        """Ids [T] of a chat through the model's template; control tokens spelled in a message are ordinary text.

        Errors
            UnsupportedModel without a template; InvalidArgument for messages that are none or that it refuses.
        """
        import numpy as np

        ids = self._chat.encode(
            messages,
            lambda text: self._encode(self._backend, text, add_special_tokens=False),
            lambda text: self._encode(self._ordinary, text, add_special_tokens=False),
            add_generation_prompt=add_generation_prompt,
        )
        return np.array(ids, np.int32)

    @cached_property
    def _chat(self) -> ChatEncoder:
        if self.chat_template is None:
            raise UnsupportedModel.of("a chat without a chat template", "this model has none: pass a string or ids")
        control = {token: i for i in self.control_ids if (token := self._backend.id_to_token(i)) is not None}
        return ChatEncoder(self.chat_template, self._special_tokens, control)

    @cached_property
    def _ordinary(self) -> Any:
        """The pipeline with its control tokens taken for text."""
        ordinary = type(self._backend).from_str(self._backend.to_str())
        ordinary.encode_special_tokens = True
        return ordinary

    def decode(self, ids: Sequence[int] | NDArray[Any]) -> str:
        """Text of `ids` without the control tokens; bytes that are no UTF-8 become U+FFFD.

        A space at the start is left out if encoding puts one there (SentencePiece), so that a text comes back.

        Errors
            InvalidArgument for an id outside the vocabulary.
        """
        import numpy as np

        text = self.token_bytes.decode(np.ascontiguousarray(ids, np.int32))
        return text.removeprefix(" ") if self._puts_space else text

    def _encode(self, backend: Any, text: str, *, add_special_tokens: bool) -> list[int]:
        _check_text(text)
        ids: list[int] = backend.encode(text, add_special_tokens=add_special_tokens).ids
        return ids


def _check_text(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        got = f"a lone surrogate at character {error.start}"
        raise InvalidArgument.of("text", "valid Unicode", got, "decode files with errors='replace'") from None


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


class _Metadata:
    """Metadata of a GGUF file with types; what does not fit is the file's fault and says so."""

    def __init__(self, get: Callable[[str], Any], file: str) -> None:
        self._get, self.file = get, file

    def of_type(self, key: str, kind: type, expected: str) -> Any:
        """A single value, None if the file has none."""
        value = self._get(f"tokenizer.{key}")
        if value is None or (isinstance(value, kind) and isinstance(value, bool) == (kind is bool)):
            return value
        raise _damaged(self.file, f"tokenizer.{key}", expected, repr(value)[:40])

    def texts(self, key: str) -> list[str]:
        """A list of strings, empty if the file has none."""
        values = self._get(f"tokenizer.{key}")
        values = [] if values is None else values
        if not isinstance(values, list | tuple):
            raise _damaged(self.file, f"tokenizer.{key}", "a list of strings", repr(values)[:40])
        bad = next((value for value in values if not isinstance(value, str)), None)
        if bad is not None:
            raise _damaged(self.file, f"tokenizer.{key}", "a list of strings", repr(bad)[:40])
        return list(values)

    def token_id(self, key: str, tokens: Sequence[str | None]) -> int | None:
        """An id with a token, None if the file has none."""
        value: int | None = self.of_type(key, int, "an id")
        if value is not None and not (0 <= value < len(tokens) and tokens[value] is not None):
            raise _damaged(self.file, f"tokenizer.{key}", f"an id with a token, below {len(tokens)}", value)
        return value


def _gguf(cls: type[Tokenizer], data: _Metadata) -> Tokenizer:
    model = data.of_type("ggml.model", str, "a name")
    if model == "gpt2":
        return _gguf_byte_level(cls, data)
    if model == "llama":
        return _gguf_sentencepiece(cls, data)
    what = f"{data.file} without a tokenizer" if model is None else f"{data.file}: tokenizer.ggml.model = {model!r}"
    hint = "byte-level BPE ('gpt2') and SentencePiece BPE ('llama') are read; token ids work without a tokenizer"
    raise UnsupportedModel.of(what, hint)


def _gguf_byte_level(cls: type[Tokenizer], data: _Metadata) -> Tokenizer:
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
        raise _damaged(data.file, f"tokenizer.ggml.merges[{bad}]", "two tokens with a space between", merges[bad])
    try:
        backend = Backend(BPE(vocabulary, merges, ignore_merges=rule.whole_words))
    except Exception as error:  # tokenizers raises plain Exception
        raise _damaged(data.file, "tokenizer.ggml.merges", "merges of tokens into tokens", error) from error
    normalizer = rule.normalizer()
    if normalizer is not None:
        backend.normalizer = normalizer
    backend.pre_tokenizer = rule.pipeline()
    backend.decoder = decoders.ByteLevel()
    ids = {name: data.token_id(f"ggml.{key}_token_id", tokens) for name, key in _ID_KEYS.items()}
    control = _control(tokens, kinds)
    table = _core.TokenBytes.from_byte_level(tokens, control)
    return _gguf_tokenizer(cls, data, backend, table, tokens, kinds, ids, add_bos=rule.add_bos)


def _gguf_sentencepiece(cls: type[Tokenizer], data: _Metadata) -> Tokenizer:
    tokens, kinds = _tokens(data)
    scores = sentencepiece.checked_scores(data._get("tokenizer.ggml.scores"), len(tokens))
    if scores is None:
        raise _damaged(data.file, "tokenizer.ggml.scores", f"{len(tokens)} finite numbers, one per token", "others")
    for key in ("remove_extra_whitespaces", "precompiled_charsmap"):
        if data._get(f"tokenizer.ggml.{key}"):
            what = f"{data.file}: tokenizer.ggml.{key}"
            raise UnsupportedModel.of(what, "text is taken as it is; token ids work without a tokenizer")
    for i, (token, kind) in enumerate(zip(tokens, kinds, strict=True)):
        if token is not None and kind == Kind.BYTE and sentencepiece.byte_of(token) is None:
            raise _damaged(data.file, f"tokenizer.ggml.tokens[{i}]", "a byte, <0x00> to <0xFF>", repr(token)[:40])
    ids = {name: data.token_id(f"ggml.{key}_token_id", tokens) for name, key in _ID_KEYS.items()}
    # What llama.cpp takes where old files say nothing.
    for name, i in (("unk_token", 0), ("bos_token", 1), ("eos_token", 2)):
        if ids[name] is None and i < len(kinds) and kinds[i] in (Kind.UNKNOWN, Kind.CONTROL):
            ids[name] = i
    space = data.of_type("ggml.add_space_prefix", bool, "a truth value") is not False
    try:
        backend = sentencepiece.pipeline(tokens, kinds, scores, ids["unk_token"], space=space)
    except Exception as error:  # tokenizers raises plain Exception
        raise _damaged(data.file, "tokenizer.ggml.tokens", "a vocabulary of pieces", error) from error
    pieces = zip(tokens, kinds, strict=True)
    spelled = [None if token is None else sentencepiece.piece_bytes(token, kind) for token, kind in pieces]
    table = _core.TokenBytes.from_bytes(spelled, _control(tokens, kinds))
    return _gguf_tokenizer(cls, data, backend, table, tokens, kinds, ids, add_bos=True, puts_space=space)


def _control(tokens: Sequence[str | None], kinds: Sequence[int]) -> list[int]:
    return [i for i, kind in enumerate(kinds) if kind in (Kind.CONTROL, Kind.UNKNOWN) and tokens[i] is not None]


def _gguf_tokenizer(
    cls: type[Tokenizer],
    data: _Metadata,
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


_ID_KEYS = {
    "bos_token": "bos",
    "eos_token": "eos",
    "eot_token": "eot",
    "unk_token": "unknown",
    "pad_token": "padding",
}
_SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token")


def _tokens(data: _Metadata) -> tuple[list[str | None], list[int]]:
    """Spelling and kind of each id; padding rows ("unused") are holes."""
    spellings = data.texts("ggml.tokens")
    kinds = data._get("tokenizer.ggml.token_type")
    kinds = [1] * len(spellings) if kinds is None else [int(kind) for kind in kinds]
    if not spellings or len(kinds) != len(spellings):
        got = f"{len(spellings)} tokens and {len(kinds)} types"
        raise _damaged(data.file, "tokenizer.ggml.tokens", "a list with a type for each token", got)
    return [t if kind != Kind.UNUSED else None for t, kind in zip(spellings, kinds, strict=True)], kinds


def _add_ends(
    backend: Any, data: _Metadata, ids: dict[str, int | None], tokens: list[str | None], add_bos: bool
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


def _damaged(file: str, what: str, expected: str, got: object) -> ModelFormatError:
    text = f"{file}: {what} must be {expected}, got {got}"
    return ModelFormatError(text, what=what, expected=expected, got=str(got), hint="", file=file)


def _config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _damaged(str(path), "the file", "JSON", error) from error
    if not isinstance(config, dict):
        raise _damaged(str(path), "the file", "a JSON object", type(config).__name__)
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
