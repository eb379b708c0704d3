"""The case `retrieval`: an index and scans that must agree, about something."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from typer.testing import Result

from draftwood.bench import cases
from draftwood.bench.arms import retrieval as arm

Command = Callable[..., Result]


def test_the_index_and_the_scans_say_the_same(command: Command) -> None:
    result = command("bench", "retrieval", "--rounds", "1", "--threads", "1", "--ungated", "--json", "-")
    index, scans = json.loads(result.stdout)["rows"]
    assert index["reference"] and index["told"]["tokens"] == scans["told"]["tokens"] > 500_000
    assert scans["answers_equal"] and scans["status"] == "timed"
    works = {work.name for case in cases.build("retrieval", cases.Setting(1)) for work in case.works}
    assert set(index["by_work"]) == set(scans["by_work"]) == works
    drafted = index["by_work"]["appends and drafts, 192 tokens"]
    assert drafted["tokens_per_step"] > 1.5


def test_works_ask_for_something() -> None:
    """Counts of zero and empty lists would agree whatever the index said."""
    side: Any = arm.Arm({"who": "scan", "threads": 1})
    (case,) = cases.build("retrieval", cases.Setting(1))
    told = {work.kind: side.run(work.frame())["tokens"] for work in case.works if work.kind != "drafts"}
    assert sum(count > 0 for count in told["count"]) >= 32 and min(told["count"]) == 0
    assert len(told["distinct"]) > 500 and len(told["locate"]) > 64 and len(told["step"]) > 60
    side.close()
