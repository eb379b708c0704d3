"""Beam searches in the session's steps: which of them run, which row is whose, and which beams the commit keeps.

`SearchCore` has the calls of a core session that a step makes. What differs is what goes on: not the outcome of a
verified draft, but the survivors of each search; a beam that survives twice forks its pages. A search that speculates
has trees below its texts, moves on by several steps and keeps texts aside in which rows of its drafts are cached.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from .beams import SessionSearch
from .errors import InternalError, InvalidArgument, OutOfPages
from .step import Embedded, StepPlan

__all__ = ["SearchCore"]

_ATTEMPTS = 100


class SearchCore:
    """The steps of searches. Not locked, but for `release`: the engine calls it under its lock.

    Shapes: rows: most rows of a step; nodes: rows that the session sets aside per text, and most rows per search with
    drafts. With `always` as many are drafted as there may be, else as many as pay.
    """

    def __init__(self, core: _core.Session, rows: int, nodes: int, hold: Callable[[], bool], always: bool) -> None:
        self.core, self.rows, self.nodes, self.always = core, rows, nodes, always
        self.searches: tuple[SessionSearch, ...] = ()
        """Replaced, never changed: a caller that gives up releases its searches while another thread runs a step."""
        self._lock = threading.Lock()
        self._hold = hold
        self._running: list[SessionSearch] = []
        self._views: list[int] = []
        self._new: list[tuple[SessionSearch, int]] = []
        self._first: list[int] = []
        self._rows = 0
        self._paths: list[tuple[SessionSearch, list[tuple[int, int, int, float]]]] = []
        self._closed: list[int] = []
        self._forest = _core.Forest()
        self._costs = _core.StepCosts()
        self._turn = 0
        self._states: Any = None

    @property
    def page_size(self) -> int:
        """Of the session."""
        return self.core.page_size

    @property
    def widest(self) -> int:
        """Most beams that a step has rows for."""
        return -(-self.rows // self.nodes)

    def add(self, search: SessionSearch) -> None:
        """Queues a search, if the session would take it."""
        if search.width > self.widest:
            raise InvalidArgument.of(
                "num_beams · (scorer_top_k + end tokens)" if search.looks_ahead else "num_beams",
                f"at most {self.widest}, the texts that a step of this engine holds",
                search.width,
                "an engine with drafter=None holds more",
            )
        self._book(search)
        with self._lock:
            self.searches = (*self.searches, search)

    def release(self, search: SessionSearch) -> None:
        """Forgets a search; its pages go back at once, or after the forward that is running."""
        with self._lock:
            self.searches = tuple(other for other in self.searches if other is not search)
        if search.request is not None:
            self._cancel(search, search.request)

    def forked(self) -> None:
        """In a child: whoever held the lock replaces the list at once, so what is there is whole."""
        self._lock = threading.Lock()

    def hold_all(self) -> None:
        """Takes all searches out of the next step, so that it can verify drafts."""
        for search in self.searches:
            if search.request is not None:
                self.core.pause(search.request, True)

    # ── the calls of a step ─────────────────────────────────────────────────────────────────────────────────────

    def begin(self) -> _core.Views:
        """Chooses the searches of a step, and keeps everything else out of it.

        Beginning a step admits whatever fits, and what the session admits it also schedules. So a step that brought
        texts of others is begun again with those held.
        """
        self._paths, self._closed = [], []
        self._turn += 1
        seen: list[int] | None = None
        full = False
        for _ in range(_ATTEMPTS):
            others = self._hold()
            sent = self._choose(full)
            views = self.core.begin()
            if self._take_back(sent):
                self.core.rollback()
                full = True
                continue
            ids = [views.view(i)[0] for i in range(len(views))]
            if (ids == seen or not others) and self._recognise(ids):
                self._views, self._seen = ids, views
                return views
            seen = ids
            self.core.rollback()
        raise InternalError("a step of searches must hold no other text; please report it with the steps that led here")

    def plan(self, forest: _core.Forest | None, block: NDArray[np.int32]) -> tuple[list[int], int]:
        """Beams are roots; below them are the drafts of searches that speculate."""
        trees = {sequence: search.speculation for search in self._running for sequence in search.live or ()}
        self._first, self._rows = list(range(len(self._views))), len(self._views)
        if not any(trees.values()):
            return self.core.plan(None, block)
        self._forest.clear()
        self._rows = 0
        for i, sequence in enumerate(self._views):
            self._first[i] = self._rows
            speculation = trees.get(sequence)
            nodes = 0 if speculation is None else speculation.write_tree(sequence, self._forest)
            if nodes == 0:
                self._forest.add_root(self._seen, i)
            self._rows += max(1, nodes)
        return self.core.plan(self._forest, block, True)

    def embedded(self, plan: StepPlan) -> Embedded | None:
        """The vectors of searches whose next row is one; their tokens stand for it in the session only."""
        vectors = {}
        for search in self._running:
            if search.live and (vector := search.vector()) is not None:
                vectors[search.live[0]] = vector
        at = [i for i, sequence in enumerate(self._views) if sequence in vectors]
        if not at:
            return None
        if (plan.row_offsets[at] + 1 != plan.row_offsets[np.add(at, 1)]).any():
            raise InternalError("a text whose last row is a vector was asked to feed more than that row")
        stacked = np.stack([vectors[self._views[i]] for i in at])
        return Embedded(plan.row_offsets[at].astype(np.int32), stacked)

    @property
    def wants_hidden(self) -> bool:
        """Whether a search of this step reads hidden states."""
        return any(search.looks_ahead for search in self._running)

    def observe(self, states: Any) -> None:
        """Takes the hidden states [R', d] of the rows that are verified next."""
        self._states = states

    def verify(self, logits: Any) -> None:
        """Moves every search on that was read. One that fails ends, the others go on."""
        row_of = dict(zip(self._views, self._first, strict=True))
        costs = None if self.always else self._costs
        for search, sequence in self._new:  # not before: a prompt whose forward fails is still unread
            search.read(sequence)
        for search in self._running:
            if search.live is None:
                search.prefill_steps += 1
                continue
            # A search that was released since it was chosen has no rows; its error is seen by nobody.
            rows = [(sequence, row_of[sequence]) for sequence in search.live if sequence in row_of]
            self._paths.append((search, []))
            try:
                paths, closed = search.advance(logits, rows, self.nodes, costs, len(self._running), self._states)
            except Exception as error:
                search.error = error
                continue
            self._paths[-1] = (search, paths)
            self._closed += closed

    def commit(self, proposing: int, rest: int) -> tuple[list[_core.Event], bytes | None]:
        """Keeps the survivors' paths."""
        if all(search.live is not None for search in self._running):
            self._costs.observe(self._rows, proposing + rest)
        paths = [path for _, survivors in self._paths for path in survivors]
        ids, events, moves = self.core.commit_paths(paths, [], self._closed)
        kept, speculating, changes = iter(ids), [], []
        for search, survivors in self._paths:
            search.live = [next(kept) for _ in survivors]
            # A speculative search without survivors may go on from rows that it has kept.
            if not survivors and search.done and search.encoded is not None and search.request is not None:
                search.encoded.free(search.request)
            back = getattr(search.search, "backspace", None)  # searches of SEAL have none
            cut = [one for one, (_, _, token, _) in zip(search.live, survivors, strict=True) if token == back]
            if cut:
                self.core.retract(cut, 2)  # the token that takes back, and what it takes
            if search.speculation is not None and search.error is None:
                changes.append(search.speculation.committed(search.live))
                speculating.append(search)
        if any(changes):
            kept = iter(self.core.rearrange([change for some in changes for change in some]))
        for search, some in zip(speculating, changes, strict=True):
            search.arranged([next(kept) for _ in some])
        self._paths = []
        return events, moves

    def rollback(self) -> None:
        """Gives the step up. Searches that had moved on cannot go back: they end with what broke the step."""
        self.core.rollback()
        for search, _ in self._paths:
            cause = sys.exception()
            if search.error is None:
                words = InternalError("the step of this search was interrupted")
                search.error = cause if isinstance(cause, Exception) else words
        self._paths = []

    def moves_failed(self) -> None:
        """Searches that speculate cannot go back to the rows in place: they end with what broke the step."""
        self.core.moves_failed()
        cause = sys.exception()
        for search in self._running:
            if search.speculation is not None and isinstance(cause, Exception):
                search.error = cause

    def take_events(self) -> list[_core.Event]:
        """News between steps."""
        return self.core.take_events()

    # ── who runs ────────────────────────────────────────────────────────────────────────────────────────────────

    def _choose(self, full: bool) -> list[SessionSearch]:
        """Fills the rows of a step with searches in turn; returns those that were handed to the session just now, none
        if it is full."""
        waiting = [search for search in self.searches if not search.done]
        turn = self._turn % len(waiting) if waiting else 0
        left, sent = self.rows, []
        self._running = []
        # A prompt that may need several steps is alone in not being recognised yet: see _recognise.
        unread = [search for search in waiting if search.request is not None and search.live is None]
        for search in waiting[turn:] + waiting[:turn]:
            need = self._need(search)
            if need > left:
                continue
            if search.request is None:
                alone = any(self._is_long(one) for one in (search, *unread))
                if full or (alone and unread):
                    continue
                search.request = self._submit(search)
                unread.append(search)
                sent.append(search)
            left -= need
            self._running.append(search)
        for search in self.searches:
            if search.request is not None:
                self.core.pause(search.request, search not in self._running)
        return sent

    def _whole(self, search: SessionSearch) -> int:
        """Rows that read a whole prompt."""
        return len(search.ids) + self.nodes - 1

    def _is_long(self, search: SessionSearch) -> bool:
        return self._whole(search) > self.rows // 2

    def _need(self, search: SessionSearch) -> int:
        if search.live is None:
            return min(self._whole(search), self.rows // 2)
        texts = len(search.live) if search.speculation is None else search.speculation.texts
        return min(texts * self.nodes, self.rows)

    def _book(self, search: SessionSearch) -> None:
        """Sees whether the session would take the search, if need be without the texts that speculation keeps aside."""
        if not search.refusal and self.nodes < 2:
            search.refusal = "the engine has no drafter"
        if not search.refusal and 2 * search.width > self.widest:
            search.refusal = f"more than {self.widest // 2} beams"
        search.lanes = search.width if search.refusal else 2 * search.width
        try:
            self._cancel(search, self._submit(search))
        except OutOfPages:
            if search.refusal:
                raise
            search.refusal, search.lanes = "too few cache pages", search.width
            self._cancel(search, self._submit(search))

    def _cancel(self, search: SessionSearch, request: int) -> None:
        self.core.cancel(request)
        if search.encoded is not None:
            search.encoded.free(request)

    def _submit(self, search: SessionSearch) -> int:
        read = search.encoded
        request = self.core.submit(
            search.ids,
            temperature=0.0,
            top_k=0,
            top_p=1.0,
            min_p=0.0,
            seed=0,
            max_new_tokens=search.limit,
            min_new_tokens=0,
            stop=[],
            ignore_eos=True,
            width=search.lanes,
            source=None if read is None else read.source.token_ids,
        )
        if read is not None:
            read.bind(request)
        return request

    def _take_back(self, sent: list[SessionSearch]) -> bool:
        """Takes back what the session could not admit: a waiting request could be admitted by anybody's step."""
        waiting = self.core.counts()["waiting"] if sent else 0
        late = sent[max(0, len(sent) - waiting) :] if waiting else []
        for search in late:
            if search.request is not None:
                self._cancel(search, search.request)
                search.request = None
        return bool(late)

    def _recognise(self, ids: list[int]) -> bool:
        """Finds the sequence of each search that is read for the first time: the session lists texts in the order in
        which it took them, and prompts that are read at once are read together."""
        known = {sequence for search in self.searches for sequence in search.live or ()}
        new = [sequence for sequence in ids if sequence not in known]
        unread = [search for search in self._running if search.live is None]
        unread.sort(key=lambda search: -1 if search.request is None else search.request)
        if new and len(new) != len(unread):
            return False
        self._new = list(zip(unread, new, strict=False))
        return True
