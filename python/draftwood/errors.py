"""The errors that Draftwood raises: one tree, each message says what was expected, what came, and what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = [
    "DraftwoodError",
    "IndexFormatError",
    "InternalError",
    "InvalidArgument",
    "KernelError",
    "ModelFormatError",
    "OutOfPages",
    "UnsupportedModel",
]


class DraftwoodError(Exception):
    """Base of all errors of this library; the parts of the message are attributes, when the error has them."""

    what: str | None
    expected: str | None
    got: str | None
    hint: str | None
    output: Any
    """What had been generated when the error ended a text (an `Output`), else None."""

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        for name in ("what", "expected", "got", "hint", "output"):
            setattr(self, name, details.pop(name, None))
        for name, value in details.items():
            setattr(self, name, value)


def shown_as(write: Callable[[object], str], value: object) -> str:
    """`write(value)`; what cannot be written, such as integers of thousands of digits, by its type."""
    try:
        return write(value)
    except Exception:
        return f"a value of type {type(value).__name__} that cannot be shown"


class InvalidArgument(DraftwoodError, ValueError):
    """A caller's value is outside its contract."""

    @classmethod
    def of(cls, what: str, expected: str, got: object, hint: str = "") -> InvalidArgument:
        """The error with the standard sentence "`what` must be `expected`, got `got`"."""
        shown = got if isinstance(got, str) else shown_as(str, got)
        text = f"{what} must be {expected}, got {shown}" + (f"; {hint}" if hint else "")
        return cls(text, what=what, expected=expected, got=shown, hint=hint)


class ModelFormatError(DraftwoodError):
    """A model file is damaged, truncated or hostile; `file` and `offset` say where."""


class IndexFormatError(DraftwoodError):
    """A retrieval index is damaged (`file` and `offset` say where) or belongs to another tokenizer."""


class OutOfPages(DraftwoodError):
    """The cache cannot hold the request; `needed`, `free` and `total` are pages."""


class UnsupportedModel(DraftwoodError):
    """The model is sound but asks for something that is not built; `what` names it."""

    @classmethod
    def of(cls, what: str, hint: str) -> UnsupportedModel:
        """The error with the standard sentence "`what` is not supported; `hint`"."""
        return cls(f"{what} is not supported; {hint}", what=what, hint=hint)


class KernelError(DraftwoodError):
    """A CUDA kernel could not be compiled or failed."""


class InternalError(DraftwoodError):
    """A broken invariant of ours: please report it with the steps that led there."""
