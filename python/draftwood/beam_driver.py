"""The engine's searches: opened for a caller, led step by step by whoever waits, released when the caller leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .errors import DraftwoodError, InvalidArgument, UnsupportedModel
from .loading import _STEP_ROWS
from .types import BeamParams, Beams

if TYPE_CHECKING:
    from .beams import SessionSearch
    from .running import RunningEngine
    from .searching import SearchCore

__all__ = ["BeamDriver"]


class BeamDriver:
    """All searches of an engine. Their steps and those of other texts take turns under the engine's lock."""

    def __init__(self, engine: RunningEngine, nodes: int, stop_ids: Sequence[int], max_context: int) -> None:
        self._engine, self._nodes, self._stop_ids, self._context = engine, nodes, stop_ids, max_context
        self._core: SearchCore | None = None

    @property
    def core(self) -> SearchCore:
        """Made by the first search. Call it under the engine's lock."""
        if self._core is None:
            from .searching import SearchCore

            always = self._engine._draft_policy == "always"
            self._core = SearchCore(self._engine._session.core, _STEP_ROWS, self._nodes, self._hold_others, always)
        return self._core

    def run(
        self,
        prompts: Sequence[Any],
        params: Sequence[BeamParams],
        begins: Sequence[Any],
        is_left: Callable[[], bool],
    ) -> list[Beams]:
        """Searches for all prompts side by side; ends unfinished once its caller has left."""
        engine = self._engine
        opened: list[SessionSearch] = []
        try:
            for prompt, its, begin in zip(prompts, params, begins, strict=True):
                opened.append(self.open(prompt, its, begin))
            for search in opened:
                self.advance(search, is_left)
        finally:
            for search in opened:
                self.core.release(search)
            with engine._freed:
                engine._freed.notify_all()
        decode = None if engine.tokenizer is None else engine.tokenizer.decode
        return [search.beams(decode) for search in opened]

    def open(self, prompt: Any, params: BeamParams, begin: Any = None) -> SessionSearch:
        """Queues a search; checks every field."""
        from .beams import open_search
        from .processing import check_tokenizer
        from .reads import read_prompt

        engine = self._engine
        self._check_open()
        check_tokenizer(params.processors, engine.tokenizer)
        ids, read = read_prompt(engine, prompt, begin)
        search = open_search(
            ids,
            params,
            read=read,
            end_tokens=self._stop_ids,
            vocab=engine.executor.caps.vocab_size,
            max_context=self._context,
            token_bytes=None if engine.tokenizer is None else engine.tokenizer.token_bytes,
            since=engine._session.times,
        )
        caps = engine.executor.caps
        if search.looks_ahead and not caps.hidden_states:
            what = f"a scorer that needs hidden states on {caps.name}, which has none,"
            raise UnsupportedModel.of(what, "take a scorer that reads tokens, or a model with weights")
        with engine._lock:
            engine._admit()
            self.core.add(search)
        return search

    def advance(self, search: SessionSearch, is_left: Callable[[], bool] = lambda: False) -> None:
        """Returns when the search has ended, or its caller has left: leads the steps of all searches."""
        from .beams import starved

        for _ in self._engine._turns(lambda: self.lead(search), lambda: starved(self._engine._session.stats())):
            if search.done or is_left():
                break
        search.ended(self._engine._session.times)

    def lead(self, search: SessionSearch) -> bool:
        """One step for all searches, or for everybody else while they hold the pages that this one needs. False if
        nothing could run."""
        engine, session = self._engine, self._engine._session
        with engine._lock:
            self._check_open()
            steps = session.steps
            engine._watch()
            if not search.done:
                try:
                    engine._deliver(session.search_step(self.core))
                finally:
                    for ticket in engine._tickets.values():
                        session.core.pause(ticket.request, ticket.paused)
            if session.steps == steps and not search.done:
                self.hold()
                engine._deliver(session.step())
            if session.steps != steps or search.done:
                return True
        return engine._nap()

    def hold(self) -> None:
        """Keeps the searches out of the next step. Called under the engine's lock."""
        if self._core is not None:
            self._core.hold_all()

    def end_all(self, error: Callable[[], DraftwoodError]) -> None:
        """Ends every search with an error of its own. Called under the engine's lock."""
        for search in () if self._core is None else self._core.searches:
            if not search.done:
                search.error = error()

    def forked(self) -> None:
        """In a child, see `forking.py`."""
        if self._core is not None:
            self._core.forked()

    def _hold_others(self) -> bool:
        for ticket in self._engine._tickets.values():
            self._engine._session.core.pause(ticket.request, True)
        return bool(self._engine._tickets)

    def _check_open(self) -> None:
        if self._engine._closed:
            raise InvalidArgument.of("an engine", "open", "one that was closed")
