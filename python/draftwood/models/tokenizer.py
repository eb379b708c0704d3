"""Text to ids and back: the engine's view of a byte-level or SentencePiece tokenizer, whatever it was read from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import _core
from ..errors import InvalidArgument, UnsupportedModel
from . import tokenizer_gguf, tokenizer_pipeline
from .chat import ChatEncoder
from .tokenizer_gguf import Metadata

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
        return tokenizer_gguf.read(cls, Metadata(metadata, file))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Tokenizer:
        """From a `tokenizer.json`, or the folder that holds one; `tokenizer_config.json` and `chat_template.jinja`
        beside it name the special tokens and the chat template.

        Errors
            InvalidArgument (no such file), ModelFormatError (damaged), UnsupportedModel (neither byte-level nor
            SentencePiece BPE).
        """
        return tokenizer_pipeline.read_file(cls, Path(path))

    @classmethod
    def from_transformers(cls, tokenizer: Any) -> Tokenizer:
        """From a fast tokenizer of transformers; it is copied, so later changes to it have no effect.

        Errors
            UnsupportedModel for a tokenizer without a `tokenizers` backend, or one that is neither byte-level nor
            SentencePiece BPE.
        """
        return tokenizer_pipeline.copy(cls, tokenizer)

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
