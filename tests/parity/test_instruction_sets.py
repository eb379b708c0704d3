"""The committed bits under every instruction set that this machine has, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import draftwood as dw

ROOT = Path(__file__).parents[2]
GOLDENS = ROOT / "tests/data/native-bits.json"
ORDER = ["scalar", "avx2", "avx512"]
BEST = dw.runtime.backend()["cpu"]

PROGRAM = """
import json, sys
from parity import test_native as native
dtype, part = sys.argv[1:]
with native.load(dtype) as engine:
    prompts = native.prompt_ids()
    print(json.dumps([engine.executor.instruction_set, getattr(native, part)(engine, prompts)]))
"""


@pytest.mark.parametrize("dtype", ["float32", "auto"])
@pytest.mark.parametrize("isa", ORDER)
def test_bits_are_the_committed_ones(isa, dtype):
    """All of them with vectors; without, four rows of one prompt and three tokens, which take seconds."""
    if ORDER.index(isa) > ORDER.index(BEST):
        pytest.skip(f"this machine has {BEST}")
    part = "short_bits" if isa == "scalar" else "bits"
    path = os.pathsep.join([str(ROOT / "tests"), *sys.path])
    environ = os.environ | {"DRAFTWOOD_ISA": isa, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, dtype, part], capture_output=True, text=True, check=False, env=environ
    )
    assert done.returncode == 0, done.stderr
    used, bits = json.loads(done.stdout)
    assert used.split("+")[0] == isa
    golden = json.loads(GOLDENS.read_text())[dtype]
    assert bits == (golden["short"] if part == "short_bits" else {key: golden[key] for key in bits})
    assert bits
