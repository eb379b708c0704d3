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
        self._pipeline = og.LLMPipeline(
            settings["folder"],
            "CPU",
            INFERENCE_NUM_THREADS=settings["threads"],
            PERFORMANCE_HINT="LATENCY",
            INFERENCE_PRECISION_HINT="f32",
            KV_CACHE_PRECISION="f32",
            DYNAMIC_QUANTIZATION_GROUP_SIZE="0",
            ATTENTION_BACKEND="SDPA",
        )

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
        """It tells the log-probabilities of chosen tokens alone, so its answers have no excuse."""
        raise RuntimeError("openvino-genai tells no log-probabilities of other tokens")

    def _generate(self, prompt: list[int], tokens: int, *, streamer: Any = None, num_beams: int = 1) -> list[int]:
        import numpy as np

        config = self._og.GenerationConfig()
        config.max_new_tokens = config.min_new_tokens = tokens
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
