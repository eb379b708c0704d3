"""Who is told of each step: callbacks of users, after the step, in the thread that led it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .session import Session
    from .step import StepPlan
    from .ticket import Ticket

__all__ = ["Listeners"]


class Listeners:
    """The callbacks of one engine; a session without any calls nothing."""

    def __init__(self, session: Session, tickets: Mapping[int, Ticket]) -> None:
        self._session, self._tickets = session, tickets
        self._on_step: Callable[[StepPlan, list[Any]], None] | None = None
        self._on_prefill: Callable[[int, int], None] | None = None
        self._before, self._told = 0, 0
        """Tokens of prompts that were read while others still are, and what was told last."""

    def on_step(self, callback: Callable[[StepPlan, list[Any]], None] | None) -> None:
        """Tells the plan and the events of each step."""
        self._on_step = callback
        self._listen()

    def on_prefill(self, callback: Callable[[int, int], None] | None) -> None:
        """Tells how many tokens of the prompts have been read, and how many there are."""
        self._on_prefill = callback
        self._listen()

    def _listen(self) -> None:
        nobody = self._on_step is None and self._on_prefill is None
        self._session.on_step = None if nobody else self._stepped

    def _stepped(self, plan: StepPlan, events: list[Any]) -> None:
        if self._on_prefill is not None:
            self._tell_prefill(self._on_prefill, events)
        if self._on_step is not None:
            self._on_step(plan, events)

    def _tell_prefill(self, callback: Callable[[int, int], None], events: list[Any]) -> None:
        ended = {event.request: event.stats[0] for event in events if self._is_first(event.request)}
        reading = [(done, total) for request, done, total in self._session.core.prefill() if request in self._tickets]
        before, told = self._before + sum(ended.values()), self._told
        now = before + sum(done for done, _ in reading)
        self._before, self._told = (before, now) if reading else (0, 0)
        if ended or now != told:
            callback(now, before + sum(total for _, total in reading))

    def _is_first(self, request: int) -> bool:
        ticket = self._tickets.get(request)
        return ticket is not None and ticket.silent
