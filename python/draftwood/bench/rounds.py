"""A case from start to end: open every arm, check the answers, then A B A B until enough of it was quiet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from .arm import Arm, ArmFailed
from .cases import Case, Work
from .check import Judge, compare, compare_beams
from .pieces import MOST_ATTEMPTS, run_pieces
from .results import ArmResult, CaseResult, MachineProbe, Plan
from .turns import attempt, note, run_work, watched

__all__ = ["ArmResult", "CaseResult", "MachineProbe", "Plan", "run_case"]

_JUDGED = ("tokens", "chosen", "top")


def run_case(case: Case, plan: Plan, probe: MachineProbe, tell: Callable[[str], None] = lambda _: None) -> CaseResult:
    """Measures a case; `tell` hears what happens. Nothing an arm does raises: it is in the result."""
    with ExitStack() as stack:
        arms = [stack.enter_context(Arm(spec, case.threads, plan.timeout)) for spec in case.arms]
        kinds = {kind for work in case.works for kind in work.multiply_adds}
        rates = {kind: probe.arithmetic(kind) for kind in sorted(kinds)}
        result = CaseResult(case, plan, [ArmResult(arm) for arm in arms], probe.isa, rates)
        for arm in result.arms:
            tell(f"{case.name}: starting {arm.arm.spec.name}")
            attempt(arm, arm.arm.open)
        tell(f"{case.name}: comparing answers")
        result.refused = _check(result)
        if result.refused is None:
            (run_pieces if case.in_pieces else _rounds)(result, probe, tell)
            if case.step_bytes:
                result.model_bandwidth = probe.bandwidth(int(case.step_bytes))
    return result


def _check(result: CaseResult) -> str | None:
    """Every arm does every work once, which also warms it up. Returns why nothing may be timed."""
    clock = result.plan.clock
    for work in result.case.run:
        begin = clock()
        for arm in result.arms:
            if arm.alive and (reply := run_work(arm, work)) is not None:
                arm.answers[work.name] = reply["tokens"]
                if reply.get("steps"):
                    arm.tokens_per_step[work.name] = reply["counted"] / reply["steps"]
        result.expected[work.name] = clock() - begin
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
        note(arm if arm.arm.failed is failure else reference, failure)
        return
    if difference is None:
        return
    arm.differences.append(difference)
    if not difference.near_tie:
        note(arm, arm.arm.fail(f"answers wrongly: {difference}"))


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
    for _ in range(MOST_ATTEMPTS * plan.rounds):
        if kept == plan.rounds:
            break
        tell(f"{result.case.name}: round {kept + 1} of {plan.rounds}, {len(result.discarded)} not quiet")
        times, reading = watched(result, probe, before, result.case.run, result.arms)
        before = reading.after
        result.raise_peaks(probe)
        if result.refused is not None:
            return
        if not result.was_quiet(reading):
            continue
        kept += 1
        for arm, by_work, cut in times:
            if arm.alive:
                arm.seconds.append(sum(by_work.values()))
                rest = {
                    work.name: by_work[work.between[0]] - by_work[work.between[1]]
                    for work in result.case.works
                    if work.between is not None
                }
                arm.keep(by_work | rest, cut)
    if kept < plan.rounds:
        tried = kept + len(result.discarded)
        result.refused = f"only {kept} of {tried} rounds were quiet, {plan.rounds} are needed (--ungated keeps all)"
    for arm in result.arms:
        if arm.alive and arm.seconds:
            arm.status = "timed"
