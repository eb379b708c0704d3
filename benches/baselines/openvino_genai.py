"""OpenVINO GenAI in float32, from a folder that its own exporter made of the same weights.

Its usual hints would round: weights and products to bfloat16 where the processor has it, the cache to 8 bits.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

Frame = dict[str, Any]


class Arm:
    """`settings`: "folder" (made by `optimum-cli export openvino`), "threads"."""

    def __init__(self, settings: Frame) -> None:
        import openvino
        import openvino_genai as og

        self._og, self._openvino = og, openvino
        self._hints = {
            "INFERENCE_NUM_THREADS": settings["threads"],
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "KV_CACHE_PRECISION": "f32",
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
        }
        self._folder = settings["folder"]
        self._request: Any = None
        self._pipeline = og.LLMPipeline(self._folder, "CPU", **self._hints, ATTENTION_BACKEND="SDPA")

    def about(self) -> Frame:
        """Versions; it does not tell which instructions it chose."""
        versions = {"openvino-genai": self._og.__version__, "openvino": self._openvino.__version__}
        return {"versions": versions, "dtype": "float32", "isa": None}

    def run(self, work: Frame) -> Frame:
        """Greedy with a streamer that keeps times; beams have none."""
        if work["kind"] == "beams":
            begin = perf_counter()
            answer = self._generate(work["prompt"], work["tokens"], num_beams=work["beams"])
            return {"tokens": answer, "seconds": perf_counter() - begin, "counted": len(answer)}
        tokens = 1 if work["kind"] == "prefill" else work["tokens"]
        clock = self._clock()
        begin = perf_counter()
        answer = self._generate(work["prompt"], tokens, streamer=clock)
        if work["kind"] == "prefill":
            return {"tokens": answer, "seconds": clock.times[0] - begin, "counted": 1}
        seconds = clock.times[-1] - clock.times[0]
        if len(answer) == 1:
            seconds = clock.times[0] - begin
        return {"tokens": answer, "seconds": seconds, "counted": max(len(answer) - 1, 1)}

    def judge(self, work: Frame) -> Frame:
        """The same text from the model itself: the pipeline tells no log-probabilities of other tokens."""
        import numpy as np

        if self._request is None:
            model = self._openvino.Core().read_model(f"{self._folder}/openvino_model.xml")
            self._request = self._openvino.Core().compile_model(model, "CPU", self._hints).create_infer_request()
        self._request.reset_state()
        rows, answer, feed, length = [], [], list(work["prompt"]), 0
        while len(answer) < work["tokens"]:
            length += len(feed)
            positions = np.arange(length - len(feed), length, dtype=np.int64)[None]
            told = self._request.infer(
                {
                    "input_ids": np.asarray([feed], np.int64),
                    "attention_mask": np.ones((1, length), np.int64),
                    "position_ids": positions,
                    "beam_idx": np.zeros(1, np.int32),
                }
            )
            logits = told["logits"][0, -1].astype(np.float64)
            shifted = logits - logits.max()
            rows.append(shifted - np.log(np.exp(shifted).sum()))
            answer.append(int(logits.argmax()))
            feed = answer[-1:]
        best = np.argsort(rows[-1])[-8:][::-1]
        top = [[int(i), float(rows[-1][i])] for i in best]
        return {"tokens": answer, "chosen": [float(r[t]) for r, t in zip(rows, answer, strict=True)], "top": top}

    def _generate(self, prompt: list[int], tokens: int, *, streamer: Any = None, num_beams: int = 1) -> list[int]:
        import numpy as np

        config = self._og.GenerationConfig()
        config.max_new_tokens = tokens  # a minimum would mask end tokens
        config.ignore_eos, config.do_sample, config.num_beams = True, False, num_beams
        inputs = self._og.TokenizedInputs(
            self._openvino.Tensor(np.asarray([prompt], np.int64)),
            self._openvino.Tensor(np.ones((1, len(prompt)), np.int64)),
        )
        found = self._pipeline.generate(inputs, config, *([streamer] if streamer is not None else []))
        return [int(token) for token in found.tokens[0]]

    def _clock(self) -> Any:
        og = self._og

        class Clock(og.StreamerBase):  # type: ignore[misc,name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.times: list[float] = []

            def write(self, token: Any) -> Any:
                self.times.extend([perf_counter()] * (len(token) if isinstance(token, list) else 1))
                return og.StreamingStatus.RUNNING

            def end(self) -> None:
                """Nothing is kept back."""

        return Clock()
