"""ik_llama.cpp at its best: weights repacked at load, q, k and v merged, a head of its own, threads that spin.

`make peers` builds it if IK_LLAMA_CPP names a clone of its repository; the functions are those of `ik_driver.cpp`.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence
from statistics import median
from time import perf_counter
from typing import Any

Frame = dict[str, Any]

_ROWS = 512


class Arm:
    """`settings`: "gguf" (with an untied head), "library", "threads", and what a type of weights needs.

    "flash": 0 for float32, where it crashes. "most_rows": rows of a forward; 31 for Q4_1 and Q5_1, whose products of 32
    rows and more leave out the columns past the last multiple of 128 (`mul_mat_q8_1_r8_q8_2`: `i4 < nb/4`), 64 of
    SmolLM2's 576. "cache": the type of its cache, "f16" or "f32".
    """

    def __init__(self, settings: Frame) -> None:
        # Read when the library loads OpenMP.
        os.environ["OMP_WAIT_POLICY"] = "active"
        os.environ["OMP_NUM_THREADS"] = str(settings["threads"])
        self._lib = _declared(ctypes.CDLL(settings["library"]))
        path, context = os.fsencode(settings["gguf"]), settings.get("context", 2048)
        self._flash, self._most_rows = int(settings.get("flash", 1)), settings.get("most_rows", _ROWS)
        self._cache = settings.get("cache", "f16")
        wide_cache = int(self._cache == "f32")
        self._engine = self._lib.ik_open(path, settings["threads"], context, self._flash, self._most_rows, wide_cache)
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
        cache = self._cache + (", flash attention" if self._flash else "")
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
        answer, rows = [], []
        for part in self._parts(work["prompt"][start:]):
            answer += self._forward(part, every=True)
            rows += [self._log_probabilities(i) for i in range(len(part))]
        self._forget(start)
        return _judged(answer[:count], rows[:count])

    def _cache_beginning(self, work: Frame) -> int:
        """Reads what comes before the rows, as far as it is not cached; returns its length."""
        start = len(work["prompt"]) - work["rows"]
        self._forget(_shared(self._cached, work["prompt"][:start]))
        if rest := work["prompt"][len(self._cached) : start]:
            self._read(rest)
        return start

    def _read(self, ids: Sequence[int], *, every: bool = False) -> list[int]:
        """The best token after the last one, or after each."""
        best: list[int] = []
        for part in self._parts(ids):
            told = self._forward(part, every=every)
            best = best + told if every else told
        return best

    def _parts(self, ids: Sequence[int]) -> Iterator[Sequence[int]]:
        """As few forwards as its rows allow, of equal sizes."""
        count = -(-len(ids) // self._most_rows)
        size = -(-len(ids) // count)
        for first in range(0, len(ids), size):
            yield ids[first : first + size]

    def _forward(self, part: Sequence[int], *, every: bool) -> list[int]:
        count = len(part)
        given, best = (ctypes.c_int32 * count)(*part), (ctypes.c_int32 * count)()
        error = self._lib.ik_forward(self._engine, given, count, len(self._cached), int(every), best)
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


def _shared(left: Sequence[int], right: Sequence[int]) -> int:
    """Tokens that two texts have in common from their beginning on."""
    differing = (at for at, (a, b) in enumerate(zip(left, right)) if a != b)  # noqa: B905 - lengths differ
    return next(differing, min(len(left), len(right)))


def _judged(answer: list[int], rows: list[Any]) -> Frame:
    best = rows[-1].argsort()[-8:][::-1]
    top = [[int(i), float(rows[-1][i])] for i in best]
    return {"tokens": answer, "chosen": [float(r[t]) for r, t in zip(rows, answer, strict=True)], "top": top}


def _declared(lib: Any) -> Any:
    pointer, integer, ints = ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(ctypes.c_int32)
    for name, result, arguments in (
        ("ik_open", pointer, [ctypes.c_char_p, integer, integer, integer, integer, integer]),
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
