"""The engine's steps under SEAL: searches that are no beam search, driven like one.

The seam is `beams.SessionSearch`: its `search` needs `step(values, rows, kind)`, which tells the beams that go on, and
`done`. Whatever has these two runs in the engine's steps beside beam searches; nothing else here knows the engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..beams import SessionSearch
from ..errors import UnsupportedModel

if TYPE_CHECKING:
    from ..engine import Engine

__all__ = ["Prompted", "most_beams", "run_searches"]


class Prompted:
    """A search after a prompt. Shapes: ids [T] int32; width: most live beams; length: most tokens."""

    def __init__(self, ids: Any, search: Any, width: int, length: int) -> None:
        self.ids, self.search, self.width, self.length = ids, search, width, length


def most_beams(engine: Engine) -> int:
    """Most beams that a step of the engine has rows for."""
    with engine._lock:
        return engine._beams.core.widest


def run_searches(engine: Engine, searches: Sequence[Prompted]) -> None:
    """Runs all searches side by side to their ends; raises the first error of one."""
    if getattr(engine.executor, "settings", None) is not None:
        hint = "prompts go to the decoder here; take a decoder-only model"
        raise UnsupportedModel.of(f"searches of an index on {engine.name}, an encoder–decoder,", hint)
    driver, since = engine._beams, engine._session.times
    opened = [SessionSearch(one.ids, one.search, one.width, one.length, since) for one in searches]
    try:
        for search in opened:
            with engine._lock:
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
