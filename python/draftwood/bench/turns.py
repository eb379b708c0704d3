"""Arms in turn: each does a work, its answer is looked at again, and its seconds are brought to the same tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .arm import ArmFailed
from .cases import Work
from .gate import Reading
from .results import ArmResult, CaseResult, MachineProbe
from .spec_bench import loop_start

__all__ = ["Times", "attempt", "note", "run_work", "time_works", "watched"]

Times = list[tuple[ArmResult, dict[str, float], dict[str, float]]]
"""Of each arm, seconds by work; and of the texts that loop, up to there."""


def attempt(arm: ArmResult, call: Callable[[], Any]) -> Any:
    """None if the arm failed."""
    try:
        return call()
    except ArmFailed as failure:
        note(arm, failure)
        return None


def note(arm: ArmResult, failure: ArmFailed) -> None:
    """What became of the arm."""
    arm.status, arm.reason = failure.status, str(failure)


def run_work(arm: ArmResult, work: Work) -> dict[str, Any] | None:
    """A checked reply; None if the arm failed."""
    reply: dict[str, Any] | None = attempt(arm, lambda: arm.arm.ask({"do": "run", "work": work.frame()}))
    if reply is None:
        return None
    counted = reply.setdefault("counted", 1)
    tokens, seconds = reply.get("tokens"), reply.get("seconds")
    timed = isinstance(seconds, float) and seconds > 0.0 and isinstance(counted, int) and counted > 0
    if isinstance(tokens, list) and timed:
        return reply
    note(arm, arm.arm.fail(f"answered {work.name} without tokens, or without the seconds of any"))
    return None


def time_works(works: Sequence[Work], arms: Sequence[ArmResult]) -> Times:
    """Work by work, the arms in the order that is given; arms that are not alive are left out."""
    times: Times = [(arm, {}, {}) for arm in arms]
    for work in works:
        for arm, its, its_cut in times:
            if not arm.alive or (reply := run_work(arm, work)) is None:
                continue
            if reply["tokens"] != arm.answers[work.name]:
                note(arm, arm.arm.fail(f"answered {work.name} in another way than before"))
                continue
            # A first event with several tokens leaves fewer to be counted; all are brought to the same number.
            its[work.name] = reply["seconds"] * work.units / reply["counted"]
            if work.group is not None and reply.get("marks"):
                its_cut[work.name] = _seconds_per_token_until(reply["marks"], loop_start(reply["tokens"]))
    return times


def watched(
    result: CaseResult, probe: MachineProbe, before: float, works: Sequence[Work], arms: Sequence[ArmResult]
) -> tuple[Times, Reading]:
    """Times works, and tells what was around them. `before`: what memory gave at last."""
    ours = [probe.process_id, *(arm.arm.process_id for arm in result.arms)]
    watch = result.plan.watch(process for process in ours if process is not None)
    times = time_works(works, arms)
    after = probe.bandwidth()
    reading = Reading(before, after, watch.others())
    if not result.arms[0].alive:
        result.refused = f"the reference, {result.arms[0].arm.spec.name}, failed while it was timed"
    return times, reading


def _seconds_per_token_until(marks: list[list[float]], tokens: int) -> float:
    """From the first event to the one that reaches `tokens`, over the tokens that came meanwhile."""
    (first, begin), *later = marks
    for count, seconds in later:
        if count >= tokens:
            return (seconds - begin) / (count - first)
    return (marks[-1][1] - begin) / max(marks[-1][0] - first, 1)
