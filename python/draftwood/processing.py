"""How a search carries the states of processors: one per live beam and rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InvalidArgument

__all__ = ["BeamProcessors"]

F32 = NDArray[np.float32]


class BeamProcessors:
    """The processors of one search and their states, one per live beam."""

    def __init__(self, processors: Sequence[Any], ids: NDArray[np.int32]) -> None:
        self._rules = [_Own(rule, ids) if hasattr(rule, "init") else _Foreign(rule, ids) for rule in processors]

    def apply(self, rows: F32) -> None:
        """Changes the log-probabilities [beams, V] in place."""
        for rule in self._rules:
            rule.apply(rows)

    def advance(self, survivors: Sequence[tuple[int, int, float]]) -> None:
        """Follows the beams that go on: (row, token, score)."""
        for rule in self._rules:
            rule.advance(survivors)


class _Own:
    """A rule of our protocol."""

    def __init__(self, rule: Any, ids: NDArray[np.int32]) -> None:
        needed = [name for name in ("fork", "advance") if not callable(getattr(rule, name, None))]
        if needed or not (hasattr(rule, "apply") or hasattr(rule, "mask")):
            missing = " and ".join(needed) or "apply or mask"
            raise InvalidArgument.of(
                f"the processor {type(rule).__name__}",
                "an object with init, fork, advance and apply or mask",
                f"one without {missing}",
                "see draftwood.processors.Processor",
            )
        self._rule, self._states = rule, [rule.init(ids)]

    def apply(self, rows: F32) -> None:
        apply = getattr(self._rule, "apply", None)
        for row, state in zip(rows, self._states, strict=True):
            if apply is None:
                row[~self._allowed(state, len(row))] = -np.inf
            elif (new := apply(state, row)) is not None:
                row[:] = _shaped(new, row.shape, self._rule)

    def _allowed(self, state: Any, vocab: int) -> NDArray[np.bool_]:
        mask = np.asarray(self._rule.mask(state))
        if mask.dtype != np.bool_ or mask.shape != (vocab,):
            got = f"{mask.dtype} {mask.shape}"
            raise InvalidArgument.of(f"the mask of {type(self._rule).__name__}", f"bool ({vocab},)", got)
        return mask

    def advance(self, survivors: Sequence[tuple[int, int, float]]) -> None:
        last_use = {row: i for i, (row, _, _) in enumerate(survivors)}
        states = []
        for i, (row, token, _) in enumerate(survivors):
            state = self._states[row]
            if last_use[row] != i:
                state = self._rule.fork(state)
            new = self._rule.advance(state, token)
            states.append(state if new is None else new)
        self._states = states


class _Foreign:
    """A logits processor of transformers: called once per step with all beams, ids [B, T] and scores [B, V]."""

    def __init__(self, rule: Any, ids: NDArray[np.int32]) -> None:
        if not callable(rule):
            raise InvalidArgument.of(
                "a processor", "an object with init, or a logits processor of transformers", type(rule).__name__
            )
        self._rule, self._texts = rule, ids.astype(np.int64)[None]

    def apply(self, rows: F32) -> None:
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
