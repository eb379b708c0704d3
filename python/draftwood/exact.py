"""The exact best texts of a model, by looking at everything that could still win."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .beams import end_tokens_of
from .errors import InvalidArgument
from .processing import Processed
from .requests import _count as count_of
from .requests import _field as field_of
from .search import _log_probs, _select
from .types import BeamParams, Beams, BeamStats, Hypothesis, PhaseTimes

# What an exact search does not do; penalties can be had as processors.
_LEFT_OUT = (
    *("do_sample", "stochastic", "scorer", "keep_candidates", "keep_lattice", "backspace_token_id"),
    *("num_beam_groups", "repetition_penalty", "no_repeat_ngram_size", "stop"),
)


class _Best:
    """The best `room` complete texts so far."""

    def __init__(self, room: int) -> None:
        self.found: list[tuple[float, list[int], list[float], str]] = []
        self._room = room

    @property
    def bar(self) -> float:
        """What a text must exceed."""
        return self.found[-1][0] if len(self.found) == self._room else -np.inf

    def add(self, score: float, tokens: list[int], steps: list[float], reason: str) -> None:
        at = next((i for i, old in enumerate(self.found) if old[0] < score), len(self.found))
        self.found.insert(at, (score, tokens, steps, reason))
        del self.found[self._room :]


class ExactSearch:
    """Depth first, children in falling probability; what cannot exceed the worst kept text is cut off."""

    def __init__(self, step: Callable[..., Any], params: BeamParams, max_steps: int | None) -> None:
        plain = BeamParams()
        for name in _LEFT_OUT:
            got = getattr(params, name)
            if (got or None) != (getattr(plain, name) or None):
                raise InvalidArgument.of(name, "left out of an exact search", repr(got))
        if params.bos_token_id is None:
            raise InvalidArgument.of("bos_token_id", "the id of the first token", None, "BeamParams(bos_token_id=…)")
        self._step, self._most = step, max_steps
        self._limit = count_of(params.max_new_tokens, "max_new_tokens")
        self._least = count_of(params.min_new_tokens, "min_new_tokens")
        self._penalty: float = field_of(params.length_penalty, float, "length_penalty", "a number")
        if self._limit < 1 or self._least > self._limit:
            raise InvalidArgument.of("max_new_tokens", "at least 1 and at least min_new_tokens", self._limit)
        self._ends = end_tokens_of(params, ())
        start = np.array([count_of(params.bos_token_id, "bos_token_id")], np.int32)
        self._start = int(start[0])
        self._rules = Processed(list(params.processors), start, self._ends, 2**31)
        room = count_of(params.num_return, "num_return")
        if room < 1:
            raise InvalidArgument.of("num_return", "at least 1", room)
        self._best, self.steps, self._vocab = _Best(room), 0, 0

    def _bound(self, total: float, length: int) -> float:
        """The best score of a text that begins with `length` tokens of this sum: more tokens add nothing above 0."""
        reach = self._limit if self._penalty > 0 else length
        return total / reach**self._penalty if reach else total

    def run(self, state: Any) -> Beams:
        """The whole search."""
        row, state = self._row(self._start, state, self._rules, 0)
        # (tokens, step log-probs, sum, row, state, rules, children not yet looked at)
        stack: list[Any] = [([], [], 0.0, row, state, self._rules, self._order(row))]
        while stack:
            tokens, steps, total, row, state, rules, order = stack[-1]
            token = next(order, None)
            if token is None:
                stack.pop()
                continue
            score, length = total + float(row[token]), len(tokens) + 1
            if self._bound(score, length) <= self._best.bar:
                # With a bound that falls with the score, the later children are no better.
                stack.pop()
                continue
            ends = token in self._ends
            new, scores = [*tokens, token], [*steps, float(row[token])]
            if ends or length == self._limit:
                after = rules.copy()
                after.advance([(0, token, 0.0)])
                if ends or after.done():
                    self._best.add(score / length**self._penalty, new, scores, "stop" if ends else "length")
                continue
            rules = rules.copy()
            rules.advance([(0, token, 0.0)])
            below, child = self._row(token, _select(state, np.zeros(1, np.int64)), rules, length)
            stack.append((new, scores, score, below, child, rules, self._order(below)))
        hypotheses = tuple(
            Hypothesis(
                token_ids=np.array(tokens, np.int32),
                score=score,
                text="",
                finish_reason=reason,
                stop_reason=tokens[-1] if reason == "stop" else None,
                step_scores=np.array(steps, np.float32),
                beam_indices=np.zeros(len(tokens), np.int32),
                raw_score=score,
            )
            for score, tokens, steps, reason in self._best.found
        )
        return Beams(hypotheses, BeamStats(1, self.steps, 0, None, PhaseTimes(), self.steps))

    def _order(self, row: Any) -> Any:
        return iter([token for token in np.argsort(-row, kind="stable").tolist() if row[token] > -np.inf])

    def _row(self, token: int, state: Any, rules: Processed, length: int) -> tuple[Any, Any]:
        if self._most is not None and self.steps >= self._most:
            raise InvalidArgument.of("an exact search", f"done within {self._most} steps", "more", "raise max_steps")
        result = self._step(np.array([token], np.int64), state)
        self.steps += 1
        if isinstance(result, tuple):
            if len(result) != 2:
                raise InvalidArgument.of(
                    "what step returns", "log-probs or a pair with the state", f"{len(result)} values"
                )
            result, state = result
        rows = np.array(_log_probs(result, 1), np.float32)
        if np.isnan(rows).any() or (rows == np.inf).any() or (rows > 1e-5).any():
            raise InvalidArgument.of("the log-probabilities of step", "at most 0", f"{rows.max()}")
        if self._vocab not in (0, rows.shape[1]):
            raise InvalidArgument.of(
                "the vocabulary size", f"{self._vocab}, as in the steps before", str(rows.shape[1])
            )
        self._vocab = rows.shape[1]
        if length < self._least:
            rows[0, [end for end in self._ends if end < self._vocab]] = -np.inf
        rules.apply(rows)
        return rows[0], state
