"""Rows of a bench and their picture: what is stored of a case, with its floors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from draftwood.bench import cases, plot, rows
from draftwood.bench.figures import LEAST_ROUNDS
from draftwood.bench.gate import Gate
from draftwood.bench.rounds import Plan, run_case
from draftwood.cli.machine import describe
from support.bench_toys import ROW, Still, Toys


def test_rows(toys: Toys) -> None:
    result = toys.run(toys.arm("a"), toys.arm("b"), toys.arm("c", "exit", ours=False), rounds=LEAST_ROUNDS)
    made = rows.rows_of(result, describe())
    assert all(set(row) == ROW for row in made)
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    first, second, third = made
    assert first["reference"] and first["ratio"] is None and first["answers_equal"] is True
    assert second["ratio"] == {"median": 1.0, "low": 1.0, "high": 1.0, "rounds": LEAST_ROUNDS, "claim": None}
    assert third["answers_equal"] is None
    # 1 MB at 20 GB/s is 50 µs, a million multiply-adds at 50 per ns are 20 µs: memory is the floor.
    assert first["floor"]["seconds"] == pytest.approx(50e-6)
    assert first["floor"]["share"] == pytest.approx(50e-6 / first["spread"]["median"])
    assert first["bandwidth"]["bytes_per_second"] == 20e9
    assert first["units"] == 7 and first["units_per_second"] == pytest.approx(7 / first["spread"]["median"])


def test_rows_are_added_to_what_is_there(tmp_path: Path) -> None:
    for number in range(2):
        path = rows.append_rows(tmp_path / "2026-01-01-machine", [{"number": number}])
    assert [json.loads(line)["number"] for line in path.read_text().splitlines()] == [0, 1]


def test_folder_names() -> None:
    name = rows.folder_name({"processor": "AMD EPYC (Milan)", "cores": 2, "instruction_set": "avx2"})
    assert name[10:] == "-amd-epyc-milan-2-cores-avx2"


@pytest.mark.parametrize("ending", [".png", ".svg", ".pdf"])
def test_the_picture(toys: Toys, ending: str) -> None:
    result = toys.run(toys.arm("a"), toys.arm("b"), toys.arm("c", "exit", ours=False))
    path = toys.folder / f"picture{ending}"
    made = rows.rows_of(result, describe())
    plot.plot(made, path)
    start = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[ending]
    assert path.read_bytes().startswith(start)
    # More than the empty frame of a picture without rows.
    empty = toys.folder / f"empty{ending}"
    plot.plot([], empty)
    assert path.stat().st_size > empty.stat().st_size + 2000


def test_steps_of_several_rows_and_their_roofline(toys: Toys) -> None:
    """t(n): the floor of each work is its own, whichever side of the roofline it lies on."""
    work = cases.Work("1 row", "rows", (1, 2, 3), 8, bytes=1e6, multiply_adds={"Q8_0": 1e5}, rows=1)
    many = cases.Work("9 rows", "rows", (1, 2, 3), 8, bytes=1e6, multiply_adds={"Q8_0": 4e6, "F32": 1e6}, rows=9)
    case = cases.Case("toys", "a test", "toy", (work, many), (toys.arm("a"), toys.arm("b")), 1, "q8_0", 1e6)
    result = run_case(case, Plan(2, gate=Gate(others=1e9)), Still())
    assert result.model_bandwidth == 20e9
    assert set(result.multiply_adds_per_second) == {"Q8_0", "F32"}
    made = rows.rows_of(result, describe())
    one, nine = (made[0]["by_work"][name]["floor"] for name in ("1 row", "9 rows"))
    assert one["seconds"] == pytest.approx(50e-6) and one["arithmetic_seconds"] == pytest.approx(4e-6)
    assert nine["seconds"] == pytest.approx(4e6 / 25e9 + 1e6 / 50e9) and nine["memory_seconds"] == pytest.approx(50e-6)
    assert made[1]["by_work"]["9 rows"]["ratio"]["claim"] is None
    plot.plot(made, toys.folder / "roof.png")
    assert (toys.folder / "roof.png").stat().st_size > 20_000


def test_the_difference_of_two_works(toys: Toys) -> None:
    """Is not run, and has the seconds of one work less those of the other, round by round."""
    late = cases.Work("late", "decode", (1, 2, 3), 8, bytes=3e6)
    early = cases.Work("early", "decode", (1, 2), 8, bytes=1e6)
    rest = cases.Work("rest", "difference", (), bytes=2e6, cache_bytes=2e6, between=("late", "early"))
    arms = (toys.arm("a"), toys.arm("b", cache="f16"))
    case = cases.Case("toys", "", "toy", (late, early, rest), arms, 1)
    result = run_case(case, Plan(2, gate=None), Still())
    assert len(toys.log()) == 2 * 2 * 3
    for arm in result.arms:
        both = zip(arm.by_work["late"], arm.by_work["early"], strict=True)
        assert arm.seconds == pytest.approx([sum(pair) for pair in both])
        assert arm.by_work["rest"] == pytest.approx([-0.001, -0.001])
    made = rows.rows_of(result, describe())
    assert [row["by_work"]["rest"]["floor"]["bytes"] for row in made] == [2e6, 1e6]
    assert [row["floor"]["bytes"] for row in made] == [4e6, 4e6]


def test_the_reading_of_weights_per_100_mb(toys: Toys) -> None:
    works = (cases.Work("weights", "decode", (1, 2, 3), 8, loaded=50_000_000),)
    result = run_case(cases.Case("toys", "", "toy", works, (toys.arm("a"),), 1), Plan(1, gate=None), Still())
    (row,) = rows.rows_of(result, describe())
    assert row["by_work"]["weights"]["seconds_per_100_mb"] == pytest.approx(2 * row["by_work"]["weights"]["median"])
