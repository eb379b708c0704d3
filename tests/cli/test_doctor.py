"""`draftwood doctor`: what it finds, and what it says about what is missing."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from draftwood import _core
from draftwood.cli import doctor, machine, pages

Command = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Weights of 40 + 60 numbers, the embedding of 40 being no head."""
    table = {
        "__metadata__": {"format": "pt"},
        "model.embed_tokens.weight": {"dtype": "F32", "shape": [4, 10], "data_offsets": [0, 160]},
        "lm_head.weight": {"dtype": "F32", "shape": [6, 10], "data_offsets": [160, 400]},
    }
    text = json.dumps(table).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(400))
    return tmp_path


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "read_bandwidth", lambda bytes=None: 24e9)


def test_json(command: Command, folder: Path) -> None:
    result = command("doctor", "--model", str(folder), "--json")
    told = json.loads(result.stdout)
    assert set(told) == {
        "draftwood", "machine", "packages", "weights", "memory", "expected_plain_tokens_per_s", "missing",
    }  # fmt: skip
    assert told["memory"] == {
        "read_gb_per_s": 24.0, "of_the_models_size_gb_per_s": 24.0, "weights_in_huge_pages": None,
    }  # fmt: skip
    assert told["weights"]["bytes_per_token"] == 60 * 4
    assert told["expected_plain_tokens_per_s"] == 24e9 / 240
    assert told["machine"]["cores"] >= 1


def test_the_report_says_why_a_speed_is_expected(command: Command, folder: Path) -> None:
    result = command("doctor", "--model", str(folder))
    assert "at most 100000000 tokens/s" in result.stdout
    assert "24.0 GB/s" in result.stdout
    assert "\x1b" not in result.stdout + result.stderr


def test_missing_packages_come_with_the_command(
    command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_version", lambda package: None if package == "torch" else "1.0")
    result = command("doctor", "--model", str(folder))
    assert result.exit_code == 1
    assert "torch: pip install 'draftwood[torch]'" in result.stdout


def test_a_model_that_is_not_there(command: Command, tmp_path: Path) -> None:
    result = command("doctor", "--model", str(tmp_path / "none"), "--json")
    told = json.loads(result.stdout)
    assert result.exit_code == 1
    assert told["weights"]["path"] is None
    assert "nothing there" in told["weights"]["problem"]
    assert told["expected_plain_tokens_per_s"] is None


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 100, struct.pack("<Q", 9) + b'{"a": 1}\n', struct.pack("<Q", 4) + b"[[]]"]
)
def test_damaged_weights_are_a_problem_and_no_traceback(command: Command, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    told = json.loads(command("doctor", "--model", str(tmp_path), "--json").stdout)
    assert "table of tensors" in told["weights"]["problem"]
    assert told["missing"]


def test_memory_is_measured_over_more_than_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_LEAST_BYTES", 1 << 20)
    monkeypatch.setattr(machine, "last_level_cache", lambda: 1 << 18)
    asked = []
    monkeypatch.setattr(_core, "read_bandwidth", lambda threads, bytes: asked.append(bytes) or 1.0)
    monkeypatch.setattr(machine, "last_level_cache", lambda: 1 << 18)
    machine.read_bandwidth()
    machine.read_bandwidth(12345)
    assert asked == [8 * (1 << 18), 12345]


MAPPINGS = """7f0000000000-7f0000400000 rw-p 00000000 00:00 0
Rss:                4096 kB
AnonHugePages:      2048 kB
VmFlags: rd wr mr mw me nr hg
7f0000400000-7f0000500000 rw-p 00000000 00:00 0                          [heap]
Rss:                 512 kB
AnonHugePages:       512 kB
VmFlags: rd wr mr mw me ac
7f0000600000-7f0000800000 rw-p 00000000 00:00 0
Rss:                2048 kB
AnonHugePages:      2048 kB
VmFlags: rd wr mr mw me hg
"""


def test_only_mappings_for_which_huge_pages_were_asked_count() -> None:
    found = pages.advised_pages(MAPPINGS)
    assert (found.resident, found.huge) == (6 << 20, 4 << 20)
    assert found.share == pytest.approx(2 / 3)
    assert pages.advised_pages("").share is None


def test_the_pages_of_the_weights(command: Command) -> None:
    told = json.loads(command("doctor", "--json").stdout)
    share = told["memory"]["weights_in_huge_pages"]
    if told["machine"]["huge_pages"] in ("always", "madvise"):
        assert 0.0 <= share <= 1.0
    said = command("doctor").stdout
    assert "weights lie in" in said and "MB of weights" in said
