"""What an engine does while it is open: takes texts in, has callers lead the steps, tells news, watches the weights."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self

from .beam_driver import BeamDriver
from .errors import DraftwoodError, InvalidArgument
from .forking import StepLock, outlive_forks
from .listening import Listeners
from .loading import Parts, make_session
from .reads import read_prompt
from .requests import Prompt, encode_prompt, random_seed, submit
from .streaming import UNREAD_EVENTS, AsyncDriver
from .ticket import Ticket
from .types import CacheConfig, EngineStats, Executor, SamplingParams

if TYPE_CHECKING:
    from .models.tokenizer import Tokenizer
    from .session import Session
    from .step import StepPlan

__all__ = ["RunningEngine"]

_ADMISSION_SECONDS = 60.0
_NAP_SECONDS = 0.02


class RunningEngine:
    """The base of `Engine`: one session for all callers. Whoever waits for a token leads the next step for everybody,
    under the lock; a step belongs to all texts, so whatever it brings goes to the ticket of each.
    """

    def __init__(self, parts: Parts, drafter: Any, draft_policy: str, cache: CacheConfig) -> None:
        self.executor: Executor = parts.executor
        self.tokenizer: Tokenizer | None = parts.tokenizer
        self.name: str = parts.name
        self._tokenizer_problem: Exception | None = parts.tokenizer_problem
        session, nodes = make_session(parts, drafter, cache, draft_policy)
        self._session: Session = session
        self._draft_policy = draft_policy
        self.max_context: int = parts.max_context or self.executor.caps.max_context
        self._beams = BeamDriver(self, nodes, parts.stop_ids, self.max_context)
        self._lock = StepLock()
        self._freed = threading.Condition()
        self._tickets: dict[int, Ticket] = {}
        self._driver = AsyncDriver(self)
        self._listeners = Listeners(self._session, self._tickets)
        self._sources: dict[int, Any] = getattr(self.executor, "sources", {})
        self._closed = False
        outlive_forks(self)

    # ── texts ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def encode(self, prompt: Prompt) -> Any:
        """The ids of a prompt, int32 [T]: a string without chat template, a list of messages through it, ids as is.

        Shapes
            prompt: as in `generate`, one prompt.
        Returns
            int32 array [T].
        Errors
            InvalidArgument for other types, UnsupportedModel for text without a tokenizer.
        Cost
            One tokenizer pass.
        Source
            None.
        Example
            >>> import draftwood as dw
            >>> dw.testing.toy_engine().encode([1, 2]).tolist()
            [1, 2]
        """
        return encode_prompt(prompt, self.tokenizer, self._tokenizer_problem)

    def _submit(
        self,
        prompt: Prompt,
        params: SamplingParams,
        *,
        is_stream: bool = False,
        forced: Any = None,
        keep_hidden: bool = False,
        begin: Prompt | None = None,
    ) -> Ticket:
        if self._closed:
            raise InvalidArgument.of("an engine", "open", "one that was closed")
        if params.processors:
            from .processing import check_tokenizer

            check_tokenizer(params.processors, self.tokenizer)
        ids, read = read_prompt(self, prompt, begin)
        seed = random_seed() if params.seed is None else params.seed
        with self._lock:
            self._admit()
            ticket = submit(self._session, ids, params, seed, is_stream, forced, read)
            self._tickets[ticket.request] = ticket
            if keep_hidden:
                self._session.hidden[ticket.request] = None
        return ticket

    def _run_all(self, submitted: Iterable[Ticket]) -> list[Ticket]:
        """Runs what the iterable submits to the end of every text."""
        tickets: list[Ticket] = []
        try:
            for ticket in submitted:
                tickets.append(ticket)  # one by one: what was submitted is released, should the next one be refused
            for ticket in tickets:
                self._advance(ticket)
        finally:
            self._release(tickets)
        return tickets

    # ── stepping ────────────────────────────────────────────────────────────────────────────────────────────────

    def _advance(self, ticket: Ticket) -> None:
        """Returns when the ticket has an unread event or has ended: leads steps, unless another caller's brought it."""
        for _ in self._turns(lambda: self._lead(ticket), lambda: ticket.starved(self._session)):
            if ticket.unread or ticket.done:
                return

    def _turns(self, lead: Callable[[], bool], starved: Callable[[], Exception]) -> Iterator[None]:
        """Leads a step at each turn but the first; raises `starved()` after a minute in which nothing could run."""
        waited = 0.0
        while True:
            yield
            if lead():
                waited = 0.0
            elif (waited := waited + _NAP_SECONDS) > _ADMISSION_SECONDS:
                raise starved()

    def _nap(self) -> bool:
        """Waits for pages to become free, for a moment: nothing could run. False, as what leads a step then returns."""
        with self._freed:
            self._freed.wait(_NAP_SECONDS)
        return False

    def _lead(self, ticket: Ticket) -> bool:
        """One step for everybody. False if nothing could run: streams that nobody reads hold the pages."""
        with self._lock:
            if ticket.paused:
                self._pause(ticket, False)
            self._beams.hold()
            steps = self._session.steps
            self._watch()
            if not ticket.done:
                self._deliver(self._session.step())
            if self._session.steps != steps or ticket.done:
                return True
        return self._nap()

    def _deliver(self, events: list[Any]) -> None:
        for event in events:
            ticket = self._tickets.get(event.request)
            if ticket is None:
                continue
            ticket.receive(event, self._session)
            if ticket.done:
                del self._tickets[event.request]
                self._sources.pop(event.request, None)
            elif ticket.is_stream and ticket.unread >= UNREAD_EVENTS:
                self._pause(ticket, True)

    def _pause(self, ticket: Ticket, paused: bool) -> None:
        ticket.paused = paused
        self._session.core.pause(ticket.request, paused)

    def _release(self, tickets: Sequence[Ticket]) -> None:
        """Cancels what has not ended; pages go back at once, or after the forward that is running."""
        if self._lock.lost or all(ticket.done for ticket in tickets):
            return
        for ticket in tickets:
            if not ticket.done:
                self._session.core.cancel(ticket.request)
        self._deliver_ends()

    def _cancel_sample(self, ticket: Ticket, sample: int) -> None:
        """Cancels one sample of a request."""
        if not 0 <= sample < ticket.samples:
            raise InvalidArgument.of("sample", f"0 … {ticket.samples - 1}", sample)
        self._lock.check()
        self._session.core.cancel(ticket.request, sample)
        self._deliver_ends()

    def _deliver_ends(self) -> None:
        """Tells the ends of what was cancelled, and that pages may have become free."""
        # Between steps the ends are already there; within another thread's step it will deliver them.
        if self._lock.acquire(blocking=False):
            try:
                self._deliver(self._session.take_events())
            finally:
                self._lock.release()
        with self._freed:
            self._freed.notify_all()

    # ── weights of a module ──────────────────────────────────────────────────────────────────────────────────────────

    def refresh(self) -> None:
        """Takes weights that were changed in the module of this engine; running texts end with an error.

        Changes that torch counts (in-place operations, `load_state_dict`, an optimiser's step, other parameters) are
        seen without it: a text that begins takes them, and one that runs ends with an error before its next step, so
        that no answer is a mixture. What torch does not count, such as writing through `.data`, needs this call.

        Returns
            Nothing.
        Errors
            UnsupportedModel if the module can no longer be read in place; nothing is then changed.
        Cost
            A few milliseconds; the weights are not copied unless they were before.
        Source
            None.
        Example
            >>> import draftwood as dw
            >>> dw.testing.toy_engine().refresh()
        """
        with self._lock:
            self._take_weights("engine.refresh() was called")

    def _take_weights(self, change: str) -> None:
        """Called under the lock."""
        self._end_all(change)
        refresh = getattr(self.executor, "refresh", None)
        if refresh is not None:
            refresh()

    def _admit(self) -> None:
        """Before a text begins: it takes the weights as they are now. Called under the lock."""
        admit = getattr(self.executor, "admit", None)
        change = None if admit is None else admit()
        if change is not None:
            self._take_weights(change)

    def _watch(self) -> None:
        """Before a step: texts whose weights are no longer those they began with end. Called under the lock."""
        changed = getattr(self.executor, "changed", None)
        change = None if changed is None else changed()
        if change is not None:
            self._end_all(change)

    def _end_all(self, change: str) -> None:
        def error() -> DraftwoodError:
            expected = "those that the text began with until it ends"
            return InvalidArgument.of("the weights", expected, change, "call engine.refresh() between texts")

        for ticket in self._tickets.values():
            ticket.fail(error())
            self._session.core.cancel(ticket.request)
        self._deliver(self._session.take_events())
        self._beams.end_all(error)

    # ── state ───────────────────────────────────────────────────────────────────────────────────────────────────

    def stats(self) -> EngineStats:
        """Sizes at this moment, and the time of all steps so far.

        Returns
            An `EngineStats`; an idle engine has all its pages free.
        Example
            >>> import draftwood as dw
            >>> stats = dw.testing.toy_engine().stats()
            >>> stats.pages_free == stats.pages_total
            True
        """
        self._lock.check()
        return EngineStats(
            **self._session.stats(),
            steps=self._session.steps,
            times=self._session.times,
            executor=self.executor.caps.name,
            drafts=self._session.draft_stats(self._draft_policy),
        )

    def on_step(self, callback: Callable[[StepPlan, list[Any]], None] | None) -> None:
        """Calls `callback(plan, events)` after each step: for drawing drafts and for debugging. None ends it.

        Shapes
            plan: the `StepPlan` that was run, valid during the call; events: what the commit told.
        Returns
            Nothing.
        Errors
            What the callback raises ends the caller's request.
        Cost
            Its own time, inside the step.
        Source
            None.
        Example
            >>> import draftwood as dw
            >>> engine, rows = dw.testing.toy_engine(), []
            >>> engine.on_step(lambda plan, events: rows.append(plan.rows))
            >>> _ = engine.generate([1, 2, 3], dw.SamplingParams(max_new_tokens=1))
            >>> rows
            [3]
        """
        self._listeners.on_step(callback)

    def on_prefill(self, callback: Callable[[int, int], None] | None) -> None:
        """Calls `callback(done, total)` after each step that read a part of a prompt: for progress bars. None ends it.

        Prompts are read in chunks of up to 512 tokens; between them a text can also be cancelled.

        Shapes
            done, total: tokens that are read, and to be read, of the prompts whose first token has not come yet, all
            together; for one prompt done reaches total before its first token is told.
        Returns
            Nothing.
        Errors
            What the callback raises ends the caller's request.
        Cost
            Its own time, inside the step.
        Source
            None.
        Example
            >>> import draftwood as dw
            >>> engine, seen = dw.testing.toy_engine(), []
            >>> engine.on_prefill(lambda done, total: seen.append((done, total)))
            >>> _ = engine.generate([1, 2, 3], dw.SamplingParams(max_new_tokens=2))
            >>> seen
            [(3, 3)]
        """
        self._listeners.on_prefill(callback)

    def close(self) -> None:
        """Cancels everything and lets go of the model. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        if self._lock.lost:
            return
        self._release(list(self._tickets.values()))
        close = getattr(self.executor, "close", None)
        if close is not None:
            close()

    def _forked(self) -> None:
        """In a child: an idle engine goes on, without the threads of its parent."""
        self._lock.forked()
        self._freed = threading.Condition()
        self._driver = AsyncDriver(self)
        self._beams.forked()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<draftwood.Engine {self.name} on {self.executor.caps.name}>"
