"""The command `draftwood bench` over toy arms."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from draftwood.bench import cases
from support.bench_toys import ROW, gone

Command = Callable[..., Result]


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
