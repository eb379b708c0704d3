"""llama.cpp through llama-cpp-python: plain decoding in the barest loop, prompt lookup as its binding ships it.

Built from source for this processor (`make peers`); the wheels of others miss half of its instructions.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from time import perf_counter
from typing import Any

Frame = dict[str, Any]


class Arm:
    """`settings`: "gguf", "draft" (tokens per lookup, 0 for none), "threads", "context", "cache" (f16 or f32)."""

    def __init__(self, settings: Frame) -> None:
        import llama_cpp
        from llama_cpp import Llama
        from llama_cpp.llama_speculative import LlamaPromptLookupDecoding

        self._drafts = settings.get("draft", 0)
        self._cache = settings["cache"]
        shared = {
            "model_path": settings["gguf"],
            "n_ctx": settings.get("context", 2048),
            "n_batch": 512,
            "n_threads": settings["threads"],
            "n_threads_batch": settings["threads"],
            "verbose": False,
        }
        if self._cache == "f32":
            shared |= {"type_k": llama_cpp.GGML_TYPE_F32, "type_v": llama_cpp.GGML_TYPE_F32}
        if self._drafts:
            lookup = LlamaPromptLookupDecoding(num_pred_tokens=self._drafts)
            shared |= {"draft_model": lookup, "logits_all": True}
        self._llama = Llama(**shared)
        self._batch = llama_cpp.llama_batch_init(512, 0, 1)
        self._cached: list[int] = []
        self._drafted: dict[tuple[int, ...], list[int]] = {}

    def close(self) -> None:
        """Frees weights and cache."""
        self._llama.close()

    def about(self) -> Frame:
        """Its version and the instructions that it was built for."""
        import llama_cpp

        told = llama_cpp.llama_print_system_info().decode()
        on = [part.split("=")[0].strip().split(" : ")[-1] for part in told.split("|") if part.strip().endswith("= 1")]
        versions = {"llama-cpp-python": llama_cpp.__version__}
        return {"versions": versions, "cache": self._cache, "isa": " ".join(on)}

    def run(self, work: Frame) -> Frame:
        """Greedy; the cache forgets the text before, so that every prompt is read."""
        if work["kind"] == "rows":
            return self._rows(work)
        tokens = 1 if work["kind"] == "prefill" else work["tokens"]
        if self._drafts and tokens > 1:
            return self._with_drafts(work["prompt"], tokens)
        self._forget(0)
        begin = perf_counter()
        answer = self._read(work["prompt"])
        first = perf_counter()
        while len(answer) < tokens:
            answer += self._read(answer[-1:])
        end = perf_counter()
        seconds = first - begin if work["kind"] == "prefill" else end - first
        return {"tokens": answer, "seconds": seconds, "counted": max(tokens - 1, 1)}

    def judge(self, work: Frame) -> Frame:
        """The same text, one token at a time or, of lookup, in steps of as many rows as it had; or rows."""
        if work["kind"] == "rows":
            start, count = self._cache_beginning(work), work["tokens"]
            answer = self._read(work["prompt"][start:], every=True)[:count]
            rows = [self._log_probabilities(i) for i in range(count)]
            self._forget(start)
            return _judged(answer, rows)
        if tuple(work["prompt"]) in self._drafted:
            return self._judge_drafts(work)
        self._forget(0)
        rows, feed = [], list(work["prompt"])
        answer = []
        while len(answer) < work["tokens"]:
            answer += self._read(feed)
            feed = answer[-1:]
            rows.append(self._log_probabilities(-1))
        return _judged(answer, rows)

    def _with_drafts(self, prompt: list[int], tokens: int) -> Frame:
        self._llama.reset()
        self._forget(0)
        stream = self._llama.generate(prompt, top_k=1, temp=0.0, repeat_penalty=1.0)
        answer = [int(next(stream))]
        first = perf_counter()
        while len(answer) < tokens:
            answer.append(int(next(stream)))
        end = perf_counter()
        stream.close()
        self._drafted[tuple(prompt)] = answer
        return {"tokens": answer, "seconds": end - first, "counted": tokens - 1}

    def _judge_drafts(self, work: Frame) -> Frame:
        """Its sums depend on the number of rows, and so does its text."""
        answer = self._drafted[tuple(work["prompt"])][: work["tokens"]]
        self._llama.reset()
        self._forget(0)
        self._read(work["prompt"])
        rows, step = [self._log_probabilities(-1)], self._drafts + 1
        for first in range(0, len(answer) - 1, step):
            part = answer[first : min(first + step, len(answer) - 1)]
            self._read(part, every=True)
            rows += [self._log_probabilities(i) for i in range(len(part))]
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

    def _cache_beginning(self, work: Frame) -> int:
        """Reads what comes before the rows, as far as it is not cached; returns its length."""
        start = len(work["prompt"]) - work["rows"]
        self._forget(_shared(self._cached, work["prompt"][:start]))
        if rest := work["prompt"][len(self._cached) : start]:
            self._read(rest)
        return start

    def _read(self, ids: Sequence[int], *, every: bool = False) -> list[int]:
        """The best token after the last one, or after each."""
        import llama_cpp

        best: list[int] = []
        for first in range(0, len(ids), 512):
            part = ids[first : first + 512]
            batch, count = self._batch, len(part)
            batch.n_tokens = count
            for i, token in enumerate(part):
                batch.token[i] = token
                batch.pos[i] = len(self._cached) + i
                batch.n_seq_id[i] = 1
                batch.seq_id[i][0] = 0
                batch.logits[i] = every or first + i == len(ids) - 1
            if error := llama_cpp.llama_decode(self._llama.ctx, batch):
                raise RuntimeError(f"llama_decode returned {error}")
            self._cached.extend(part)
            read = range(count) if every else range(count - 1, count)
            best += [int(self._row(i).argmax()) for i in read if batch.logits[i]]
        return best

    def _forget(self, start: int) -> None:
        import llama_cpp

        llama_cpp.llama_memory_seq_rm(llama_cpp.llama_get_memory(self._llama.ctx), 0, start, -1)
        del self._cached[start:]

    def _row(self, index: int) -> Any:
        import llama_cpp
        import numpy as np

        row = llama_cpp.llama_get_logits_ith(self._llama.ctx, index)
        return np.ctypeslib.as_array(row, shape=(self._llama.n_vocab(),))

    def _log_probabilities(self, index: int) -> Any:
        import numpy as np

        logits = self._row(index).astype(np.float64)
        shifted = logits - logits.max()
        return shifted - np.log(np.exp(shifted).sum())


def _shared(left: Sequence[int], right: Sequence[int]) -> int:
    """Tokens that two texts have in common from their beginning on."""
    differing = (at for at, (a, b) in enumerate(zip(left, right)) if a != b)  # noqa: B905 - lengths differ
    return next(differing, min(len(left), len(right)))


def _judged(answer: list[int], rows: list[Any]) -> Frame:
    best = rows[-1].argsort()[-8:][::-1]
    top = [[int(i), float(rows[-1][i])] for i in best]
    return {"tokens": answer, "chosen": [float(r[t]) for r, t in zip(rows, answer, strict=True)], "top": top}
