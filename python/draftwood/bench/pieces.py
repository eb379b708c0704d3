"""A long case piece by piece, a few seconds each: a disturbance spoils one piece, which is done again at the end.

Rounds of such a case take minutes, and hardly one of them is quiet from its beginning to its end. So here the gate
judges pieces, the arms take turns within them, and what is claimed is computed over texts and not over rounds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from .cases import Work
from .results import CaseResult, MachineProbe
from .turns import watched

__all__ = ["MOST_ATTEMPTS", "Piece", "divide", "run_pieces"]

MOST_ATTEMPTS = 3
"""Times the wanted pieces; on a machine that is not quiet by then, there is nothing to wait for."""
_LEAST_SECONDS = 2.0
"""Of a piece: twenty times the probe of memory between two, and the watch's ticks are hundredths of a second."""
_MOST_LEFT_OUT = 0.1
"""Share of the works that may do without a quiet piece."""
_TOLD_EVERY = 10


@dataclass(frozen=True, slots=True)
class Piece:
    """Works that the gate judges together."""

    works: tuple[Work, ...]
    turn: int
    """Which arm begins: whoever comes after the probe finds the caches full of the probe's memory."""


def divide(works: Sequence[Work], seconds: Mapping[str, float], turn: int = 0) -> list[Piece]:
    """Works that follow each other until they take two seconds together; a longer one is a piece of its own.

    `seconds`: of each work, all arms together. The last piece may be shorter.
    """
    pieces: list[Piece] = []
    some: list[Work] = []
    for work in works:
        some.append(work)
        if sum(seconds[one.name] for one in some) >= _LEAST_SECONDS:
            pieces.append(Piece(tuple(some), turn + len(pieces)))
            some = []
    if some:
        pieces.append(Piece(tuple(some), turn + len(pieces)))
    return pieces


def run_pieces(result: CaseResult, probe: MachineProbe, tell: Callable[[str], None]) -> None:
    """Times all pieces as often as rounds are planned, the disturbed ones again, at most three times as many in all."""
    plan, case = result.plan, result.case
    todo = deque(one for turn in range(plan.rounds) for one in divide(case.run, result.expected, turn))
    wanted, tried = len(todo), 0
    before = probe.bandwidth()
    while todo and tried < MOST_ATTEMPTS * wanted:
        if tried % _TOLD_EVERY == 0:
            tell(f"{case.name}: piece {wanted - len(todo) + 1} of {wanted}, {len(result.discarded)} not quiet")
        tried += 1
        piece = todo.popleft()
        first = piece.turn % len(result.arms)
        order = result.arms[first:] + result.arms[:first]
        times, reading = watched(result, probe, before, piece.works, order)
        before = reading.after
        if result.refused is not None:
            return
        if not result.was_quiet(reading):
            # At the end, since what disturbs for seconds often does so for a minute.
            todo.append(piece)
            continue
        for arm, by_work, cut in times:
            if arm.alive:
                arm.keep(by_work, cut)
    result.raise_peaks(probe)
    _finish(result, wanted - len(todo), tried, tell)


def _finish(result: CaseResult, quiet: int, tried: int, tell: Callable[[str], None]) -> None:
    """Refuses where too many works had no quiet piece; else they are left out, of every arm."""
    left_out = len(result.case.run) - len(result.timed_works(result.arms[0]))
    if left_out > _MOST_LEFT_OUT * len(result.case.run):
        works = f"{left_out} of {len(result.case.run)} works had no quiet piece"
        result.refused = f"only {quiet} of {tried} pieces were quiet, {works} (--ungated keeps all)"
    elif left_out:
        tell(f"{result.case.name}: {left_out} works had no quiet piece and are left out")
    for arm in result.arms:
        if arm.alive and arm.by_work:
            arm.seconds = [sum(median(seconds) for seconds in arm.by_work.values())]
            arm.status = "timed"
