"""Values of a configuration with their types."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from . import format_error

__all__ = ["Reader", "short"]

_POSITIONS = 2**31 - 1


class Reader:
    """A wrong type or range is the file's fault and says so; `get` returns None for what is not there."""

    def __init__(self, path: object, get: Callable[[str], Any]) -> None:
        self.path, self._get_value = path, get

    def integer(self, key: str, default: int | None, *, least: int = 1, most: int = _POSITIONS) -> Any:
        value = self._get(key, default)
        if value is not None and not (type(value) is int and least <= value <= most):
            raise format_error(self.path, key, f"an integer from {least} to {most}", short(value))
        return value

    def real(self, key: str, default: float | None) -> Any:
        value = self._get(key, default)
        if value is not None and not (type(value) in (int, float) and math.isfinite(value) and value > 0):
            raise format_error(self.path, key, "a positive number", short(value))
        return value

    def text(self, key: str, default: str | None) -> Any:
        return self._typed(key, default, str, "a string")

    def flag(self, key: str, default: bool | None) -> Any:
        return self._typed(key, default, bool, "true or false")

    def items(self, key: str) -> Any:
        return self._typed(key, None, list, "a list")

    def table(self, key: str) -> Any:
        return self._typed(key, None, dict, "a table")

    def ids(self, key: str) -> list[int]:
        """One token id, a list of them, or none."""
        value = self._get(key, [])
        value = value if isinstance(value, list) else [value]
        if not all(type(one) is int for one in value):
            raise format_error(self.path, key, "token ids", short(value))
        return value

    def required(self, value: Any, key: str) -> Any:
        if value is None:
            raise format_error(self.path, key, "there", "none")
        return value

    def _typed(self, key: str, default: Any, kind: type, words: str) -> Any:
        value = self._get(key, default)
        if value is not None and not isinstance(value, kind):
            raise format_error(self.path, key, words, short(value))
        return value

    def _get(self, key: str, default: Any) -> Any:
        value = self._get_value(key)
        return default if value is None else value


def short(value: object) -> str:
    """A value for a message, cut."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
