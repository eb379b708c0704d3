"""From chat messages to ids: the template's control tokens act, those spelled inside a message are text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .. import _core
from ..errors import InvalidArgument

__all__ = ["ChatEncoder"]

# Unicode noncharacters: they never occur in interchanged text, so one of them is free to break a spelling.
_SENTINELS = [chr(code) for code in range(0xFDD0, 0xFDF0)]


class ChatEncoder:
    """Renders a template and encodes the result.

    Without spelled control tokens in the messages the whole text is encoded in one piece, as transformers does. With
    them, the spellings are broken by a character that no message holds, the rendered text is cut at the control
    tokens that are left, which are the template's own, and the pieces between are encoded as ordinary text.
    """

    def __init__(self, template: str, special_tokens: Mapping[str, str], control: Mapping[str, int]) -> None:
        self._template = _core.ChatTemplate(template)
        self._special_tokens = dict(special_tokens)
        self._control = dict(control)
        spelled = sorted(filter(None, control), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, spelled))) if spelled else None

    def encode(
        self,
        messages: Sequence[Any],
        encode: Callable[[str], list[int]],
        encode_ordinary: Callable[[str], list[int]],
        *,
        add_generation_prompt: bool,
    ) -> list[int]:
        """Ids of a chat; `encode` acts on control tokens, `encode_ordinary` takes them for text."""
        checked = [_message(i, message) for i, message in enumerate(messages)]
        found = self._pattern and any(self._pattern.search(text) for text in _texts(checked))
        if not found or self._pattern is None:
            return encode(self._render(checked, add_generation_prompt))
        used = "".join(_texts(checked))
        sentinel = next((s for s in _SENTINELS if s not in used), None)
        if sentinel is None:
            raise InvalidArgument.of("the messages of a chat", "Unicode text", "text with every noncharacter")
        broken = _map_texts(checked, lambda text: self._break(text, sentinel))
        return self._encode_pieces(self._render(broken, add_generation_prompt), sentinel, encode_ordinary)

    def _break(self, text: str, sentinel: str) -> str:
        """Puts the sentinel into each spelling; again, since removing one spelling may complete another."""
        assert self._pattern is not None
        while (match := self._pattern.search(text)) is not None:
            at = match.start() + 1
            text = text[:at] + sentinel + text[at:]
        return text

    def _encode_pieces(self, text: str, sentinel: str, encode_ordinary: Callable[[str], list[int]]) -> list[int]:
        assert self._pattern is not None
        ids: list[int] = []
        start = 0
        for match in self._pattern.finditer(text):
            ids += encode_ordinary(text[start : match.start()].replace(sentinel, ""))
            ids.append(self._control[match.group()])
            start = match.end()
        return ids + encode_ordinary(text[start:].replace(sentinel, ""))

    def _render(self, messages: list[dict[str, Any]], add_generation_prompt: bool) -> str:
        variables = {
            **self._special_tokens,
            "messages": messages,
            "add_generation_prompt": add_generation_prompt,
            "tools": None,
            "documents": None,
        }
        return self._template.render(json.dumps(variables, ensure_ascii=False))


def _message(i: int, message: Any) -> dict[str, Any]:
    what = f"message {i} of a chat"
    hint = 'a message is {"role": "user", "content": "…"}'
    if not isinstance(message, Mapping):
        raise InvalidArgument.of(what, "a mapping", type(message).__name__, hint)
    if not isinstance(message.get("role"), str):
        raise InvalidArgument.of(f"the role of {what}", "a string", repr(message.get("role")), hint)
    try:
        text = json.dumps(dict(message), ensure_ascii=False)
        text.encode("utf-8")
    except (TypeError, ValueError) as error:
        raise InvalidArgument.of(what, "text, numbers, lists and mappings of them", str(error), hint) from None
    copy: dict[str, Any] = json.loads(text)
    return copy


def _texts(value: Any) -> Iterable[str]:
    """All strings in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)


def _map_texts(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: _map_texts(one, change) for key, one in value.items()}
    if isinstance(value, list):
        return [_map_texts(one, change) for one in value]
    return value
