"""The steps of texts that have processors in Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from .processing import Processed

__all__ = ["RuledCore"]

F32 = NDArray[np.float32]


class RuledCore:
    """A core session with the processors in Python of the texts that have some.

    Rules see the rows of the visited path only, on a copy, and their states follow what is committed: a step that is
    given up leaves them as they were. Those with `allows` are asked about drafts before the forward, on forked states.
    """

    def __init__(self, core: _core.Session) -> None:
        self._core = core
        self._rules: dict[tuple[int, int], list[Processed]] = {}
        """By request and sample: the states of its text, after those of its beginnings if tokens may be taken back."""
        self._next: dict[tuple[int, int], list[Processed]] = {}
        self._backspace: dict[tuple[int, int], int] = {}
        self._views: _core.Views

    def __bool__(self) -> bool:
        """Whether any text has rules."""
        return bool(self._rules)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._core, name)

    def add(self, request: int, rules: Sequence[Processed], backspace: int | None = None) -> None:
        """The rules of each sample of a new request."""
        for sample, its in enumerate(rules):
            self._rules[request, sample] = [its]
            if backspace is not None:
                self._backspace[request, sample] = backspace

    def forget(self, request: int, sample: int) -> None:
        """A text has ended."""
        for states in (self._rules, self._next, self._backspace):
            states.pop((request, sample), None)

    def begin(self) -> _core.Views:
        """Chooses what runs."""
        self._views = self._core.begin()
        return self._views

    def plan(self, forest: _core.Forest | None, block: NDArray[np.int32]) -> tuple[list[int], int]:
        """Writes the rows of the step; drafts that a rule forbids get none. What a rule raises ends its text."""
        if forest is not None and any(its[-1].prunes for its in self._rules.values()):
            for tree, request, sample, nodes in self._core.foreign_drafts(forest):
                try:
                    forbidden = self._rules[request, sample][-1].forbidden(nodes)
                except Exception as error:
                    self._views.fail(tree, error)
                    continue
                if forbidden:
                    forest.drop_nodes(tree, forbidden)
        return self._core.plan(forest, block)

    def verify(self, logits: Any) -> None:
        """Reads the rows; one text after the other asks its rules. What a rule raises ends its text."""
        self._next = {}
        self._core.verify(logits)
        row: F32 = np.empty(logits.shape[1], np.float32)
        while (waiting := self._core.waiting()) is not None:
            try:
                self._next[waiting] = self._walk(waiting, logits, row)
            except Exception as error:
                self._core.refuse(*waiting, error)

    def _walk(self, text: tuple[int, int], logits: Any, row: F32) -> list[Processed]:
        """Settles the rows of a text, one after the other; its states afterwards."""
        back = self._backspace.get(text)
        trail = list(self._rules[text])
        rules = trail[-1].copy()
        goes_on = True
        while goes_on:
            self._core.write_waiting(logits, row)
            rules.apply(row[None])
            token, goes_on = self._core.settle(logits, row)
            if token is None:
                break
            if token == back:
                trail.pop()
                rules = trail[-1].copy()
                continue
            rules.advance([(0, token, 0.0)])
            if back is not None:
                trail.append(rules)
                rules = rules.copy()
        return [rules] if back is None else trail

    def commit(self, proposing: int, rest: int) -> tuple[list[_core.Event], bytes | None]:
        """Keeps what goes on."""
        news = self._core.commit(proposing, rest)
        self._rules.update(self._next)
        self._next = {}
        return news

    def rollback(self) -> None:
        """Gives the step up."""
        self._next = {}
        self._core.rollback()
