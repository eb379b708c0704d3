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

from .cases import Work
from .figures import claimed, ratio_of, spread_of
from .groups import groups_of, ratio_of_arm
from .results import ArmResult, CaseResult

__all__ = ["SCHEMA", "append_rows", "folder_name", "rows_of"]

SCHEMA = 4


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
        "rounds": result.rounds,
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
        "groups": groups_of(result, arm),
    }
    if arm.status != "timed":
        return row
    spread = spread_of(arm.seconds)
    works = result.timed_works(arm)
    row |= {"spread": asdict(spread), "units_per_second": sum(work.units for work in works) / spread.median}
    row["floor"] = _floor(result, works, spread.median, spec.cache)
    if arm is not result.arms[0] and len(arm.seconds) == len(result.arms[0].seconds):
        row["ratio"] = ratio_of_arm(result, arm)
    return row


def _work_row(result: CaseResult, arm: ArmResult, work: Work) -> dict[str, Any]:
    """One text of several: which of them gain is as telling as their sum."""
    seconds, reference = arm.by_work[work.name], result.arms[0].by_work.get(work.name, [])
    spread = spread_of(seconds)
    ratio = None
    if arm is not result.arms[0] and len(seconds) == len(reference):
        ratio = claimed(ratio_of(seconds, reference), guarded=result.guarded)
    return {
        "median": spread.median,
        "p10": spread.p10,
        "p90": spread.p90,
        "ratio": ratio,
        "tokens_per_step": arm.tokens_per_step.get(work.name),
        "floor": _floor(result, (work,), spread.median, arm.arm.spec.cache),
        "seconds_per_100_mb": spread.median / (work.loaded / 1e8) if work.loaded else None,
    }


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
