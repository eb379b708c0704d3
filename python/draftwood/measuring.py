"""What steps of a few rows cost, read before the first text, so that its first drafts are as long as pays."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns

__all__ = ["measure_steps"]

_ROWS = (1, 4, 16, 8, 2, 32)
_ONCE, _AGAIN = 150_000_000, 40_000_000
"""Nanoseconds in which every size is read once, and in which all are read again."""


def measure_steps(
    probe: Callable[[int], None],
    told: Callable[[int, int], None],
    most_rows: int,
    clock: Callable[[], int] = perf_counter_ns,
) -> None:
    """Times `probe(rows)` for some sizes and tells `told(rows, nanoseconds)`.

    A size is left out, and all after it, if it would end too late, taken to last as long as the longest step so far: a
    step that alone takes longer than half of the time ends it, so that large models begin at once.

    Shapes
        most_rows: the largest size that `probe` takes.
    Cost
        One step that is not told, since it finds cold memory; 0.15 s with it, plus what the last size takes beyond
        those before. Sizes are read twice only within 0.04 s, which small models do.
    """
    begin = clock()
    probe(1)
    longest = clock() - begin
    warm = False
    for limit in (_ONCE, _AGAIN):
        for rows in _ROWS:
            if rows > most_rows:
                continue
            start = clock()
            if start - begin + longest > limit:
                return
            probe(rows)
            took = clock() - start
            longest = max(longest, took) if warm else took
            warm = True
            told(rows, took)
