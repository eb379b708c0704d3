"""The quiet gate: a round counts if memory was as fast after it as before, and nobody else computed meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

__all__ = ["Gate", "Reading", "Watch"]

_SLACK_TICKS = 3
_IDLE, _IOWAIT, _GUEST = 3, 4, 8


@dataclass(frozen=True, slots=True)
class Reading:
    """What was around a round."""

    before: float
    after: float
    """Bytes per second that memory gave."""
    others: float | None
    """Cores that other processes used; None where the system does not tell."""

    @property
    def bandwidth(self) -> float:
        """The mean of both measurements."""
        return (self.before + self.after) / 2.0


@dataclass(frozen=True, slots=True)
class Gate:
    """The limits of quiet: the relative change of memory's speed, and the cores that others may use."""

    change: float = 0.10
    others: float = 0.125

    def problem(self, reading: Reading) -> str | None:
        """Why a round does not count."""
        change = abs(reading.after - reading.before) / max(reading.before, reading.after)
        if change > self.change:
            return f"memory gave {reading.before / 1e9:.1f} GB/s before and {reading.after / 1e9:.1f} after"
        if reading.others is not None and reading.others > self.others:
            return f"other processes used {reading.others:.2f} cores"
        return None


class Watch:
    """Cores that processes besides ours used since the watch was made."""

    def __init__(self, ours: Iterable[int]) -> None:
        self._ours = tuple(ours)
        self._start, self._others = monotonic(), self._ticks()

    def others(self) -> float | None:
        """None where /proc does not tell. Ticks are hundredths of a second; a few may be miscounted."""
        now = self._ticks()
        if now is None or self._others is None:
            return None
        ticks = max(0.0, now - self._others - _SLACK_TICKS)
        return ticks / os.sysconf("SC_CLK_TCK") / max(monotonic() - self._start, 1e-3)

    def _ticks(self) -> float | None:
        try:
            fields = [int(field) for field in Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
            busy = sum(value for i, value in enumerate(fields[:_GUEST]) if i not in (_IDLE, _IOWAIT))
            return busy - sum(_used(process) for process in (os.getpid(), *self._ours))
        except (OSError, ValueError, IndexError):
            return None


def _used(process: int) -> int:
    """Ticks of a process and of its children that have ended."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15])
