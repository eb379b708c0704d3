"""A case from start to end: open every arm, check the answers, then A B A B until enough quiet rounds are there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol

from .arm import Arm, ArmFailed
from .cases import Case, Work
from .check import Difference, Judge, compare, compare_beams
from .gate import Gate, Reading, Watch
from .spec_bench import loop_start

__all__ = ["ArmResult", "CaseResult", "MachineProbe", "Plan", "run_case"]

_JUDGED = ("tokens", "chosen", "top")
_MOST_ATTEMPTS = 3
"""Times the wanted rounds; on a machine that is not quiet by then, there is nothing to wait for."""


class MachineProbe(Protocol):
    """What `rounds` asks a `Probe`."""

    @property
    def process_id(self) -> int | None: ...
    @property
    def isa(self) -> str: ...
    def bandwidth(self, bytes: int | None = None) -> float: ...
    def arithmetic(self, kind: str) -> float: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """How a case is run. `gate=None` keeps every round, and then nothing may be claimed."""

    rounds: int = 9
    gate: Gate | None = field(default_factory=Gate)
    timeout: float = 300.0


@dataclass(slots=True)
class ArmResult:
    """What became of one arm: `timed`, `failed`, `missing`, or `untimed` where the case was refused or never quiet."""

    arm: Arm
    status: str = "untimed"
    reason: str | None = None
    answers: dict[str, list[int]] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    """Per quiet round, all works together."""
    by_work: dict[str, list[float]] = field(default_factory=dict)
    tokens_per_step: dict[str, float] = field(default_factory=dict)
    """Of works whose arm tells its steps."""
    cut: dict[str, list[float]] = field(default_factory=dict)
    """Seconds up to where a text begins to loop, of works with groups whose arm tells when its tokens came."""

    @property
    def alive(self) -> bool:
        """Whether it may be asked."""
        return self.status not in ("failed", "missing")


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
    """Of the rounds that count."""
    discarded: list[str] = field(default_factory=list)
    """Why the others do not."""
    refused: str | None = None
    """Why nothing was timed, or not enough."""

    @property
    def sound(self) -> bool:
        """Whether everything that is installed was measured."""
        return self.refused is None and all(arm.status in ("timed", "missing") for arm in self.arms)

    @property
    def bandwidth(self) -> float | None:
        """Bytes per second, the mean over the rounds that count."""
        return sum(one.bandwidth for one in self.readings) / len(self.readings) if self.readings else None


def run_case(case: Case, plan: Plan, probe: MachineProbe, tell: Callable[[str], None] = lambda _: None) -> CaseResult:
    """Measures a case; `tell` hears what happens. Nothing an arm does raises: it is in the result."""
    with ExitStack() as stack:
        arms = [stack.enter_context(Arm(spec, case.threads, plan.timeout)) for spec in case.arms]
        kinds = {kind for work in case.works for kind in work.multiply_adds}
        rates = {kind: probe.arithmetic(kind) for kind in sorted(kinds)}
        result = CaseResult(case, plan, [ArmResult(arm) for arm in arms], probe.isa, rates)
        for arm in result.arms:
            tell(f"{case.name}: starting {arm.arm.spec.name}")
            _attempt(arm, arm.arm.open)
        tell(f"{case.name}: comparing answers")
        result.refused = _check(result)
        if result.refused is None:
            _rounds(result, probe, tell)
            if case.step_bytes:
                result.model_bandwidth = probe.bandwidth(int(case.step_bytes))
    return result


def _attempt(arm: ArmResult, call: Callable[[], Any]) -> Any:
    """None if the arm failed."""
    try:
        return call()
    except ArmFailed as failure:
        _note(arm, failure)
        return None


def _note(arm: ArmResult, failure: ArmFailed) -> None:
    arm.status, arm.reason = failure.status, str(failure)


def _check(result: CaseResult) -> str | None:
    """Every arm does every work once, which also warms it up. Returns why nothing may be timed."""
    for work in result.case.run:
        for arm in result.arms:
            if arm.alive and (reply := _run(arm, work)) is not None:
                arm.answers[work.name] = reply["tokens"]
                if reply.get("steps"):
                    arm.tokens_per_step[work.name] = reply["counted"] / reply["steps"]
    reference, *others = result.arms
    if not reference.alive:
        return f"the reference, {reference.arm.spec.name}, did not run"
    for arm in others:
        for work in result.case.run:
            if arm.alive and arm.arm.spec.compared:
                _compare(reference, arm, work)
    wrong = [arm for arm in others if any(not one.near_tie for one in arm.differences)]
    ours = [arm for arm in wrong if arm.arm.spec.ours]
    if not reference.alive:
        return f"the reference, {reference.arm.spec.name}, did not run"
    if ours or (wrong and not any(arm.alive for arm in others)):
        names = ", ".join(arm.arm.spec.name for arm in (ours or wrong))
        return f"answers differ from {reference.arm.spec.name}'s: {names}"
    return None


def _compare(reference: ArmResult, arm: ArmResult, work: Work) -> None:
    answers = reference.answers[work.name], arm.answers[work.name]
    rounding = arm.arm.spec.rounding
    try:
        if work.kind == "beams":
            difference = compare_beams(work.name, *answers, _score(reference, work), rounding)
        else:
            judges = None if arm.arm.spec.exact else (_judge(reference, work), _judge(arm, work))
            difference = compare(work.name, *answers, judges, rounding)
    except ArmFailed as failure:
        _note(arm if arm.arm.failed is failure else reference, failure)
        return
    if difference is None:
        return
    arm.differences.append(difference)
    if not difference.near_tie:
        _note(arm, arm.arm.fail(f"answers wrongly: {difference}"))


def _score(reference: ArmResult, work: Work) -> Callable[[Sequence[int]], float]:
    def score(text: Sequence[int]) -> float:
        return float(reference.arm.ask({"do": "judge", "work": {**work.frame(), "text": list(text)}})["score"])

    return score


def _judge(arm: ArmResult, work: Work) -> Judge:
    def judge(tokens: int) -> Mapping[str, Any]:
        kind = "rows" if work.kind == "rows" else "decode"
        told = arm.arm.ask({"do": "judge", "work": {**work.frame(), "kind": kind, "tokens": tokens}})
        lengths = [len(value) if isinstance(value := told.get(key), list) else 0 for key in _JUDGED]
        if lengths[:2] != [tokens, tokens] or lengths[2] < 2:
            raise arm.arm.fail(f"judged {work.name} without {', '.join(_JUDGED)} of {tokens} tokens")
        return told

    return judge


def _rounds(result: CaseResult, probe: MachineProbe, tell: Callable[[str], None]) -> None:
    plan, kept = result.plan, 0
    before = probe.bandwidth()
    for _ in range(_MOST_ATTEMPTS * plan.rounds):
        if kept == plan.rounds:
            break
        tell(f"{result.case.name}: round {kept + 1} of {plan.rounds}, {len(result.discarded)} not quiet")
        ours = [probe.process_id, *(arm.arm.process_id for arm in result.arms)]
        watch = Watch(process for process in ours if process is not None)
        times, cuts = _one_round(result)
        after = probe.bandwidth()
        # A peak is the best that was seen.
        for kind, rate in result.multiply_adds_per_second.items():
            result.multiply_adds_per_second[kind] = max(rate, probe.arithmetic(kind))
        reading = Reading(before, after, watch.others())
        before = after
        if not result.arms[0].alive:
            result.refused = f"the reference, {result.arms[0].arm.spec.name}, failed while it was timed"
            return
        problem = None if plan.gate is None else plan.gate.problem(reading)
        if problem is not None:
            result.discarded.append(problem)
            continue
        kept += 1
        result.readings.append(reading)
        for arm, by_work, its_cut in zip(result.arms, times, cuts, strict=True):
            if arm.alive:
                arm.seconds.append(sum(by_work.values()))
                rest = {
                    work.name: by_work[work.between[0]] - by_work[work.between[1]]
                    for work in result.case.works
                    if work.between is not None
                }
                for kept_in, seconds_of in ((arm.by_work, by_work | rest), (arm.cut, its_cut)):
                    for name, seconds in seconds_of.items():
                        kept_in.setdefault(name, []).append(seconds)
    if kept < plan.rounds:
        tried = kept + len(result.discarded)
        result.refused = f"only {kept} of {tried} rounds were quiet, {plan.rounds} are needed (--ungated keeps all)"
    for arm in result.arms:
        if arm.alive and arm.seconds:
            arm.status = "timed"


def _one_round(result: CaseResult) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    """Seconds of every arm and work, the arms in turn; and of the texts that loop, up to there."""
    times: list[dict[str, float]] = [{} for _ in result.arms]
    cuts: list[dict[str, float]] = [{} for _ in result.arms]
    for work in result.case.run:
        for arm, its, its_cut in zip(result.arms, times, cuts, strict=True):
            if not arm.alive:
                continue
            reply = _run(arm, work)
            if reply is None:
                continue
            if reply["tokens"] != arm.answers[work.name]:
                _note(arm, arm.arm.fail(f"answered {work.name} in another way than before"))
                continue
            # A first event with several tokens leaves fewer to be counted; all are brought to the same number.
            its[work.name] = reply["seconds"] * work.units / reply["counted"]
            if work.group is not None and reply.get("marks"):
                its_cut[work.name] = _seconds_per_token_until(reply["marks"], loop_start(reply["tokens"]))
    return times, cuts


def _seconds_per_token_until(marks: list[list[float]], tokens: int) -> float:
    """From the first event to the one that reaches `tokens`, over the tokens that came meanwhile."""
    (first, begin), *later = marks
    for count, seconds in later:
        if count >= tokens:
            return (seconds - begin) / (count - first)
    return (marks[-1][1] - begin) / max(marks[-1][0] - first, 1)


def _run(arm: ArmResult, work: Work) -> dict[str, Any] | None:
    """A checked reply; None if the arm failed."""
    reply: dict[str, Any] | None = _attempt(arm, lambda: arm.arm.ask({"do": "run", "work": work.frame()}))
    if reply is None:
        return None
    counted = reply.setdefault("counted", 1)
    tokens, seconds = reply.get("tokens"), reply.get("seconds")
    timed = isinstance(seconds, float) and seconds > 0.0 and isinstance(counted, int) and counted > 0
    if isinstance(tokens, list) and timed:
        return reply
    _note(arm, arm.arm.fail(f"answered {work.name} without tokens, or without the seconds of any"))
    return None
