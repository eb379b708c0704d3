"""llama.cpp through llama-cpp-python, in its own loop; prompt lookup as its binding ships it.

Built from source for this processor (`make peers`); the wheels of others miss half of its instructions.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

Frame = dict[str, Any]

_CONTEXT = 2048


class Arm:
    """`settings`: "gguf" (the file), "draft" (tokens per lookup, 0 for none), "threads"."""

    def __init__(self, settings: Frame) -> None:
        from llama_cpp import Llama
        from llama_cpp.llama_speculative import LlamaPromptLookupDecoding

        drafts = settings.get("draft", 0)
        shared = {
            "model_path": settings["gguf"],
            "n_ctx": _CONTEXT,
            "n_batch": 512,
            "n_threads": settings["threads"],
            "n_threads_batch": settings["threads"],
            "verbose": False,
        }
        if drafts:
            shared |= {"draft_model": LlamaPromptLookupDecoding(num_pred_tokens=drafts), "logits_all": True}
        self._llama = Llama(**shared)

    def about(self) -> Frame:
        """Its version and the instructions that it was built for."""
        import llama_cpp

        told = llama_cpp.llama_print_system_info().decode()
        on = [part.split("=")[0].strip().split(" : ")[-1] for part in told.split("|") if part.strip().endswith("= 1")]
        return {"versions": {"llama-cpp-python": llama_cpp.__version__}, "dtype": "float32", "isa": " ".join(on)}

    def run(self, work: Frame) -> Frame:
        """Greedy; the cache forgets the text before, so that every prompt is read."""
        tokens = 1 if work["kind"] == "prefill" else work["tokens"]
        self._llama.reset()
        begin = perf_counter()
        stream = self._llama.generate(work["prompt"], top_k=1, temp=0.0, repeat_penalty=1.0)
        answer = [int(next(stream))]
        first = perf_counter()
        while len(answer) < tokens:
            answer.append(int(next(stream)))
        end = perf_counter()
        stream.close()
        seconds = first - begin if work["kind"] == "prefill" else end - first
        return {"tokens": answer, "seconds": seconds, "counted": max(tokens - 1, 1)}

    def judge(self, work: Frame) -> Frame:
        """The same text, one token at a time."""
        import numpy as np

        self._llama.reset()
        rows, feed = [], list(work["prompt"])
        answer: list[int] = []
        while len(answer) < work["tokens"]:
            self._llama.eval(feed)
            rows.append(self._log_probabilities())
            answer.append(int(np.argmax(rows[-1])))
            feed = [answer[-1]]
        best = np.argsort(rows[-1])[-2:][::-1]
        top = [[int(i), float(rows[-1][i])] for i in best]
        return {"tokens": answer, "chosen": [float(r[t]) for r, t in zip(rows, answer, strict=True)], "top": top}

    def _log_probabilities(self) -> Any:
        """Of the last row that was fed."""
        import llama_cpp
        import numpy as np

        row = llama_cpp.llama_get_logits_ith(self._llama.ctx, -1)
        logits = np.ctypeslib.as_array(row, shape=(self._llama.n_vocab(),)).astype(np.float64)
        shifted = logits - logits.max()
        return shifted - np.log(np.exp(shifted).sum())
