"""onnxruntime-genai in float32 or int4, from a folder that its own builder made of the same weights.

Its threads must be set: by default it loses half of its speed on two cores.
"""

from __future__ import annotations

import json
from pathlib import Path
from time import perf_counter
from typing import Any

Frame = dict[str, Any]


class Arm:
    """`settings`: "folder" (made by the model builder), "dtype", "threads"."""

    def __init__(self, settings: Frame) -> None:
        import onnxruntime_genai as og

        self._og = og
        told = json.loads((Path(settings["folder"]) / "genai_config.json").read_text(encoding="utf-8"))
        config = og.Config(settings["folder"])
        session = {"session_options": {"intra_op_num_threads": settings["threads"]}}
        # Past an end token it pads; an end that does not come, an unused id, keeps it generating as every arm does. A
        # list would be added to the folder's own ends; a number replaces them.
        unused = told["model"]["vocab_size"] - 1
        config.overlay(json.dumps({"model": {"decoder": session, "eos_token_id": unused}}))
        self._model = og.Model(config)
        self._dtype = settings.get("dtype", "float32")
        self._bytes = sum(file.stat().st_size for file in Path(settings["folder"]).glob("model.onnx*"))

    def about(self) -> Frame:
        """Its version and the bytes of its weights; it does not tell which instructions it chose."""
        versions = {"onnxruntime-genai": self._og.__version__}
        return {"versions": versions, "dtype": self._dtype, "weights_bytes": self._bytes, "isa": None}

    def run(self, work: Frame) -> Frame:
        """Greedy, with buffers of the length that is needed."""
        if work["kind"] == "beams":
            return self._beams(work)
        tokens = 1 if work["kind"] == "prefill" else work["tokens"]
        begin = perf_counter()
        generator = self._generator(work["prompt"], tokens)
        answer = [self._next(generator)]
        first = perf_counter()
        while len(answer) < tokens:
            answer.append(self._next(generator))
        end = perf_counter()
        seconds = first - begin if work["kind"] == "prefill" else end - first
        return {"tokens": answer, "seconds": seconds, "counted": max(tokens - 1, 1)}

    def judge(self, work: Frame) -> Frame:
        """The same text with the logits of every step."""
        import numpy as np

        generator = self._generator(work["prompt"], work["tokens"])
        rows, answer = [], []
        while len(answer) < work["tokens"]:
            logits = generator.get_logits()[0, -1].astype(np.float64)
            shifted = logits - logits.max()
            rows.append(shifted - np.log(np.exp(shifted).sum()))
            answer.append(self._next(generator))
        best = np.argsort(rows[-1])[-8:][::-1]
        top = [[int(i), float(rows[-1][i])] for i in best]
        return {"tokens": answer, "chosen": [float(r[t]) for r, t in zip(rows, answer, strict=True)], "top": top}

    def _beams(self, work: Frame) -> Frame:
        begin = perf_counter()
        generator = self._generator(work["prompt"], work["tokens"], num_beams=work["beams"])
        while not generator.is_done():
            generator.generate_next_token()
        answer = [int(token) for token in generator.get_sequence(0)][len(work["prompt"]) :]
        return {"tokens": answer, "seconds": perf_counter() - begin, "counted": len(answer)}

    def _generator(self, prompt: list[int], tokens: int, *, num_beams: int = 1) -> Any:
        import numpy as np

        params = self._og.GeneratorParams(self._model)
        params.set_search_options(do_sample=False, max_length=len(prompt) + tokens, num_beams=num_beams)
        generator = self._og.Generator(self._model, params)
        generator.append_tokens(np.asarray(prompt, np.int32))
        return generator

    def _next(self, generator: Any) -> int:
        generator.generate_next_token()
        return int(generator.get_next_tokens()[0])
