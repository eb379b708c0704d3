"""Spec-Bench: its questions, where texts begin to loop, means of groups."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from draftwood import errors
from draftwood.bench import cases, rows
from draftwood.bench.arm import Arm, ArmSpec
from draftwood.bench.rounds import ArmResult, CaseResult, Plan
from draftwood.bench.spec_bench import Question, loop_start, questions
from draftwood.cli.machine import describe

ROOT = Path(__file__).resolve().parents[2]
TOY = ROOT / "python/draftwood/bench/arms/ours.py"


def test_where_a_text_begins_to_loop() -> None:
    assert loop_start(range(100)) == 100
    assert loop_start([*range(40), *range(10, 40), *range(10, 40)]) == 40
    assert loop_start([7] * 50) == 2
    assert loop_start([]) == 0


def test_questions_of_each_task_the_categories_of_mt_bench_in_turn(tmp_path: Path) -> None:
    (tmp_path / "spec-bench").mkdir()
    categories = ["writing", "writing", "coding", "coding", "qa", "qa", "qa"]
    lines = [{"question_id": i, "category": kind, "turns": [f"text {i}"]} for i, kind in enumerate(categories)]
    packed = gzip.compress("\n".join(map(json.dumps, lines)).encode())
    (tmp_path / "spec-bench/question.jsonl.gz").write_bytes(packed)
    found = list(questions(tmp_path, per_task=3))
    assert [one.name for one in found] == ["mt-bench 0", "mt-bench 2", "mt-bench 1", "qa 4", "qa 5", "qa 6"]
    (message,) = found[0].messages(str.split)
    assert message == {"role": "user", "content": "text 0"}
    (long,) = Question("qa", "qa 9", "word " * 3000).messages(str.split)
    assert 1000 < len(long["content"].split()) <= 1150
    with pytest.raises(errors.InvalidArgument, match="DRAFTWOOD_DATA"):
        list(questions(tmp_path / "nowhere"))


def test_geometric_means_of_groups_whole_and_cut() -> None:
    works = tuple(cases.Work(n, "decode", (1,), 9, group=g) for n, g in (("a", "x"), ("b", "x"), ("c", "y")))
    drafts, plain = (ArmSpec(name, TOY) for name in ("drafts", "plain"))
    arms = [
        ArmResult(Arm(spec, 1, 1.0), status="timed", answers={n: [1, 2, 3] for n in "abc"}) for spec in (drafts, plain)
    ]
    for arm, factor in zip(arms, (1.0, 2.0), strict=True):
        arm.by_work = {"a": [1.0 * factor], "b": [3.0 * factor**3], "c": [5.0 * factor]}
        arm.cut = {name: [1.0] for name in "abc"}
        arm.seconds = [9.0]
    case = cases.Case("toys", "", "toy", works, (drafts, plain), 1)
    groups = rows.rows_of(CaseResult(case, Plan(1), arms, "avx2", {}), describe())[1]["groups"]
    whole = groups["whole"]
    assert whole["each"]["x"]["median"] == pytest.approx(4.0) and whole["each"]["y"]["median"] == pytest.approx(2.0)
    # Groups weigh the same, however many texts they have.
    assert whole["all"]["median"] == pytest.approx(8.0**0.5)
    assert groups["cut"]["all"]["median"] == pytest.approx(1.0) and groups["looping"] == 0
    assert groups["copying"] is None
    arms[0].tokens_per_step = {"a": 2.6, "b": 2.4, "c": 4.0}
    copying = rows.rows_of(CaseResult(case, Plan(1), arms, "avx2", {}), describe())[1]["groups"]["copying"]
    assert copying["texts"] == ["a", "c"] and copying["ratio"]["median"] == pytest.approx(2.0)
