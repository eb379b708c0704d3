"""What a forked child finds of its parent's engines: idle ones work on, one that was in a step says that it cannot.

A fork copies memory and one thread. Locks that other threads hold stay locked in the child for ever, and what they
guard stays half-done. So each lock of an engine is looked at in the child: if it was free, the engine is as it was; if
not, the engine is lost to the child, and every use of it raises.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any, Protocol

from .errors import InvalidArgument

__all__ = ["StepLock", "outlive_forks"]


class Forkable(Protocol):
    """What is told that it is now in a child."""

    def _forked(self) -> None:
        """Renews what belonged to threads of the parent. Must take no lock."""


class StepLock:
    """The lock of an engine: held during steps, and raising instead of waiting for a thread that stayed in the parent.

    Errors
        InvalidArgument from all methods but `release`, in a child that was forked while it was held.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lost = False

    @property
    def lost(self) -> bool:
        """Whether a thread of the parent held it when this process was forked."""
        return self._lost

    def check(self) -> None:
        """Raises if it is lost."""
        if self._lost:
            raise InvalidArgument.of(
                "an engine in a forked process",
                "one that no thread was running when the process was forked",
                "one in the middle of a step",
                "load the model in the child, or fork between steps",
            )

    def acquire(self, blocking: bool = True) -> bool:
        """As `threading.Lock`."""
        self.check()
        return self._lock.acquire(blocking)

    def release(self) -> None:
        """As `threading.Lock`; a step that forked on its way returns in the child too."""
        if not self._lost:
            self._lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def forked(self) -> None:
        """Looks at it in the child."""
        self._lost = self._lost or self._lock.locked()
        self._lock = threading.Lock()


_living: weakref.WeakSet[Any] = weakref.WeakSet()
_hooked = False


def outlive_forks(thing: Forkable) -> None:
    """Calls `thing._forked()` in each child that is forked while the thing lives."""
    global _hooked
    if not _hooked:
        _hooked = True
        os.register_at_fork(after_in_child=_in_child)
    _living.add(thing)


def _in_child() -> None:
    for thing in list(_living):
        thing._forked()
