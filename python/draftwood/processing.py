"""How texts and searches carry the states of processors: one per live text and rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from .constraints import NativeRule
from .errors import InvalidArgument

__all__ = ["Processed", "check_tokenizer", "rules_of"]

F32 = NDArray[np.float32]
Banked = tuple[int, int, int, bool]
"""(beam, token, progress, done)."""


def _listed(processors: Any) -> list[Any]:
    try:
        return list(processors)
    except TypeError:
        raise InvalidArgument.of("processors", "a list", type(processors).__name__) from None


def check_tokenizer(processors: Any, tokenizer: Any) -> None:
    """Refuses rules that were made for the ids of another tokenizer than the engine's, if that has one."""
    if tokenizer is not None:
        for rule in _listed(processors):
            check = getattr(rule, "check_tokenizer", None)
            if check is not None:
                check(tokenizer)


def rules_of(processors: Any) -> tuple[list[_core.Rule], list[Any]]:
    """The rules at the front that run in Rust, and the others, in order."""
    listed = _listed(processors)
    front = next((i for i, rule in enumerate(listed) if not isinstance(rule, NativeRule)), len(listed))
    return [rule.core for rule in listed[:front]], listed[front:]


class Processed:
    """Processors in Python and their states, one per live text.

    Rules that only test tokens come last: they look at what the others have left.
    """

    def __init__(self, processors: Sequence[Any], ids: NDArray[np.int32], ends: Sequence[int], need: int) -> None:
        self._ends, self._need = list(ends), need
        made = [_Own.of(rule, ids) if hasattr(rule, "init") else _Foreign.of(rule, ids) for rule in processors]
        self._rules: list[_Own | _Foreign] = sorted(made, key=lambda rule: rule.tests)
        self._asks = [rule for rule in self._rules if isinstance(rule, _Own) and rule.asks]
        self._rows = [0]

    @property
    def rows(self) -> int:
        """Rows that have been changed, those of copies included."""
        return self._rows[0]

    def copy(self) -> Processed:
        """The same, going its own way."""
        new = object.__new__(Processed)
        new._ends, new._need, new._rows = self._ends, self._need, self._rows
        new._rules = [rule.copy() for rule in self._rules]
        new._asks = [rule for rule in new._rules if isinstance(rule, _Own) and rule.asks]
        return new

    def apart(self) -> Processed:
        """A copy that counts its rows by itself."""
        new = self.copy()
        new._rows = [0]
        return new

    def apply(self, rows: F32) -> None:
        """Changes the rows [texts, V] in place."""
        self._rows[0] += len(rows)
        for rule in self._rules:
            rule.apply(rows, self._ends, self._need)

    def banked(self, rows: F32, width: int) -> list[Banked]:
        """The progress of each text's best `width` tokens, of end tokens, and of those that take it further; nothing if
        no rule asks for any."""
        if not self._asks:
            return []
        found: list[Banked] = []
        for i, row in enumerate(rows):
            order = np.argsort(-row, kind="stable")[: width + len(self._ends)].tolist()
            tokens = set([token for token in order if token not in self._ends][:width])
            tokens.update(end for end in self._ends if end < len(row))
            tokens.update(token for rule in self._asks for token in rule.advances(i) if 0 <= token < len(row))
            for token in sorted(token for token in tokens if row[token] > -np.inf):
                says = [rule.after(i, token) for rule in self._asks]
                found.append((i, token, sum(p for p, _ in says), all(done for _, done in says)))
        return found

    @property
    def prunes(self) -> bool:
        """Whether a rule says of single tokens whether they may follow."""
        return any(isinstance(rule, _Own) and rule.prunes for rule in self._rules)

    def forbidden(self, draft: Sequence[tuple[int, int, int]]) -> list[int]:
        """Nodes of a draft below the only text, (node, parent, token), that some rule forbids; not
        those below them. Parents come first."""
        found: set[int] = set()
        for rule in self._rules:
            if isinstance(rule, _Own) and rule.prunes:
                found.update(rule.forbidden([one for one in draft if one[0] not in found]))
        return sorted(found)

    def done(self) -> bool:
        """Whether all texts hold what must occur."""
        return all(rule.done() for rule in self._rules)

    def advance(self, survivors: Sequence[tuple[int, int, float]]) -> None:
        """Follows the texts that go on: (row, token, score)."""
        for rule in self._rules:
            rule.advance(survivors)


class _Own:
    """A rule of our protocol."""

    def __init__(self, rule: Any, states: list[Any]) -> None:
        self._rule, self._states = rule, states
        self._children: dict[tuple[int, int], Any] = {}
        has = {name for name in ("apply", "mask", "candidates") if hasattr(rule, name)}
        self.tests = not has and (hasattr(rule, "allows") or hasattr(rule, "child"))
        self.prunes = hasattr(rule, "allows")
        self.asks = not isinstance(rule, NativeRule) and hasattr(rule, "progress")
        if isinstance(rule, NativeRule):
            self.asks = rule.progress(states[0]) is not None

    @classmethod
    def of(cls, rule: Any, ids: NDArray[np.int32]) -> _Own:
        needed = [name for name in ("fork", "advance") if not callable(getattr(rule, name, None))]
        does = ("apply", "mask", "candidates", "allows", "child", "progress", "done")
        if needed or not any(hasattr(rule, name) for name in does):
            missing = " and ".join(needed) or "apply or mask"
            raise InvalidArgument.of(
                f"the processor {type(rule).__name__}",
                "an object with init, fork, advance and apply or mask",
                f"one without {missing}",
                "see draftwood.processors.Processor",
            )
        return cls(rule, [rule.init(ids)])

    def copy(self) -> _Own:
        return _Own(self._rule, [self._rule.fork(state) for state in self._states])

    def apply(self, rows: F32, ends: list[int], need: int) -> None:
        self._children = {}
        for i, (row, state) in enumerate(zip(rows, self._states, strict=True)):
            known = [end for end in ends if end < len(row)]
            kept = row[known]
            self._change(i, row, state, known, need)
            if hasattr(self._rule, "ends") and self._rule.ends(state):
                row[known] = kept
            if hasattr(self._rule, "done") and not self._rule.done(state):
                row[known] = -np.inf

    def _change(self, i: int, row: F32, state: Any, ends: list[int], need: int) -> None:
        rule = self._rule
        if hasattr(rule, "candidates") and (listed := rule.candidates(state)) is not None:
            ids = np.asarray(listed)
            if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
                got = f"{ids.dtype} {ids.shape}"
                raise InvalidArgument.of(f"the candidates of {type(rule).__name__}", "a list of ids", got)
            ids = ids[(ids >= 0) & (ids < len(row))].astype(np.int64)
            values = row[ids]
            row[:] = -np.inf
            row[ids] = values
        elif hasattr(rule, "apply"):
            if (new := rule.apply(state, row)) is not None:
                row[:] = _shaped(new, row.shape, rule)
        elif hasattr(rule, "mask"):
            row[~self._allowed(state, len(row))] = -np.inf
        elif self.tests:
            self._test(i, row, ends, need)

    def _test(self, i: int, row: F32, ends: list[int], need: int) -> None:
        """Tests tokens in descending order until enough are allowed; those that were not reached are masked too."""
        allowed = [end for end in ends if row[end] > -np.inf and self._may_follow(i, end)]
        found = 0
        for token in np.argsort(-row, kind="stable").tolist():
            if found == need or row[token] == -np.inf:
                break
            if token not in ends and self._may_follow(i, token):
                allowed.append(token)
                found += 1
        values = row[allowed]
        row[:] = -np.inf
        row[allowed] = values

    def _may_follow(self, i: int, token: int) -> bool:
        if hasattr(self._rule, "child"):
            child = self._children[i, token] = self._rule.child(self._states[i], token)
            return child is not None
        return bool(self._rule.allows(self._states[i], token))

    def _allowed(self, state: Any, vocab: int) -> NDArray[np.bool_]:
        mask = np.asarray(self._rule.mask(state))
        if mask.dtype != np.bool_ or mask.shape != (vocab,):
            got = f"{mask.dtype} {mask.shape}"
            raise InvalidArgument.of(f"the mask of {type(self._rule).__name__}", f"bool ({vocab},)", got)
        return mask

    def _child(self, i: int, token: int) -> Any:
        """The state after one more token; the present one stays."""
        found = self._children.get((i, token))
        if found is not None:
            return found
        if hasattr(self._rule, "child") and (child := self._rule.child(self._states[i], token)) is not None:
            return child
        state = self._rule.fork(self._states[i])
        new = self._rule.advance(state, token)
        return state if new is None else new

    def forbidden(self, draft: Sequence[tuple[int, int, int]]) -> list[int]:
        """Nodes whose token may not follow; what is below them is not asked about."""
        above: dict[int, tuple[int, int]] = {}
        states, found = {0: self._states[0]}, []
        for node, parent, token in draft:
            if parent != 0 and parent not in above:
                continue
            if parent not in states:
                grandparent, its = above[parent]
                state = self._rule.fork(states[grandparent])
                new = self._rule.advance(state, its)
                states[parent] = state if new is None else new
            verdict = self._rule.allows(states[parent], token)
            if verdict is None or verdict:  # None: the rule changes values
                above[node] = parent, token
            else:
                found.append(node)
        return found

    def done(self) -> bool:
        return not hasattr(self._rule, "done") or all(self._rule.done(state) for state in self._states)

    def advances(self, i: int) -> list[int]:
        return [int(token) for token in self._rule.advances(self._states[i])] if hasattr(self._rule, "advances") else []

    def after(self, i: int, token: int) -> tuple[int, bool]:
        child = self._child(i, token)
        return int(self._rule.progress(child)), bool(self._rule.done(child)) if hasattr(self._rule, "done") else True

    def advance(self, survivors: Sequence[tuple[int, int, float]]) -> None:
        last_use = {row: i for i, (row, _, _) in enumerate(survivors)}
        states = []
        for i, (row, token, _) in enumerate(survivors):
            if self._children or hasattr(self._rule, "child"):
                states.append(self._child(row, token))
                continue
            state = self._states[row]
            if last_use[row] != i:
                state = self._rule.fork(state)
            new = self._rule.advance(state, token)
            states.append(state if new is None else new)
        self._states = states


class _Foreign:
    """A logits processor of transformers: called once per step with all texts, ids [B, T] and scores [B, V]."""

    tests = False

    def __init__(self, rule: Any, texts: NDArray[np.int64]) -> None:
        self._rule, self._texts = rule, texts

    @classmethod
    def of(cls, rule: Any, ids: NDArray[np.int32]) -> _Foreign:
        if not callable(rule):
            raise InvalidArgument.of(
                "a processor", "an object with init, or a logits processor of transformers", type(rule).__name__
            )
        return cls(rule, ids.astype(np.int64)[None])

    def done(self) -> bool:
        return True

    def copy(self) -> _Foreign:
        return _Foreign(self._rule, self._texts)

    def apply(self, rows: F32, ends: list[int], need: int) -> None:
        import torch

        scores = self._rule(torch.from_numpy(self._texts), torch.from_numpy(rows))
        rows[:] = _shaped(scores, rows.shape, self._rule)

    def advance(self, survivors: Sequence[tuple[int, int, float]]) -> None:
        if survivors:
            rows, tokens = [row for row, _, _ in survivors], [token for _, token, _ in survivors]
            self._texts = np.concatenate([self._texts[rows], np.array(tokens, np.int64)[:, None]], axis=1)


def _shaped(values: Any, shape: tuple[int, ...], rule: Any) -> F32:
    array = np.asarray(values, np.float32)
    if array.shape != shape:
        raise InvalidArgument.of(f"what {type(rule).__name__} returns", f"of shape {shape}", array.shape)
    return array
