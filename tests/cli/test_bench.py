"""`draftwood bench` over toy arms: order, idle arms, answers before times, arms that fail, rows, picture."""

from __future__ import annotations

import ast
import gzip
import io
import json
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from draftwood import _core, errors
from draftwood.bench import cases, plot, rows, worker
from draftwood.bench.arm import Arm, ArmFailed, ArmSpec
from draftwood.bench.check import compare, compare_beams, first_difference
from draftwood.bench.figures import LEAST_ROUNDS, ratio_of, spread_of
from draftwood.bench.gate import Gate, Reading, Watch
from draftwood.bench.peers import Peers
from draftwood.bench.rounds import ArmResult, CaseResult, Plan, run_case
from draftwood.bench.spec_bench import Question, loop_start, questions
from draftwood.cli.machine import describe
from draftwood.models.gguf import find

Command = Callable[..., Result]
ROOT = Path(__file__).resolve().parents[2]
TOY = ROOT / "python/draftwood/bench/arms/ours.py"

# A toy arm that notes at every run its name and the states of all workers; `mood` goes wrong from run `when` on.
ADAPTER = """
import os, signal, sys, time
from pathlib import Path
import draftwood as dw

class Arm:
    def __init__(self, settings):
        self.name, self.mood, self.when = settings["name"], settings["mood"], settings["when"]
        self.folder, self.runs = Path(settings["folder"]), 0
        (self.folder / f"{self.name}.pid").write_text(str(os.getpid()))
        if self.mood == "unloadable":
            raise RuntimeError("the weights are damaged")
        if self.mood == "not installed":
            import no_such_peer
        self.engine = dw.testing.toy_engine(drafter=None, context_weight=0.0)

    def about(self):
        print("libraries print to stdout")
        os.write(1, b"and so does C")
        return {"versions": {"toy": "1"}}

    def run(self, work):
        self.runs += 1
        with (self.folder / "log").open("a") as log:
            log.write(f"{self.name} {self.states()}\\n")
        params = dw.SamplingParams(max_new_tokens=work["tokens"])
        tokens = self.engine.generate(work["prompt"], params).token_ids.tolist()
        if self.runs >= self.when:
            self.misbehave(tokens)
        seconds = float("nan") if self.mood == "nan" else self.runs * 0.001
        return {"tokens": tokens, "seconds": seconds, "counted": len(tokens) - 1}

    def misbehave(self, tokens):
        if self.mood == "wrong":
            tokens[3] += 1
        if self.mood == "exit":
            print("out of memory, says the library", file=sys.stderr)
            os._exit(3)
        if self.mood == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.mood == "hangs":
            time.sleep(600)
        if self.mood == "raises":
            raise ValueError("no such token")

    def states(self):
        states = []
        for path in sorted(self.folder.glob("*.pid")):
            stat = Path(f"/proc/{path.read_text()}/stat")
            state = stat.read_text().rpartition(")")[2].split()[0] if stat.exists() else "gone"
            states.append(f"{path.stem}={state}")
        return ",".join(states)

    def judge(self, work):
        output = self.engine.generate(work["prompt"], dw.SamplingParams(max_new_tokens=work["tokens"], logprobs=2))
        top = [[int(i), float(p)] for i, p in zip(output.logprobs.top_ids[-1], output.logprobs.top[-1])]
        if self.mood == "wrong" and self.when == 0:
            return {"tokens": output.token_ids.tolist()}
        return {"tokens": output.token_ids.tolist(), "chosen": output.logprobs.chosen.tolist(), "top": top}
"""


class Still:
    """A probe that takes no time: memory is as fast as the list says, then as its last entry."""

    process_id, isa = None, "avx2"

    def __init__(self, *bandwidths: float) -> None:
        self._values = list(bandwidths or (20e9,))

    def bandwidth(self, bytes: int | None = None) -> float:
        return self._values.pop(0) if len(self._values) > 1 else self._values[0]

    def arithmetic(self, kind: str) -> float:
        return {"F32": 50e9, "Q8_0": 25e9}[kind]


class Toys:
    """Makes arms and cases over the adapter above."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "adapter.py").write_text(ADAPTER)

    def arm(self, name: str, mood: str = "", when: int = 1, **spec: Any) -> ArmSpec:
        settings = {"name": name, "mood": mood, "when": when, "folder": str(self.folder)}
        return ArmSpec(name, self.folder / "adapter.py", settings, **spec)

    def run(self, *arms: ArmSpec, rounds: int = 2, probe: Any = None, timeout: float = 60.0, **plan: Any) -> CaseResult:
        works = (cases.Work("numbers", "decode", (1, 2, 3), 8, bytes=1e6, multiply_adds={"F32": 1e6}),)
        case = cases.Case("toys", "a test", "toy", works, arms, 1)
        plan.setdefault("gate", Gate(others=1e9))
        return run_case(case, Plan(rounds, timeout=timeout, **plan), probe or Still())

    def log(self) -> list[tuple[str, dict[str, str]]]:
        lines = (self.folder / "log").read_text().splitlines()
        pairs = [line.split(" ") for line in lines]
        return [(name, dict(state.split("=") for state in states.split(","))) for name, states in pairs]


def gone(process: int) -> bool:
    """Ended; an orphan that nobody collects stays in the table as a zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.fixture
def toys(tmp_path: Path) -> Iterator[Toys]:
    made = Toys(tmp_path)
    yield made
    # Whatever happened to an arm, its process is gone.
    assert all(gone(int(path.read_text())) for path in tmp_path.glob("*.pid"))


# ── order and idle arms ─────────────────────────────────────────────────────────────────────────────────────────────


def test_arms_run_in_turn_after_their_answers_were_compared(toys: Toys) -> None:
    result = toys.run(toys.arm("a"), toys.arm("b"), toys.arm("c"), rounds=3)
    assert [name for name, _ in toys.log()] == ["a", "b", "c"] * (1 + 3)
    assert [arm.status for arm in result.arms] == ["timed"] * 3
    # The first run is the one that was compared; its time is not among the rounds.
    assert [arm.seconds for arm in result.arms] == [pytest.approx([0.002, 0.003, 0.004])] * 3
    assert result.sound


def test_idle_arms_are_stopped(toys: Toys) -> None:
    toys.run(toys.arm("a"), toys.arm("b"))
    assert len(toys.log()) == 6
    for name, states in toys.log():
        assert states.pop(name) in "RS"
        assert set(states.values()) == {"T"}, (name, states)


def test_workers_end_with_a_parent_that_was_killed(toys: Toys) -> None:
    program = (
        "import os, sys, json, signal\n"
        "from pathlib import Path\n"
        "from draftwood.bench.arm import Arm, ArmSpec\n"
        "arm = Arm(ArmSpec('a', Path(sys.argv[1]), json.loads(sys.argv[2])), 1, 60.0)\n"
        "arm.open()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    spec = toys.arm("a")
    settings = json.dumps(dict(spec.settings))
    done = subprocess.run([sys.executable, "-c", program, str(spec.adapter), settings], check=False)
    assert done.returncode == -signal.SIGKILL
    process = int((toys.folder / "a.pid").read_text())
    deadline = time.monotonic() + 10
    while not gone(process) and time.monotonic() < deadline:
        time.sleep(0.01)


def test_an_arm_may_be_another_python_and_then_sees_none_of_our_paths(
    toys: Toys, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = toys.folder / "seen.py"
    seen.write_text("import os\nclass Arm:\n def __init__(self, s): 0\n def about(self): return dict(os.environ)\n")
    monkeypatch.setenv("PYTHONPATH", "/ours")
    for python, ours in ((None, True), (sys.executable, False)):
        with Arm(ArmSpec("a", seen, python=python), 3, 60.0) as arm:
            arm.open()
            assert ("PYTHONPATH" in arm.about) is ours
            assert arm.about["OMP_NUM_THREADS"] == arm.about["OPENBLAS_NUM_THREADS"] == "3"


# ── answers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("ours", [True, False])
def test_a_different_answer_refuses_to_time(toys: Toys, ours: bool) -> None:
    result = toys.run(toys.arm("a"), toys.arm("b", "wrong", ours=ours))
    assert [name for name, _ in toys.log()] == ["a", "b"]
    assert result.refused is not None and "answers differ from a's: b" in result.refused
    assert result.arms[1].status == "failed"
    assert "token 3 of numbers" in str(result.arms[1].reason)
    assert not result.sound and not any(arm.seconds for arm in result.arms)


def test_a_peer_that_answers_wrongly_is_a_failed_arm_and_the_others_are_timed(toys: Toys) -> None:
    result = toys.run(toys.arm("a"), toys.arm("b", "wrong", ours=False), toys.arm("c", ours=False))
    assert [arm.status for arm in result.arms] == ["timed", "failed", "timed"]
    assert [name for name, _ in toys.log()] == ["a", "b", "c", "a", "c", "a", "c"]
    assert not result.sound


def test_an_arm_that_cannot_judge_is_a_failed_arm(toys: Toys) -> None:
    result = toys.run(toys.arm("a"), toys.arm("b", "wrong", when=0, ours=False), toys.arm("c", ours=False))
    assert [arm.status for arm in result.arms] == ["timed", "failed", "timed"]
    assert "judged numbers without" in str(result.arms[1].reason)


def test_our_own_wrong_answer_refuses_even_if_a_peer_agrees(toys: Toys) -> None:
    result = toys.run(toys.arm("a"), toys.arm("b", "wrong"), toys.arm("c", ours=False))
    assert result.refused is not None and not any(arm.seconds for arm in result.arms)


def test_an_answer_that_changes_while_it_is_timed(toys: Toys) -> None:
    result = toys.run(toys.arm("a"), toys.arm("b", "wrong", when=3))
    assert result.arms[1].status == "failed"
    assert "in another way than before" in str(result.arms[1].reason)


def judged(tokens: list[int], chosen: list[float], top: list[tuple[int, float]]) -> Callable[[int], dict[str, Any]]:
    return lambda count: {"tokens": tokens[:count], "chosen": chosen[:count], "top": [list(pair) for pair in top]}


def test_near_ties() -> None:
    left, right = [5, 6, 7], [5, 6, 8]
    ours = judged(left, [-1.0, -2.0, -0.70], [(7, -0.70), (8, -0.71)])
    close = judged(right, [-1.0, -2.006, -0.70], [(8, -0.70), (7, -0.704)])
    difference = compare("w", left, right, (ours, close))
    assert difference is not None and difference.near_tie
    assert difference.position == 2 and difference.gap == pytest.approx(0.01)
    assert difference.rounding == pytest.approx(0.01)  # the log-probability of 8: -0.71 and -0.70

    far = judged(left, [-1.0, -2.0, -0.2], [(7, -0.2), (8, -3.0)])
    assert not compare("w", left, right, (far, close)).near_tie
    # A gap of 0.5 and roundings of 0.3: near each other, and yet nothing that float32 explains.
    wild = judged(left, [-1.0, -2.0, -0.5], [(7, -0.5), (8, -1.0)])
    assert not compare("w", left, right, (wild, close)).near_tie
    assert compare("w", left, right, (wild, close), most=0.31).near_tie
    third = judged(left, [-1.0, -2.0, -0.70], [(7, -0.70), (9, -0.71)])
    assert not compare("w", left, right, (third, close)).near_tie
    elsewhere = judged([5, 5, 5], [-1.0, -2.0, -0.70], [(7, -0.70), (8, -0.71)])
    assert not compare("w", left, right, (elsewhere, close)).near_tie
    assert not compare("w", left, right, None).near_tie
    assert compare("w", left, left, None) is None


def test_beams_that_end_in_another_text_must_have_its_score() -> None:
    scores = {(1, 2): -3.0, (1, 3): -3.04, (1, 4): -2.0}

    def told(other: list[int]) -> Any:
        return compare_beams("w", [1, 2], other, lambda text: scores[tuple(text)], 0.05)

    assert told([1, 2]) is None
    assert told([1, 3]).near_tie and told([1, 3]).gap == pytest.approx(0.04)
    assert not told([1, 4]).near_tie and not told([1, 2, 3]).near_tie


def test_answers_of_other_lengths_are_no_near_tie() -> None:
    assert first_difference([1, 2], [1, 2, 3]) == 2
    difference = compare("w", [1, 2], [1, 2, 3], None)
    assert difference is not None and not difference.near_tie and difference.reference is None


# ── arms that fail ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("mood", "when", "reason"),
    [
        ("exit", 1, "died during run: exit status 3; its last lines: .*out of memory, says the library"),
        ("exit", 2, "exit status 3"),
        ("killed", 2, "signal SIGKILL"),
        ("raises", 2, "ValueError: no such token"),
        ("nan", 9, "died during run"),
        ("unloadable", 1, "RuntimeError: the weights are damaged"),
    ],
)
def test_a_failing_arm_says_why_and_the_others_go_on(toys: Toys, mood: str, when: int, reason: str) -> None:
    import re

    result = toys.run(toys.arm("a"), toys.arm("b", mood, when), toys.arm("c"))
    assert [arm.status for arm in result.arms] == ["timed", "failed", "timed"]
    assert re.search(reason, str(result.arms[1].reason), re.DOTALL), result.arms[1].reason
    assert len(result.arms[0].seconds) == len(result.arms[2].seconds) == 2
    assert not result.sound
    row = rows.rows_of(result, describe())[1]
    assert row["status"] == "failed" and row["reason"] and row["ratio"] is None


def test_a_hanging_arm(toys: Toys) -> None:
    begin = time.monotonic()
    result = toys.run(toys.arm("a"), toys.arm("b", "hangs", 2), timeout=5.0)
    assert time.monotonic() - begin < 60.0
    assert result.arms[1].status == "failed" and "hung: no answer within 5 s to run" in str(result.arms[1].reason)


def test_without_the_reference_nothing_is_timed(toys: Toys) -> None:
    for when, told in ((1, "did not run"), (3, "failed while it was timed")):
        result = toys.run(toys.arm("a", "exit", when), toys.arm("b"))
        assert result.refused is not None and told in result.refused
        assert not result.sound


def test_missing_peers_are_told_and_no_failure(toys: Toys) -> None:
    gone = toys.folder / "nowhere"
    absent = toys.arm("b", python=str(gone), ours=False)
    unbuilt = toys.arm("c", needs=(gone,), ours=False)
    broken = toys.folder / "python"
    broken.write_text("no program")
    result = toys.run(toys.arm("a"), absent, unbuilt, toys.arm("d", "not installed", ours=False))
    assert [arm.status for arm in result.arms] == ["timed", "missing", "missing", "missing"]
    assert all("make peers" in str(arm.reason) for arm in result.arms[1:])
    assert "no_such_peer" in str(result.arms[3].reason)
    assert result.sound
    result = toys.run(toys.arm("a"), toys.arm("b", python=str(broken), ours=False))
    assert result.arms[1].status == "failed" and "could not be started" in str(result.arms[1].reason)


def test_an_arm_that_failed_stays_failed(toys: Toys) -> None:
    with Arm(toys.arm("a", "killed"), 1, 60.0) as arm:
        arm.open()
        for _ in range(2):
            with pytest.raises(ArmFailed, match="SIGKILL"):
                arm.ask({"do": "run", "work": {"kind": "decode", "prompt": [1], "tokens": 4}})
        assert arm.process_id is None


# ── the quiet gate ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_rounds_between_which_memory_changed_are_discarded(toys: Toys) -> None:
    probe = Still(20e9, 20e9, 15e9, 15.5e9, 15.5e9)
    result = toys.run(toys.arm("a"), toys.arm("b"), rounds=3, probe=probe)
    assert result.discarded == ["memory gave 20.0 GB/s before and 15.0 after"]
    assert len(result.readings) == len(result.arms[0].seconds) == len(result.arms[1].seconds) == 3
    assert result.sound
    assert result.bandwidth == pytest.approx((20e9 + 15.25e9 + 15.5e9) / 3)


def test_a_machine_that_is_never_quiet_is_told_and_claims_nothing(toys: Toys) -> None:
    probe = Still(*[20e9, 30e9] * 20)
    result = toys.run(toys.arm("a"), toys.arm("b"), rounds=2, probe=probe)
    assert result.refused is not None and "only 0 of 6 rounds were quiet" in result.refused
    assert not result.sound
    assert all(row["ratio"] is None for row in rows.rows_of(result, describe()))
    kept = toys.run(toys.arm("a"), toys.arm("b"), rounds=2, probe=Still(*[20e9, 30e9] * 20), gate=None)
    assert kept.sound and len(kept.readings) == 2


def test_the_gate() -> None:
    gate = Gate()
    assert gate.problem(Reading(20e9, 21.9e9, 0.1)) is None
    assert "memory" in str(gate.problem(Reading(20e9, 22.5e9, 0.0)))
    assert "0.50 cores" in str(gate.problem(Reading(20e9, 20e9, 0.5)))
    assert gate.problem(Reading(20e9, 20e9, None)) is None


def test_the_watch_sees_others_and_not_ours() -> None:
    burner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        watches = Watch([]), Watch([burner.pid])
        begin = time.monotonic()
        while time.monotonic() - begin < 1.0:
            time.sleep(0.05)
        used, beside = (watch.others() for watch in watches)
    finally:
        burner.kill()
        burner.wait()
    assert used is not None and beside is not None
    assert used > beside


# ── figures ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_claim_needs_its_interval_to_exclude_one_and_enough_rounds() -> None:
    ones = [1.0] * LEAST_ROUNDS
    slower = ratio_of([1.2, 1.3, 1.25, 1.22, 1.28, 1.31, 1.21, 1.26, 1.24], ones)
    assert slower.claim == "faster" and slower.median == 1.25 and 1.2 <= slower.low <= slower.high <= 1.31
    assert ratio_of([0.8, 0.7, 0.75, 0.72, 0.78, 0.81, 0.71, 0.76, 0.74], ones).claim == "slower"
    assert ratio_of([0.9, 1.3, 0.95, 1.2, 0.98, 1.1, 0.97, 1.02, 1.01], ones).claim is None
    assert ratio_of([1.2] * (LEAST_ROUNDS - 1), ones[1:]).claim is None


def test_ratios_are_taken_within_rounds() -> None:
    """A slow minute slows both arms; the ratio does not notice."""
    assert ratio_of([2.0, 20.0, 2.0], [1.0, 10.0, 1.0]) == ratio_of([2.0] * 3, [1.0] * 3)


def test_spreads() -> None:
    spread = spread_of([float(i) for i in range(11)])
    assert (spread.p10, spread.median, spread.p90) == (1.0, 5.0, 9.0)


# ── messages ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_messages() -> None:
    pipe = io.BytesIO()
    for frame in ({"do": "run", "text": "ä\n"}, {}):
        worker.write_frame(pipe, frame)
    pipe.seek(0)
    assert worker.read_frame(pipe) == {"do": "run", "text": "ä\n"}
    assert worker.read_frame(pipe) == {}
    assert worker.read_frame(pipe) is None
    assert worker.read_frame(io.BytesIO(struct.pack("<I", 9) + b"{}")) is None
    for body in (struct.pack("<I", 1 << 31), struct.pack("<I", 2) + b"[]", struct.pack("<I", 2) + b"\xff\xff"):
        with pytest.raises(ValueError, match=r"message|decode"):
            worker.read_frame(io.BytesIO(body))


def test_the_time_from_the_start_of_a_process(toys: Toys) -> None:
    with Arm(ArmSpec("a", TOY, {"model": "toy", "executor": "transformers", "drafter": None}), 1, 60.0) as arm:
        arm.open()
        work = {"prompt": [1, 2, 3], "tokens": 1}
        reply = arm.ask({"do": "run", "work": {"kind": "start", **work}})
        warm = arm.ask({"do": "run", "work": {"kind": "prefill", **work}})
    assert reply["tokens"] == warm["tokens"]
    assert reply["seconds"] > 10 * warm["seconds"]


# ── the probe ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_bandwidth_of_memory() -> None:
    assert 1e8 < _core.read_bandwidth(1, 64 << 20) < 1e12
    assert 1e8 < _core.read_bandwidth(2, 64 << 20) < 1e12
    assert 1e6 < _core.multiply_rate(1, "Q4_1") < 1e13
    with pytest.raises(errors.InvalidArgument, match="one of F32"):
        _core.multiply_rate(1, "Q3_K")
    for threads, size in ((0, 1 << 20), (1 << 20, 1 << 20), (1, 0)):
        with pytest.raises(errors.InvalidArgument, match="threads must be"):
            _core.read_bandwidth(threads, size)


# ── rows and picture ────────────────────────────────────────────────────────────────────────────────────────────────

ROW = {
    "schema", "time", "commit", "draftwood", "case", "about", "model", "works", "units", "threads", "isa", "machine",
    "gate", "rounds", "discarded", "refused", "bandwidth", "multiply_adds_per_second", "weights", "groups",
    "arm", "ours", "reference", "status", "reason", "settings", "told", "answers_equal", "differences", "seconds",
    "spread", "units_per_second", "ratio", "floor", "by_work",
}  # fmt: skip


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


# ── the command ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_toy_case(command: Command, tmp_path: Path) -> None:
    out, picture = tmp_path / "out.json", tmp_path / "out.png"
    options = ["--rounds", "2", "--threads", "1", "--ungated", "--results", str(tmp_path / "results")]
    result = command("bench", "toy", *options, "--json", str(out), "--plot", str(picture))
    assert result.exit_code == 0, result.output
    assert "reference" in result.stdout and "nothing is claimed" in result.stdout
    assert "\x1b" not in result.stdout + result.stderr
    document = json.loads(out.read_text())
    assert set(document) == {"schema", "machine", "rows"}
    assert [row["arm"] for row in document["rows"]] == ["draftwood drafts", "draftwood plain"]
    assert all(set(row) == ROW and row["status"] == "timed" and row["answers_equal"] for row in document["rows"])
    assert document["rows"][0]["gate"] is None and document["rows"][1]["ratio"]["claim"] is None
    (file,) = (tmp_path / "results").glob("*/rows.jsonl")
    assert [json.loads(line) for line in file.read_text().splitlines()] == document["rows"]
    assert picture.stat().st_size > 5000


def test_ctrl_c_ends_every_worker(tmp_path: Path) -> None:
    arguments = ["bench", "toy", "--rounds", "100000", "--threads", "1", "--ungated"]
    process = subprocess.Popen(
        [sys.executable, "-m", "draftwood", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    while "round 2" not in process.stderr.readline():
        assert process.poll() is None
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(workers) == 3
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130 and "stopped" in told and "Traceback" not in told
    assert all(gone(int(worker)) for worker in workers)


def test_json_on_stdout_is_one_document(command: Command) -> None:
    result = command("bench", "toy", "--rounds", "1", "--threads", "1", "--ungated", "--json", "-")
    assert len(json.loads(result.stdout)["rows"]) == 2


def test_the_list(command: Command) -> None:
    result = command("bench", "--list")
    assert [line.split()[0] for line in result.stdout.splitlines()] == list(cases.CASES)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["no-such-case"], "CASE must be some of decode"),
        (["toy", "--rounds", "0"], "--rounds must be 1 or more"),
        (["toy", "--threads", "0"], "--threads must be 1 or more"),
        (["toy", "--timeout", "0"], "--timeout must be more than 0"),
        (["toy", "--plot", "picture.bmp"], "--plot must be a file ending in .png"),
        (["toy", "--json", "no-such-folder/out.json"], "--json must be a file in a folder that is there"),
    ],
)
def test_bad_arguments(command: Command, arguments: list[str], told: str) -> None:
    result = command("bench", *arguments)
    assert result.exit_code == 2
    assert told in result.stderr


def test_a_failed_arm_is_the_exit_status(command: Command) -> None:
    result = command("bench", "toy", "--rounds", "1", "--threads", "1", "--ungated", "--timeout", "0.001")
    assert result.exit_code == 1
    assert "hung: no answer within 0.001 s to open" in result.stdout
    assert "not measured" in result.stdout


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


# ── Spec-Bench ──────────────────────────────────────────────────────────────────────────────────────────────────────


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


# ── cases and peers ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_cases_of_smollm2() -> None:
    setting = cases.Setting(2, peers=Peers(ROOT / "benches/baselines", Path("/built")))
    made = {name: case for name in cases.choose([]) for case in cases.build(name, setting)}
    assert [(len(w.prompt), w.tokens) for w in made["decode"].works] == [(128, 128)]
    assert [len(w.prompt) for w in made["prefill"].works] == [512]
    assert made["decode"].works[0].bytes == pytest.approx(127 * 538e6, rel=0.05)
    assert made["decode"].units == 127 and made["prefill"].units == made["start"].units == 1
    assert made["decode"].arms[0].name == "draftwood"
    peers = {"transformers", "llama.cpp", "ik_llama.cpp", "onnxruntime-genai", "openvino-genai"}
    assert {arm.name for arm in made["start"].arms} == {"draftwood", *peers}
    drafts = [arm.name for arm in made["drafts"].arms]
    assert drafts[:2] == ["draftwood drafts", "draftwood plain"]
    assert set(drafts[2:]) == {*peers, "transformers drafts", "llama.cpp drafts"}
    assert [arm.name for arm in made["copies"].arms] == drafts
    assert {work.group for work in made["copies"].works} == {"code edit", "extraction"}
    caches = {arm.name: arm.cache for arm in made["context"].arms}
    assert caches == {
        "draftwood": "f32", "draftwood f16": "f16", "transformers f32": "f32",
        "llama.cpp f16": "f16", "llama.cpp f32": "f32", "ik_llama.cpp f16": "f16",
    }  # fmt: skip
    assert {arm.name for arm in made["beams"].arms} == {"draftwood", *peers} - {"llama.cpp", "ik_llama.cpp"}
    assert "onnxruntime-genai" not in {arm.name for arm in made["beams-64"].arms}
    assert [arm.name for arm in made["decode"].arms if arm.exact] == ["draftwood"]


def test_types_of_weights(tmp_path: Path) -> None:
    built = Peers(ROOT / "benches/baselines", tmp_path)
    with pytest.raises(errors.InvalidArgument, match="nothing there"):
        cases.build("decode", cases.Setting(1, peers=built, types=("q8_0",)))
    with pytest.raises(errors.InvalidArgument, match="--types must be some of f32"):
        cases.build("decode", cases.Setting(1, peers=built, types=("q3_k",)))
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/smollm2-q4_0.gguf").symlink_to(find())
    first, second = cases.build("decode", cases.Setting(1, peers=built, types=("f32", "q4_0")))
    assert (first.name, second.name) == ("decode", "decode q4_0")
    assert second.step_bytes == pytest.approx(96e6, rel=0.05) and set(second.works[0].multiply_adds) == {"Q4_1", "Q8_0"}
    compared = {arm.name: arm.compared for arm in second.arms}
    assert compared == {"draftwood": True, "llama.cpp": True, "ik_llama.cpp": True, "onnxruntime-genai int4": False}
    (rows_only,) = cases.build("forward", cases.Setting(1, peers=built, types=("f32",)))
    assert [arm.name for arm in rows_only.arms] == ["draftwood", "transformers", "llama.cpp", "ik_llama.cpp"]
    assert [work.rows for work in rows_only.works][:2] == [1, 2] and len(rows_only.works[-1].prompt) == 128 + 32
    (alone,) = cases.build("forward", cases.Setting(1, peers=built, beside=False))
    assert [arm.name for arm in alone.arms] == ["draftwood"]


def test_floors_count_the_bytes_of_the_arms_own_cache() -> None:
    work = cases.Work("text", "decode", (1,), 9, bytes=100.0, cache_bytes=40.0)
    assert (work.bytes_with("f32"), work.bytes_with("f16")) == (100.0, 80.0)


def test_fast_numerics_concern_weights_of_16_bits(tmp_path: Path) -> None:
    built = Peers(ROOT / "benches/baselines", tmp_path)
    with pytest.raises(errors.InvalidArgument, match="f16 or bf16 with prefill-fast"):
        cases.build("prefill-fast", cases.Setting(1))
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/smollm2-bf16.gguf").symlink_to(find())
    (case,) = cases.build("prefill-fast", cases.Setting(1, peers=built, types=("bf16",)))
    fast, exact, *_ = case.arms
    assert (fast.settings["numerics"], fast.exact, exact.exact) == ("fast", False, True)


def test_another_executor_is_only_another_argument() -> None:
    (case,) = cases.build("decode", cases.Setting(1, executor="transformers"))
    (arm,) = case.arms
    assert arm.settings["executor"] == "transformers" and not arm.exact


def test_every_peer_has_an_adapter_and_a_pinned_environment() -> None:
    folder = ROOT / "benches/baselines"
    listed = json.loads((folder / "peers.json").read_text())
    for peer in listed.values():
        (arm,) = [
            node
            for node in ast.parse((folder / peer["adapter"]).read_text()).body
            if isinstance(node, ast.ClassDef) and node.name == "Arm"
        ]
        assert {"__init__", "about", "run", "judge"} <= {part.name for part in arm.body if hasattr(part, "name")}
        if peer["environment"] is not None:
            lines = (folder / f"requirements-{peer['environment']}.txt").read_text().splitlines()
            packages = [line for line in lines if line and line[0] not in "#-"]
            assert packages and all("==" in line for line in packages)


def test_peers_outside_a_clone(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from draftwood.bench import peers

    monkeypatch.setattr(peers, "find_checkout", lambda: None)
    result = command("bench", "toy", "--peers")
    assert result.exit_code == 2
    assert "benches/baselines" in result.stderr and "make peers" in result.stderr
