"""The engine's steps under SEAL: searches that are no beam search, driven like one.

The seam is `beams.SessionSearch`: its `search` needs `step(values, rows, kind)`, which tells the beams that go on, and
`done`. Whatever has these two runs in the engine's steps beside beam searches; nothing else here knows the engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..beams import SessionSearch
from ..errors import InvalidArgument

if TYPE_CHECKING:
    from ..engine import Engine
    from ..reads import Read

__all__ = ["Prompted", "engine_of", "most_beams", "run_searches"]


class Prompted:
    """A search after a prompt. Shapes: ids [T] int32; width: most live beams; length: most tokens.

    `read` is what the model's encoder reads, if it has one; searches that share it share its keys.
    """

    def __init__(self, ids: Any, search: Any, width: int, length: int, read: Read | None = None) -> None:
        self.ids, self.search, self.width, self.length, self.read = ids, search, width, length, read


def engine_of(engine: Any) -> Engine:
    """`engine`, if it is one."""
    from ..engine import Engine

    if not isinstance(engine, Engine):
        hint = "Engine.load loads a model"
        raise InvalidArgument.of("engine", "an Engine", type(engine).__name__, hint)
    return engine


def most_beams(engine: Engine) -> int:
    """Most beams that a step of the engine has rows for."""
    with engine._lock:
        return engine._beams.core.widest


def run_searches(engine: Engine, searches: Sequence[Prompted]) -> list[SessionSearch]:
    """Runs all searches side by side to their ends; raises the first error of one."""
    driver, since = engine._beams, engine._session.times
    opened = []
    for one in searches:
        opened.append(SessionSearch(one.ids, one.search, one.width, one.length, since))
        opened[-1].encoded = one.read
    try:
        for search in opened:
            with engine._lock:
                engine._admit()
                driver.core.add(search)
        for search in opened:
            driver.advance(search)
            if search.error is not None:
                raise search.error
    finally:
        for search in opened:
            driver.core.release(search)
        with engine._freed:
            engine._freed.notify_all()
    return opened
