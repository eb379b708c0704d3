"""From chat messages to ids: the template's control tokens act, those spelled inside a message are text."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .. import _core
from ..errors import InvalidArgument

__all__ = ["ChatEncoder"]


class ChatEncoder:
    """Renders a template and encodes the result.

    Where every control token of the rendered text is the template's own, the text is encoded in one piece, as
    transformers does. Where a message spells one, the text comes in pieces: control tokens that the template wrote, and
    what is between, which is encoded as ordinary text.
    """

    def __init__(self, template: str, special_tokens: Mapping[str, str], control: Mapping[str, int]) -> None:
        self._template = _core.ChatTemplate(template, list(control))
        self._special_tokens = list(special_tokens.items())
        self._control = dict(control)
        self._control_ids = set(control.values())

    def encode(
        self,
        messages: Sequence[Any],
        encode: Callable[[str], list[int]],
        encode_ordinary: Callable[[str], list[int]],
        *,
        add_generation_prompt: bool,
    ) -> list[int]:
        """Ids of a chat; `encode` acts on control tokens, `encode_ordinary` takes them for text."""
        variables = {
            "messages": [_message(i, message) for i, message in enumerate(messages)],
            "add_generation_prompt": add_generation_prompt,
            "tools": None,
            "documents": None,
        }
        text, pieces, is_plain = self._template.render(json.dumps(variables, ensure_ascii=False), self._special_tokens)
        if is_plain:
            ids = encode(text)
            # A normalizer may make a control token out of text that does not spell one; then there are too many.
            written = sum(is_control for is_control, _ in pieces)
            if sum(i in self._control_ids for i in ids) <= written:
                return ids
        ids = []
        for is_control, piece in pieces:
            ids += [self._control[piece]] if is_control else encode_ordinary(piece)
        return ids


def _message(i: int, message: Any) -> dict[str, Any]:
    what = f"message {i} of a chat"
    hint = 'a message is {"role": "user", "content": "…"}'
    if not isinstance(message, Mapping):
        raise InvalidArgument.of(what, "a mapping", type(message).__name__, hint)
    if not isinstance(message.get("role"), str):
        raise InvalidArgument.of(f"the role of {what}", "a string", repr(message.get("role")), hint)
    try:
        # As transformers does: many templates print the word None where a client sent a null.
        given = {key: value for key, value in message.items() if value is not None}
        json.dumps(given, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument.of(what, "text, numbers, lists and mappings of them", str(error), hint) from None
    return given
