"""ik_llama.cpp at its best: weights repacked at load, q, k and v merged, a head of its own, threads that spin.

`make peers` builds it if IK_LLAMA_CPP names a clone of its repository; the functions are those of `ik_driver.cpp`.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from statistics import median
from time import perf_counter
from typing import Any

Frame = dict[str, Any]

_ROWS = 512


class Arm:
    """`settings`: "gguf" (with an untied head), "library", "flash" (0 for float32: it crashes), "threads"."""

    def __init__(self, settings: Frame) -> None:
        # Read when the library loads OpenMP.
        os.environ["OMP_WAIT_POLICY"] = "active"
        os.environ["OMP_NUM_THREADS"] = str(settings["threads"])
        self._lib = _declared(ctypes.CDLL(settings["library"]))
        path, context = os.fsencode(settings["gguf"]), settings.get("context", 2048)
        self._flash = int(settings.get("flash", 1))
        self._engine = self._lib.ik_open(path, settings["threads"], context, self._flash, _ROWS)
        if not self._engine:
            raise RuntimeError(f"ik_llama.cpp could not load {settings['gguf']}")
        self._vocab = self._lib.ik_vocab(self._engine)
        self._cached: list[int] = []

    def close(self) -> None:
        """Frees weights and cache."""
        self._lib.ik_close(self._engine)

    def about(self) -> Frame:
        """The instructions that it was built for."""
        told = self._lib.ik_system().decode()
        on = [part.split("=")[0].strip() for part in told.split("|") if part.strip().endswith("= 1")]
        cache = "f16, flash attention" if self._flash else "f16"
        return {"versions": {"ik_llama.cpp": "a clone of the user's"}, "cache": cache, "isa": " ".join(on)}

    def run(self, work: Frame) -> Frame:
        """Greedy; `rows` reads the prompt's last rows at once, its beginning being cached."""
        if work["kind"] == "rows":
            return self._rows(work)
        self._forget(0)
        tokens = 1 if work["kind"] == "prefill" else work["tokens"]
        begin = perf_counter()
        answer = [self._read(work["prompt"])[-1]]
        first = perf_counter()
        while len(answer) < tokens:
            answer.append(self._read(answer[-1:])[-1])
        end = perf_counter()
        seconds = first - begin if work["kind"] == "prefill" else end - first
        return {"tokens": answer, "seconds": seconds, "counted": max(tokens - 1, 1)}

    def judge(self, work: Frame) -> Frame:
        """The same text or rows with log-probabilities."""
        if work["kind"] == "rows":
            return self._judge_rows(work)
        self._forget(0)
        rows, answer, feed = [], [], work["prompt"]
        while len(answer) < work["tokens"]:
            answer.append(self._read(feed)[-1])
            feed = answer[-1:]
            rows.append(self._log_probabilities(-1))
        return _judged(answer, rows)

    def _rows(self, work: Frame) -> Frame:
        start = self._cache_beginning(work)
        fed, times, best = work["prompt"][start:], [], []
        for _ in range(work["repeats"]):
            self._forget(start)
            begin = perf_counter()
            best = self._read(fed, every=True)
            times.append(perf_counter() - begin)
        self._forget(start)
        return {"tokens": best, "seconds": median(times), "counted": 1}

    def _judge_rows(self, work: Frame) -> Frame:
        start, count = self._cache_beginning(work), work["tokens"]
        answer = self._read(work["prompt"][start:], every=True)[:count]
        rows = [self._log_probabilities(i) for i in range(count)]
        self._forget(start)
        return _judged(answer, rows)

    def _cache_beginning(self, work: Frame) -> int:
        """Reads what comes before the rows, unless it is cached; returns its length."""
        start = len(work["prompt"]) - work["rows"]
        if self._cached[:start] != work["prompt"][:start]:
            self._forget(0)
            self._read(work["prompt"][:start])
        self._forget(start)
        return start

    def _read(self, ids: Sequence[int], *, every: bool = False) -> list[int]:
        """The best token after the last one, or after each."""
        best = (ctypes.c_int32 * len(ids))()
        for first in range(0, len(ids), _ROWS):
            part = ids[first : first + _ROWS]
            given = (ctypes.c_int32 * len(part))(*part)
            error = self._lib.ik_forward(self._engine, given, len(part), len(self._cached), int(every), best)
            if error:
                raise RuntimeError(f"llama_decode returned {error}")
            self._cached.extend(part)
        return list(best) if every else [best[0]]

    def _forget(self, start: int) -> None:
        self._lib.ik_keep(self._engine, start)
        del self._cached[start:]

    def _log_probabilities(self, row: int) -> Any:
        import numpy as np

        values = np.ctypeslib.as_array(self._lib.ik_logits(self._engine, row), shape=(self._vocab,))
        shifted = values.astype(np.float64) - values.max()
        return shifted - np.log(np.exp(shifted).sum())


def _judged(answer: list[int], rows: list[Any]) -> Frame:
    best = rows[-1].argsort()[-8:][::-1]
    top = [[int(i), float(rows[-1][i])] for i in best]
    return {"tokens": answer, "chosen": [float(r[t]) for r, t in zip(rows, answer, strict=True)], "top": top}


def _declared(lib: Any) -> Any:
    pointer, integer, ints = ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(ctypes.c_int32)
    for name, result, arguments in (
        ("ik_open", pointer, [ctypes.c_char_p, integer, integer, integer, integer]),
        ("ik_close", None, [pointer]),
        ("ik_vocab", integer, [pointer]),
        ("ik_system", ctypes.c_char_p, []),
        ("ik_keep", None, [pointer, integer]),
        ("ik_forward", integer, [pointer, ints, integer, integer, integer, ints]),
        ("ik_logits", ctypes.POINTER(ctypes.c_float), [pointer, integer]),
    ):
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib
