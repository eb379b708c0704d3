"""Results as rows of JSON: one per case and arm, with everything that a reader needs to argue with it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .cases import Work
from .figures import Ratio, ratio_of, spread_of
from .rounds import ArmResult, CaseResult
from .spec_bench import loop_start

__all__ = ["SCHEMA", "append_rows", "folder_name", "rows_of"]

SCHEMA = 3
_COPYING = 2.5


def rows_of(result: CaseResult, machine: dict[str, Any]) -> list[dict[str, Any]]:
    """One row per arm, the failed and the missing ones included."""
    from .. import _core

    common = {
        "schema": SCHEMA,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "draftwood": _core.__version__,
        "case": result.case.name,
        "about": result.case.about,
        "model": result.case.model,
        "weights": result.case.kind,
        "works": [
            {"name": w.name, "kind": w.kind, "prompt": len(w.prompt), "tokens": w.tokens, "rows": w.rows}
            for w in result.case.works
        ],
        "units": result.case.units,
        "threads": result.case.threads,
        "machine": machine,
        "gate": None if result.plan.gate is None else asdict(result.plan.gate),
        "rounds": len(result.readings),
        "discarded": result.discarded,
        "refused": result.refused,
        "bandwidth": _bandwidth(result),
        "multiply_adds_per_second": result.multiply_adds_per_second,
    }
    return [{**common, **_arm_row(result, arm)} for arm in result.arms]


def append_rows(folder: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """Adds to `rows.jsonl` of a folder, which is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "rows.jsonl"
    with path.open("a", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
    return path


def folder_name(machine: dict[str, Any]) -> str:
    """`<date>-<machine>`: processor, cores and instruction set."""
    words = f"{machine['processor']} {machine['cores']} cores {machine['instruction_set']}"
    slug = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")
    return f"{datetime.now(UTC):%Y-%m-%d}-{slug}"


def _arm_row(result: CaseResult, arm: ArmResult) -> dict[str, Any]:
    spec = arm.arm.spec
    row: dict[str, Any] = {
        "arm": spec.name,
        "ours": spec.ours,
        # Ours tell what the kernels of these weights use; beside a peer stands what ours could use here.
        "isa": arm.arm.about.get("isa", result.isa) if spec.ours else result.isa,
        "reference": arm is result.arms[0],
        "status": arm.status,
        "reason": arm.reason,
        "settings": dict(spec.settings),
        "told": arm.arm.about,
        "answers_equal": not arm.differences if arm.answers and spec.compared else None,
        "differences": [one.as_dict() for one in arm.differences if one.near_tie],
        "seconds": arm.seconds,
        "spread": None,
        "units_per_second": None,
        "ratio": None,
        "floor": None,
        "by_work": {work.name: _work_row(result, arm, work) for work in result.case.works if work.name in arm.by_work},
        "groups": _groups(result, arm),
    }
    if arm.status != "timed":
        return row
    spread = spread_of(arm.seconds)
    row |= {"spread": asdict(spread), "units_per_second": result.case.units / spread.median}
    row["floor"] = _floor(result, result.case.run, spread.median, spec.cache)
    reference = result.arms[0].seconds
    if arm is not result.arms[0] and len(arm.seconds) == len(reference):
        ratio = ratio_of(arm.seconds, reference)
        row["ratio"] = _claimed(result, ratio)
    return row


def _work_row(result: CaseResult, arm: ArmResult, work: Work) -> dict[str, Any]:
    """One text of several: which of them gain is as telling as their sum."""
    seconds, reference = arm.by_work[work.name], result.arms[0].by_work.get(work.name, [])
    spread = spread_of(seconds)
    ratio = None
    if arm is not result.arms[0] and len(seconds) == len(reference):
        ratio = _claimed(result, ratio_of(seconds, reference))
    return {
        "median": spread.median,
        "p10": spread.p10,
        "p90": spread.p90,
        "ratio": ratio,
        "tokens_per_step": arm.tokens_per_step.get(work.name),
        "floor": _floor(result, (work,), spread.median, arm.arm.spec.cache),
        "seconds_per_100_mb": spread.median / (work.loaded / 1e8) if work.loaded else None,
    }


def _claimed(result: CaseResult, ratio: Ratio) -> dict[str, Any]:
    """Rounds that were not guarded, or too few quiet ones, are no ground for a claim."""
    claim = ratio.claim if result.plan.gate is not None and result.refused is None else None
    return {**asdict(ratio), "claim": claim}


def _groups(result: CaseResult, arm: ArmResult) -> dict[str, Any] | None:
    """Geometric means over texts of an arm's seconds over the reference's: of each group, of all groups' means, and of
    all texts up to where they begin to loop.
    """
    reference, works = result.arms[0], [work for work in result.case.works if work.group is not None]
    if arm is reference or not works or len(arm.seconds) != len(reference.seconds) or not arm.seconds:
        return None
    groups: dict[str, list[str]] = {}
    for work in works:
        groups.setdefault(str(work.group), []).append(work.name)

    def mean(logs: NDArray[np.float64]) -> dict[str, Any]:
        return _claimed(result, ratio_of(np.exp(logs).tolist(), [1.0] * len(logs)))

    def means(ours: dict[str, list[float]], theirs: dict[str, list[float]]) -> dict[str, Any]:
        logs = {
            group: np.log([ours[name] for name in names]).mean(axis=0)
            - np.log([theirs[name] for name in names]).mean(axis=0)
            for group, names in groups.items()
        }
        each = {group: mean(values) for group, values in logs.items()}
        return {"all": mean(np.mean(list(logs.values()), axis=0)), "each": each}

    cut, looping = None, None
    if set(arm.cut) == set(reference.cut) == {work.name for work in works}:
        cut = means(arm.cut, reference.cut)
        looping = sum(loop_start(arm.answers[name]) < len(arm.answers[name]) for name in arm.cut)
    return {
        "whole": means(arm.by_work, reference.by_work),
        "cut": cut,
        "looping": looping,
        "copying": _copying(result, arm, works),
    }


def _copying(result: CaseResult, arm: ArmResult, works: Sequence[Work]) -> dict[str, Any] | None:
    """The geometric mean over the texts in which a step of the reference brings 2.5 tokens and more."""
    reference = result.arms[0]
    texts = [work.name for work in works if reference.tokens_per_step.get(work.name, 0.0) >= _COPYING]
    if not texts:
        return None
    each = [np.log(arm.by_work[name]) - np.log(reference.by_work[name]) for name in texts]
    ratios = np.exp(np.mean(each, axis=0)).tolist()
    return {"texts": texts, "ratio": _claimed(result, ratio_of(ratios, [1.0] * len(ratios)))}


def _floor(result: CaseResult, works: Sequence[Work], seconds: float, cache: str) -> dict[str, Any] | None:
    """Work by work, R = max(bytes / bandwidth, multiply-adds / their rate); for drafts it is plain decoding's floor.

    `cache` is the type of the arm's cache, f32 or f16.
    """
    bandwidth, rates = result.bandwidth, result.multiply_adds_per_second
    if bandwidth is None or not all(work.bytes for work in works):
        return None

    def arithmetic(work: Work) -> float:
        return sum(count / rates[kind] for kind, count in work.multiply_adds.items())

    floor = sum(max(work.bytes_with(cache) / bandwidth, arithmetic(work)) for work in works)
    return {
        "seconds": floor,
        "share": floor / seconds,
        "bytes": sum(work.bytes_with(cache) for work in works),
        "multiply_adds": sum(sum(work.multiply_adds.values()) for work in works),
        "memory_seconds": sum(work.bytes_with(cache) for work in works) / bandwidth,
        "arithmetic_seconds": sum(arithmetic(work) for work in works),
    }


def _bandwidth(result: CaseResult) -> dict[str, Any] | None:
    if result.bandwidth is None:
        return None
    values = [value for one in result.readings for value in (one.before, one.after)]
    per_thread = result.bandwidth / result.case.threads
    return {
        "bytes_per_second": result.bandwidth,
        "per_thread": per_thread,
        "of_the_models_size": result.model_bandwidth,
        "least": min(values),
        "most": max(values),
        "others": [one.others for one in result.readings],
    }


def _commit() -> str | None:
    """Of the clone that the package is run from, marked if files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
