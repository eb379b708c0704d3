"""The cases of SmolLM2, and the peers that they run beside."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from draftwood import errors
from draftwood.bench import cases
from draftwood.bench.peers import Peers
from draftwood.models.gguf import find

Command = Callable[..., Result]
ROOT = Path(__file__).resolve().parents[2]


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
