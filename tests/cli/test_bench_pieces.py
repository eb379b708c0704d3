"""Long cases in pieces: disturbed ones are done again, arms take turns, claims stand on texts. No time is measured."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from draftwood.bench import cases, rows
from draftwood.bench.arm import ArmFailed, ArmSpec
from draftwood.bench.figures import LEAST_TEXTS, geometric_mean_over_texts, ratio_of_sums_over_texts
from draftwood.bench.gate import Gate
from draftwood.bench.pieces import MOST_ATTEMPTS, Piece, divide, run_pieces
from draftwood.bench.results import ArmResult, CaseResult, Plan
from draftwood.cli.machine import describe


class Room:
    """A machine in which time passes only where an arm computes. Arm a takes `seconds` for a text, b times `ratios`.

    `log` holds arms and texts in the order in which they were asked: a0.
    """

    process_id, isa = 1, "avx2"

    def __init__(self, seconds: Sequence[float], ratios: Sequence[float], groups: int = 1, rounds: int = 1) -> None:
        self.now, self.log = 0.0, list[str]()
        self.seconds = {f"text {i}": s for i, s in enumerate(seconds)}
        self.ratios = dict(zip(self.seconds, ratios, strict=True))
        self.disturbed: list[tuple[float, float]] = []
        self.slow: list[tuple[float, float]] = []
        """Spans of time in which somebody else computes, and in which memory is slow."""
        works = tuple(
            cases.Work(name, "decode", (i,), 2, bytes=1e6, group=f"group {i % groups}", ends=True)
            for i, name in enumerate(self.seconds)
        )
        specs = [ArmSpec(name, Path("nowhere")) for name in ("a", "b")]
        case = cases.Case("texts", "a test", "toy", works, tuple(specs), 1, in_pieces=True)
        plan = Plan(rounds, Gate(), watch=self.watch, clock=lambda: self.now)
        arms: list[Any] = [Scripted(spec, self) for spec in specs]
        self.result = CaseResult(case, plan, [ArmResult(arm) for arm in arms], self.isa, {})
        for arm in self.result.arms:
            arm.answers = {work.name: [1, 2] for work in works}
        self.result.expected = {name: s * (1.0 + self.ratios[name]) for name, s in self.seconds.items()}

    def bandwidth(self, bytes: int | None = None) -> float:
        return 10e9 if any(begin <= self.now < end for begin, end in self.slow) else 20e9

    def arithmetic(self, kind: str) -> float:
        raise AssertionError("no multiply-adds here")

    def watch(self, ours: Iterable[int]) -> Watched:
        assert list(ours) == [1, 1, 1]
        return Watched(self, self.now)

    def run(self) -> list[dict[str, Any]]:
        self.told: list[str] = []
        run_pieces(self.result, self, self.told.append)
        return rows.rows_of(self.result, describe())


class Watched:
    def __init__(self, room: Room, begin: float) -> None:
        self._room, self._begin = room, begin

    def others(self) -> float | None:
        begin, end = self._begin, self._room.now
        shared = [max(0.0, min(end, until) - max(begin, since)) for since, until in self._room.disturbed]
        return sum(shared) / (end - begin)


class Scripted:
    """An arm without a process."""

    process_id = 1

    def __init__(self, spec: ArmSpec, room: Room) -> None:
        self.spec, self._room, self.failed = spec, room, None
        self.about: dict[str, Any] = {}
        self.fails_at, self.answer = math.inf, [1, 2]

    def ask(self, frame: dict[str, Any]) -> dict[str, Any]:
        if self._room.now >= self.fails_at:
            raise self.fail("died")
        name = f"text {frame['work']['prompt'][0]}"
        seconds = self._room.seconds[name] * (self._room.ratios[name] if self.spec.name == "b" else 1.0)
        self._room.now += seconds
        self._room.log.append(f"{self.spec.name}{frame['work']['prompt'][0]}")
        return {"tokens": list(self.answer), "seconds": seconds, "counted": 1, "marks": [[1, 0.0], [2, seconds]]}

    def fail(self, reason: str) -> ArmFailed:
        return ArmFailed("failed", reason)


# ── pieces ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_pieces_are_works_of_two_seconds_together_and_longer_ones_alone() -> None:
    works = [cases.Work(str(i), "decode", (1,)) for i in range(6)]
    seconds = dict(zip("012345", (0.5, 1.0, 0.5, 7.0, 1.9, 0.05), strict=True))
    pieces = divide(works, seconds, turn=3)
    assert [[work.name for work in piece.works] for piece in pieces] == [["0", "1", "2"], ["3"], ["4", "5"]]
    assert [piece.turn for piece in pieces] == [3, 4, 5]
    assert divide(works[:1], seconds) == [Piece((works[0],), 0)]
    assert divide([], {}) == []


def test_arms_begin_in_turn() -> None:
    room = Room([1.0] * 3, [1.5] * 3, rounds=2)
    room.run()
    first = ["a0", "b0", "b1", "a1", "a2", "b2"]
    second = ["b0", "a0", "a1", "b1", "b2", "a2"]
    assert room.log == first + second
    assert room.result.rounds == 2
    assert room.result.arms[1].by_work == {f"text {i}": [1.5, 1.5] for i in range(3)}


def test_only_the_disturbed_piece_is_done_again_and_at_the_end() -> None:
    room = Room([1.0] * 4, [1.5] * 4)
    room.disturbed = [(3.0, 3.5)]  # while b has its turn with text 1, which takes from 2.5 to 5
    made = room.run()
    assert room.log == ["a0", "b0", "b1", "a1", "a2", "b2", "b3", "a3", "b1", "a1"]
    assert room.result.discarded == ["other processes used 0.20 cores"]
    assert len(room.result.readings) == 4 and room.result.sound and room.result.rounds == 1
    assert all(len(seconds) == 1 for arm in room.result.arms for seconds in arm.by_work.values())
    assert made[0]["rounds"] == 1 and len(made[0]["bandwidth"]["others"]) == 4


def test_slow_memory_spoils_the_pieces_at_its_edges() -> None:
    room = Room([1.0] * 4, [1.5] * 4)
    room.slow = [(2.0, 3.0)]  # at 2.5, between the first two pieces
    room.run()
    assert room.result.discarded == [
        "memory gave 20.0 GB/s before and 10.0 after",
        "memory gave 10.0 GB/s before and 20.0 after",
    ]
    assert room.log[-4:] == ["a0", "b0", "b1", "a1"]
    assert room.result.sound and room.result.bandwidth == 20e9


def test_a_machine_that_is_never_quiet_is_given_up() -> None:
    room = Room([1.0] * 4, [1.5] * 4)
    room.disturbed = [(0.0, 1e9)]
    made = room.run()
    assert len(room.log) == 2 * 4 * MOST_ATTEMPTS
    assert room.result.refused == (
        "only 0 of 12 pieces were quiet, 4 of 4 works had no quiet piece (--ungated keeps all)"
    )
    assert made[1]["ratio"] is None and made[1]["status"] == "untimed"


@pytest.mark.parametrize(("texts", "refused"), [(20, False), (8, True)])
def test_a_few_texts_without_a_quiet_piece_are_left_out(texts: int, refused: bool) -> None:
    room = Room([1.0] * texts, [1.5] * texts, groups=2)
    # Text 1 comes second, and then only after all others.
    room.disturbed = [(2.5, 5.0), (texts * 2.5, 1e9)]
    made = room.run()
    assert (room.result.refused is not None) is refused
    assert len(room.result.discarded) == 2 * texts + 1
    assert "text 1" not in made[1]["by_work"] and len(made[1]["by_work"]) == texts - 1
    assert made[1]["ratio"]["texts"] == texts - 1
    assert made[1]["ratio"]["claim"] == (None if refused else "faster")
    # Units, floor and seconds are those of the texts that count.
    assert made[0]["seconds"] == [pytest.approx(texts - 1.0)]
    assert made[0]["units_per_second"] == pytest.approx(1.0)
    assert made[0]["floor"]["bytes"] == pytest.approx(1e6 * (texts - 1))
    assert any("1 works had no quiet piece" in line for line in room.told) is not refused


def test_an_arm_that_fails_in_a_piece() -> None:
    for name, told in (("a", "the reference, a, failed while it was timed"), ("b", None)):
        room = Room([1.0] * 4, [1.5] * 4)
        (arm,) = [one for one in room.result.arms if one.arm.spec.name == name]
        arm.arm.fails_at = 5.0  # type: ignore[attr-defined]
        room.run()
        assert room.result.refused == told and arm.status == "failed"
        assert not room.result.sound
    assert room.result.arms[0].status == "timed" and len(room.result.arms[0].by_work) == 4


def test_an_answer_that_changes_ends_its_arm() -> None:
    room = Room([1.0] * 4, [1.5] * 4)
    room.result.arms[1].arm.answer = [1, 3]  # type: ignore[attr-defined]
    made = room.run()
    assert "text 0 in another way than before" in made[1]["reason"] and made[1]["ratio"] is None


# ── claims over texts ───────────────────────────────────────────────────────────────────────────────────────────────


def test_one_round_of_texts_is_a_claim() -> None:
    seconds = [0.5, 1.0, 2.0, 1.0, 0.5, 1.0, 2.0, 1.0, 0.5, 1.0]
    room = Room(seconds, [1.4, 1.6] * 5, groups=2)
    made = room.run()[1]
    ratio, groups = made["ratio"], made["groups"]
    total = sum(s * r for s, r in zip(seconds, [1.4, 1.6] * 5, strict=True)) / sum(seconds)
    assert ratio["median"] == pytest.approx(total) and ratio["claim"] == "faster" and ratio["texts"] == 10
    assert ratio["low"] < ratio["median"] < ratio["high"]
    whole = groups["whole"]
    assert whole["all"]["median"] == pytest.approx(math.sqrt(1.4 * 1.6)) and whole["all"]["claim"] == "faster"
    # Five texts are too few, though all of them have the same ratio.
    assert whole["each"]["group 0"]["median"] == pytest.approx(1.4) and whole["each"]["group 0"]["claim"] is None
    assert groups["cut"]["all"]["median"] == pytest.approx(math.sqrt(1.4 * 1.6))
    # A single round is none for a single text.
    assert made["by_work"]["text 0"]["ratio"]["claim"] is None


def test_nothing_is_claimed_without_the_gate() -> None:
    room = Room([1.0] * 10, [1.5] * 10)
    room.result.plan = Plan(1, None, watch=room.watch, clock=lambda: room.now)
    room.disturbed = [(0.0, 1e9)]
    made = room.run()[1]
    assert made["ratio"]["median"] == pytest.approx(1.5) and made["ratio"]["claim"] is None
    assert made["groups"]["whole"]["all"]["claim"] is None and not room.result.discarded


def test_a_claim_over_texts_needs_enough_of_them_and_two_of_each_group() -> None:
    def claim(*groups: list[float]) -> str | None:
        pairs = [(ratios, [1.0] * len(ratios)) for ratios in groups]
        assert ratio_of_sums_over_texts(pairs).claim == geometric_mean_over_texts(pairs).claim
        return geometric_mean_over_texts(pairs).claim

    assert claim([1.2] * LEAST_TEXTS) == "faster" and claim([0.8] * LEAST_TEXTS) == "slower"
    assert claim([1.2] * (LEAST_TEXTS - 1)) is None
    assert claim([1.2] * LEAST_TEXTS, [1.2]) is None and claim([1.2] * (LEAST_TEXTS - 2), [1.2] * 2) == "faster"
    assert claim([0.5, 2.0] * LEAST_TEXTS) is None


def test_intervals_over_texts_cover_the_truth() -> None:
    """Groups of 5 texts with ratios around e^0.3: the interval holds it about 95 times of 100."""
    rng, held = np.random.default_rng(5), 0
    for _ in range(200):
        groups = [(np.exp(rng.normal(0.3, 0.4, 5)).tolist(), [1.0] * 5) for _ in range(6)]
        ratio = geometric_mean_over_texts(groups)
        held += ratio.low <= math.exp(0.3) <= ratio.high
    assert 180 <= held <= 198


# ── the case ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_spec_bench_is_done_in_pieces(tmp_path: Path) -> None:
    (tmp_path / "spec-bench").mkdir()
    lines = [json.dumps({"question_id": i, "category": "qa", "turns": [f"Why {i}?"]}) for i in range(30)]
    (tmp_path / "spec-bench/question.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    setting = cases.Setting(1, beside=False, data=tmp_path)
    for name, count in (("spec-bench", 20), ("spec-bench-5", 5)):
        (case,) = cases.build(name, setting)
        assert case.in_pieces and len(case.works) == count
        assert name not in cases.choose([])
    (short,) = cases.build("decode", setting)
    assert not short.in_pieces
