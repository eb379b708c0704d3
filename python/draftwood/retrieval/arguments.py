"""What callers give an index beside ids: paths, functions to call, things to go through."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from ..errors import InvalidArgument

__all__ = ["MOST", "callback_of", "iterable_of", "path_of"]

MOST = 2**63 - 1
"""Where a number has no bound of its own: more than there can be."""

Called = TypeVar("Called", bound=Callable[..., Any])


def path_of(path: Any, what: str) -> str:
    """`path` as a string; `what` names it in errors."""
    try:
        plain = os.fspath(path)
    except TypeError:
        plain = None
    if not isinstance(plain, str):
        raise InvalidArgument.of(what, "a string or a path", type(path).__name__)
    try:
        if b"\0" not in os.fsencode(plain):
            return plain
    except UnicodeEncodeError:
        pass
    raise InvalidArgument.of(what, "a path without NUL characters and lone surrogates", repr(plain))


def callback_of(function: Called | None, what: str) -> Called | None:
    """`function`, if it can be called."""
    if function is not None and not callable(function):
        raise InvalidArgument.of(what, "a function or None", type(function).__name__)
    return function


def iterable_of(values: Any, what: str, expected: str) -> Iterable[Any]:
    """`values`, if one can go through them."""
    try:
        iter(values)
    except TypeError:
        raise InvalidArgument.of(what, expected, type(values).__name__) from None
    return values
