"""`draftwood doctor`: what it finds, and what it says about what is missing."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import Result

import draftwood as dw
from draftwood import _core
from draftwood.cli import doctor, machine, pages, torch_threads

Command = Callable[..., Result]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A llama of bfloat16 that the native executor runs; its embedding is no head."""
    torch = pytest.importorskip("torch")
    from support.families import family_model

    path = tmp_path_factory.mktemp("llama")
    family_model("llama2").to(torch.bfloat16).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that only transformers runs."""
    transformers = pytest.importorskip("transformers")
    path = tmp_path_factory.mktemp("neox")
    sizes = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.GPTNeoXConfig(**sizes, intermediate_size=64, max_position_embeddings=64)
    transformers.GPTNeoXForCausalLM(config).save_pretrained(path)
    return path


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "read_bandwidth", lambda bytes=None: 24e9)


def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda package: None if package in ("torch", "transformers") else "1.0")


def test_json(command: Command, folder: Path) -> None:
    result = command("doctor", "--model", str(folder), "--json")
    told = json.loads(result.stdout)
    assert set(told) == {
        "draftwood", "machine", "packages", "weights", "model", "memory", "expected_plain_tokens_per_s",
        "most_plain_tokens_per_s", "missing", "warnings",
    }  # fmt: skip
    memory = told["memory"]
    assert (memory["read_gb_per_s"], memory["of_the_models_size_gb_per_s"]) == (24.0, 24.0)
    model = told["model"]
    assert told["most_plain_tokens_per_s"] == 24e9 / model["step_bytes"]
    assert told["expected_plain_tokens_per_s"] == 1 / model["step_seconds"] > 0
    assert told["machine"]["cores"] >= 1
    assert told["machine"]["kernels"].split("+")[0] == told["machine"]["instruction_set"]
    with dw.Engine.load(str(folder), executor="native") as engine:
        assert model["executor"] == engine.stats().executor
        assert model["instruction_set"] == engine.executor.instruction_set


def test_bytes_of_a_folder_are_those_that_the_executor_reads(command: Command, folder: Path) -> None:
    """Two per weight of bfloat16, and not four: 211 tokens and 3 layers of width 72. Panels are padded to 16 rows."""
    told = json.loads(command("doctor", "--model", str(folder), "--json").stdout)
    attention, feed_forward, head = 2 * 72 * 144 + 2 * 72 * 72, 3 * 72 * 90, 211 * 72
    stored = 2 * (3 * (attention + feed_forward) + head)
    assert stored <= told["model"]["step_bytes"] < 1.25 * stored


def test_a_folder_that_native_runs_needs_no_torch(
    command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_torch(monkeypatch)
    result = command("doctor", "--model", str(folder))
    assert result.exit_code == 0, result.stdout
    assert "Nothing is missing." in result.stdout


def test_the_report_says_why_a_speed_is_expected(command: Command, folder: Path) -> None:
    said = " ".join(command("doctor", "--model", str(folder)).stdout.split())
    for words in (
        "native (BF16, ",
        "tokens/s expected: a step of one row took ",
        "MB of weights, and memory gives 24.0 GB/s",
        "% of it",
    ):
        assert words in said
    assert "\x1b" not in said


def test_kernels_are_named(command: Command) -> None:
    """Of the package's Q4_1: with VNNI where the machine has it."""
    told = json.loads(command("doctor", "--json").stdout)
    assert told["model"]["instruction_set"] == told["machine"]["kernels"] == dw.runtime.backend()["kernels"]
    assert told["model"]["executor"].startswith("native (Q4_1")
    assert 60e6 < told["model"]["step_bytes"] < 110e6
    assert "+vnni" in told["machine"]["kernels"] or not _has("avx512_vnni")


def _has(flag: str) -> bool:
    return "avx512" in dw.runtime.backend()["cpu"] and flag in Path("/proc/cpuinfo").read_text().split()


def test_missing_packages_come_with_the_command(
    command: Command, foreign: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = json.loads(command("doctor", "--model", str(foreign), "--json").stdout)
    assert there["missing"] == []
    assert there["model"]["executor"].startswith("transformers in float32, since native does not know ")
    # In float32, without the embedding: 4 × 32 × (3 · 32 + 32 + 2 · 64) of the layer, biases, norms, and the head.
    assert there["model"]["step_bytes"] == pytest.approx(4 * (32 * 256 + 50 * 32), rel=0.05)
    assert there["expected_plain_tokens_per_s"] is None
    without_torch(monkeypatch)
    result = command("doctor", "--model", str(foreign))
    assert result.exit_code == 1
    assert "torch: pip install 'draftwood[torch]'" in result.stdout
    assert "transformers: pip install 'draftwood[torch]'" in result.stdout


def test_a_file_that_nothing_runs_is_a_problem(command: Command, tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "mamba")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    result = command("doctor", "--model", str(tmp_path / "model.gguf"))
    assert result.exit_code == 1
    said = " ".join(result.stdout.split())
    assert "architecture 'mamba' is not supported" in said


def test_a_model_that_is_not_there(command: Command, tmp_path: Path) -> None:
    result = command("doctor", "--model", str(tmp_path / "none"), "--json")
    told = json.loads(result.stdout)
    assert result.exit_code == 1
    assert told["weights"]["path"] is None
    assert "nothing there" in told["weights"]["problem"]
    assert told["model"] is None and told["expected_plain_tokens_per_s"] is None


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


# ── torch's threads ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("openmp", "environ", "why"),
    [
        ("gomp", {}, "milliseconds"),
        ("gomp", {"OMP_WAIT_POLICY": "passive"}, None),
        ("gomp", {"OMP_WAIT_POLICY": "Active"}, "minutes"),
        ("gomp", {"GOMP_SPINCOUNT": "0"}, None),
        ("gomp", {"GOMP_SPINCOUNT": "2 k"}, None),
        ("gomp", {"GOMP_SPINCOUNT": "3m", "OMP_WAIT_POLICY": "PASSIVE"}, "3,000,000 turns"),
        ("gomp", {"GOMP_SPINCOUNT": "infinity"}, "for ever"),
        ("gomp", {"GOMP_SPINCOUNT": "nonsense"}, "milliseconds"),
        ("gomp", {"KMP_BLOCKTIME": "0"}, "milliseconds"),
        ("gomp", {"OMP_NUM_THREADS": "1,4"}, None),
        ("gomp", {"OMP_NUM_THREADS": "12"}, "milliseconds"),
        ("iomp5", {}, "200 ms"),
        ("iomp5", {"OMP_WAIT_POLICY": "PASSIVE"}, None),
        ("iomp5", {"OMP_WAIT_POLICY": "active"}, "for ever"),
        ("iomp5", {"KMP_BLOCKTIME": "0"}, None),
        ("omp", {"KMP_BLOCKTIME": "50us"}, "50 us"),
        ("omp", {"KMP_BLOCKTIME": "infinite", "OMP_WAIT_POLICY": "passive"}, "for ever"),
        ("omp", {"GOMP_SPINCOUNT": "0"}, "200 ms"),
    ],
)
def test_threads_that_spin_after_torch(openmp: str, environ: dict[str, str], why: str | None) -> None:
    found = torch_threads.spinning(openmp, environ)
    assert found is None if why is None else found is not None and why in found


@pytest.mark.parametrize(
    ("file", "openmp"),
    [
        ("torch/lib/libgomp.so.1", "gomp"),
        ("torch.libs/libgomp-a34b3233.so.1.0.0", "gomp"),
        ("torch/lib/libiomp5.so", "iomp5"),
        ("torch/lib/libomp.dylib", "omp"),
        ("torch/lib/libcomposite.so", None),
    ],
)
def test_the_openmp_library_of_torch(tmp_path: Path, file: str, openmp: str | None) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).touch()
    assert torch_threads.find_openmp([tmp_path / "torch"]) == openmp


def test_the_warning_says_what_to_set(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_threads, "find_openmp", lambda folders: "gomp")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    if find_spec("torch") is not None:
        result = command("doctor")
        assert "set OMP_WAIT_POLICY=PASSIVE before Python starts" in " ".join(result.stdout.split())
        assert result.exit_code == 0, "a warning is no failure"
        monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
        assert json.loads(command("doctor", "--json").stdout)["warnings"] == []
        monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.setattr(torch_threads, "find_spec", lambda name: None)
    assert torch_threads.torch_warning({}) is None
