"""How a case is run, and what becomes of it and of each of its arms."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from time import monotonic
from typing import Protocol

from .arm import Arm
from .cases import Case, Work
from .check import Difference
from .gate import Gate, Reading, Watch

__all__ = ["ArmResult", "CaseResult", "MachineProbe", "Plan", "Watcher"]


class MachineProbe(Protocol):
    """What a case asks a `Probe`."""

    @property
    def process_id(self) -> int | None: ...
    @property
    def isa(self) -> str: ...
    def bandwidth(self, bytes: int | None = None) -> float: ...
    def arithmetic(self, kind: str) -> float: ...


class Watcher(Protocol):
    """What a case asks a `Watch`."""

    def others(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """How a case is run. `gate=None` keeps everything, and then nothing may be claimed."""

    rounds: int = 9
    gate: Gate | None = field(default_factory=Gate)
    timeout: float = 300.0
    watch: Callable[[Iterable[int]], Watcher] = Watch
    """From the process ids that are ours."""
    clock: Callable[[], float] = monotonic
    """Seconds; says how long works take, so that pieces can be made of them."""


@dataclass(slots=True)
class ArmResult:
    """What became of one arm: `timed`, `failed`, `missing`, or `untimed` where the case was refused or never quiet."""

    arm: Arm
    status: str = "untimed"
    reason: str | None = None
    answers: dict[str, list[int]] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    """All works together: per quiet round, or once if the case was done in pieces, the medians of its works."""
    by_work: dict[str, list[float]] = field(default_factory=dict)
    """Per quiet round or piece; the same works for all arms that were timed."""
    tokens_per_step: dict[str, float] = field(default_factory=dict)
    """Of works whose arm tells its steps."""
    cut: dict[str, list[float]] = field(default_factory=dict)
    """Seconds up to where a text begins to loop, of works with groups whose arm tells when its tokens came."""

    @property
    def alive(self) -> bool:
        """Whether it may be asked."""
        return self.status not in ("failed", "missing")

    def keep(self, by_work: dict[str, float], cut: dict[str, float]) -> None:
        """Adds the seconds of a quiet round or piece."""
        for kept_in, seconds_of in ((self.by_work, by_work), (self.cut, cut)):
            for name, seconds in seconds_of.items():
                kept_in.setdefault(name, []).append(seconds)


@dataclass(slots=True)
class CaseResult:
    """A case that was run, the reference arm first."""

    case: Case
    plan: Plan
    arms: list[ArmResult]
    isa: str
    multiply_adds_per_second: dict[str, float]
    """By the type of the weights; the best that was seen."""
    model_bandwidth: float | None = None
    """Bytes per second of reading as much memory as a step reads, part of which stays in the caches."""
    readings: list[Reading] = field(default_factory=list)
    """Of the rounds or pieces that count."""
    discarded: list[str] = field(default_factory=list)
    """Why the others do not."""
    refused: str | None = None
    """Why nothing was timed, or not enough."""
    expected: dict[str, float] = field(default_factory=dict)
    """Seconds that each work took all arms together when answers were compared, prompts included."""

    @property
    def sound(self) -> bool:
        """Whether everything that is installed was measured."""
        return self.refused is None and all(arm.status in ("timed", "missing") for arm in self.arms)

    @property
    def guarded(self) -> bool:
        """Whether its figures may be claims: what was disturbed does not count, and enough was not."""
        return self.plan.gate is not None and self.refused is None

    @property
    def rounds(self) -> int:
        """How often every work was timed quietly that was timed at all."""
        if not self.case.in_pieces:
            return len(self.readings)
        return min((len(seconds) for seconds in self.arms[0].by_work.values()), default=0)

    @property
    def bandwidth(self) -> float | None:
        """Bytes per second, the mean over the rounds or pieces that count."""
        return sum(one.bandwidth for one in self.readings) / len(self.readings) if self.readings else None

    def was_quiet(self, reading: Reading) -> bool:
        """Keeps the reading of a round or piece that the gate lets through, and else why it does not count."""
        problem = None if self.plan.gate is None else self.plan.gate.problem(reading)
        if problem is None:
            self.readings.append(reading)
        else:
            self.discarded.append(problem)
        return problem is None

    def raise_peaks(self, probe: MachineProbe) -> None:
        """Measures arithmetic again: a peak is the best that was seen."""
        for kind, rate in self.multiply_adds_per_second.items():
            self.multiply_adds_per_second[kind] = max(rate, probe.arithmetic(kind))

    def timed_works(self, arm: ArmResult) -> tuple[Work, ...]:
        """What the arm did and what counted: all of its works, or those with a quiet piece."""
        return tuple(work for work in self.case.run if work.name in arm.by_work)
