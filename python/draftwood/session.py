"""The decoding loop: views → forest → plan → rows → record → events. Nothing here depends on the method."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from . import _core
from .measuring import measure_steps
from .ruled import RuledCore
from .step import StepPlan
from .types import DraftStats, Executor, PhaseTimes


class BatchDrafter(Protocol):
    """The long form of a drafter: all texts of a step at once."""

    def propose_batch(self, views: _core.Views) -> _core.Forest:
        """One tree per view."""


class StepCore(Protocol):
    """The calls of a step: a core session, which verifies drafts, or something that decides otherwise what goes on. It
    may have `embedded(plan) → Embedded | None`: rows that are vectors instead of tokens; and `wants_hidden`, with
    `observe(states)` before `verify`: hidden states of the rows that are read."""

    @property
    def page_size(self) -> int:
        """Tokens per page."""

    def begin(self) -> _core.Views:
        """Chooses what runs."""

    def plan(self, forest: _core.Forest | None, block: NDArray[np.int32]) -> tuple[list[int], int]:
        """Writes the rows of the step into `block`."""

    def verify(self, logits: Any) -> None:
        """Reads the rows."""

    def commit(self, proposing: int, rest: int) -> tuple[list[_core.Event], bytes | None]:
        """Keeps what goes on, and learns the nanoseconds of the step: for drafts, and for everything else."""

    def rollback(self) -> None:
        """Gives the step up."""

    def moves_failed(self) -> None:
        """Falls back to the rows in place."""

    def take_events(self) -> list[_core.Event]:
        """News between steps."""


class Session:
    """All running texts of one executor. Not locked: the engine calls it from one thread at a time."""

    def __init__(
        self, core: _core.Session, executor: Executor, drafter: BatchDrafter | None, *, measures: bool = False
    ) -> None:
        self.core, self.executor, self.drafter = core, executor, drafter
        self.ruled = RuledCore(core)
        """Takes the place of `core` in steps of texts that have processors in Python."""
        self.hidden: dict[int, Any] = {}
        """Hidden states [d] of the last row that was read of each request that is listed here, kept for its caller."""
        self._finds_best = "argmax" in executor.caps.selectors
        self._needs_hidden = getattr(drafter, "needs_hidden", False)
        self.steps = 0
        self.on_step: Callable[[StepPlan, list[_core.Event]], None] | None = None
        self._told: list[_core.Event] = []
        # Costs rule how long drafts are, and nothing else.
        self._unmeasured = measures and drafter is not None and hasattr(executor, "probe")
        self._nanoseconds = (0, 0, 0, 0, 0)
        self._block = np.zeros(core.plan_capacity, np.int32)

    def step(self) -> list[_core.Event]:
        """Runs one step of every text that can run; after an exception all texts are as they were before it."""
        if self._unmeasured:
            self._measure()
        return self._run(self.ruled or self.core, self.drafter, self._needs_hidden or bool(self.hidden))

    def search_step(self, core: StepCore) -> list[_core.Event]:
        """Runs one step of the texts that `core` chooses and decides about, without drafts."""
        return self._run(core, None)

    def _run(self, core: StepCore, drafter: BatchDrafter | None, hidden: bool = False) -> list[_core.Event]:
        try:
            self._step(core, drafter, hidden)
        except BaseException:
            core.rollback()
            raise
        return self._tell()

    def _step(self, core: StepCore, drafter: BatchDrafter | None, hidden: bool) -> None:
        start = perf_counter_ns()
        views = core.begin()
        if views.idle:
            self._told.extend(core.take_events())
            return
        forest = drafter.propose_batch(views) if drafter is not None and views.wants_drafts else None
        drafted = perf_counter_ns()
        borders, mask_words = core.plan(forest, self._block)
        plan = StepPlan(self._block, borders, mask_words, core.page_size)
        if self._finds_best and views.wants_best and core is self.core:
            plan.selector = "argmax"
        embedded = getattr(core, "embedded", None)
        if embedded is not None:
            plan.embedded = embedded(plan)
        planned = perf_counter_ns()
        if plan.copies.size:
            self.executor.apply(plan.copies)
        shows = getattr(core, "wants_hidden", False)
        rows = self.executor.forward(plan, ("last",) if hidden or shows else ())
        forwarded = perf_counter_ns()
        if shows:
            core.observe(rows.hidden)  # type: ignore[attr-defined]
        if plan.selector == "argmax":
            self.core.verify_best(rows.best)  # type: ignore[attr-defined]
        else:
            core.verify(rows.logits)
        visited = self.core.visited() if hidden else []
        verified = perf_counter_ns()
        events, moves = core.commit(drafted - start, verified - drafted)
        self._told.extend(events)  # told by a later step, should anything below raise
        if hidden:
            self._keep_hidden(rows.hidden, visited, events)  # type: ignore[attr-defined]  # caps.hidden_states promises it
        if moves is not None:
            self._move(core, moves)
        self._count(start, drafted, planned, forwarded, verified, perf_counter_ns())
        if self.on_step is not None:
            self.on_step(plan, events)

    def _keep_hidden(self, states: Any, visited: list[tuple[int, int, list[int]]], events: list[_core.Event]) -> None:
        """Hands the hidden states of visited rows to the drafter that wants them, and to callers of `embed`."""
        sequences = {(event.request, event.sample): event.sequence for event in events}
        seen = {}
        for request, sample, rows in visited:
            sequence = sequences.get((request, sample))
            if sequence is not None:
                seen[sequence] = states[rows]
            if request in self.hidden:
                self.hidden[request] = states[rows[-1:]][0]
        if self._needs_hidden:
            self.drafter.observe(seen)  # type: ignore[union-attr]

    def take_events(self) -> list[_core.Event]:
        """News between steps: the ends of requests that were cancelled."""
        self._told.extend(self.core.take_events())
        return self._tell()

    def _tell(self) -> list[_core.Event]:
        """Hands over the news once, and lets the drafter forget the texts that have ended."""
        events, self._told = self._told, []
        close = getattr(self.drafter, "close", None)
        for event in events:
            if self.ruled and event.finish_reason is not None:
                self.ruled.forget(event.request, event.sample)
            ended = event.finish_reason is not None or event.retracted  # a drafter reads what is left anew
            if close is not None and ended and event.sequence is not None:
                close(event.sequence)
        return events

    def _measure(self) -> None:
        """Reads what rows cost. Only before the first step: probing writes into the cache."""
        self._unmeasured = False
        if not self.steps:
            measure_steps(self.executor.probe, self.core.measured, self.executor.caps.max_context)  # type: ignore[attr-defined]

    def _move(self, core: StepCore, moves: bytes) -> None:
        """Accepted rows go to their places; if that fails, their tokens are computed again in the next step."""
        try:
            self.executor.apply(np.frombuffer(moves, np.int32).reshape(2, -1))
        except BaseException:
            core.moves_failed()
            raise

    def _count(self, start: int, drafted: int, planned: int, forwarded: int, verified: int, committed: int) -> None:
        self.steps += 1
        draft, plan, forward, verify, commit = self._nanoseconds
        self._nanoseconds = (
            draft + drafted - start,
            plan + planned - drafted,
            forward + forwarded - planned,
            verify + verified - forwarded,
            commit + committed - verified,
        )

    @property
    def times(self) -> PhaseTimes:
        """Time per phase since the session began."""
        return PhaseTimes(*(nanoseconds * 1e-9 for nanoseconds in self._nanoseconds))

    def stats(self) -> dict[str, Any]:
        """Counters of the core."""
        return self.core.counts()

    def draft_stats(self, policy: str) -> DraftStats:
        """What was proposed and chosen, and why."""
        counts, seconds = self.core.draft_stats()
        return DraftStats(policy if self.drafter is not None else "none", *counts, dict(seconds))
