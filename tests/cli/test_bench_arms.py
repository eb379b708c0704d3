"""Arms of a bench: they run in turn, idle ones are stopped, those that fail say why."""

from __future__ import annotations

import io
import json
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from draftwood.bench import rows, worker
from draftwood.bench.arm import Arm, ArmFailed, ArmSpec
from draftwood.cli.machine import describe
from support.bench_toys import Toys, gone

ROOT = Path(__file__).resolve().parents[2]
TOY = ROOT / "python/draftwood/bench/arms/ours.py"


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
