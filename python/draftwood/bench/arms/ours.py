"""Draftwood's own arm. The executor is a setting like the drafter, so that a new one needs no new adapter."""

from __future__ import annotations

from time import perf_counter
from typing import Any

Frame = dict[str, Any]


class Arm:
    """`settings`: "model" (what `Engine.load` takes, or "toy"), "executor", "drafter" ("auto" or None), "threads"."""

    def __init__(self, settings: Frame) -> None:
        if settings["model"] != "toy" and settings["executor"] == "transformers":
            import torch

            torch.set_num_threads(settings["threads"])
        else:
            from draftwood import runtime

            runtime.set_num_threads(settings["threads"])
        self._engine = _engine(settings)
        self._executor = "toy" if settings["model"] == "toy" else settings["executor"]

    def about(self) -> Frame:
        """Versions of everything that computes, and the instruction set."""
        import draftwood as dw

        backend = dw.runtime.backend()
        versions = {"draftwood": dw.__version__}
        if self._executor == "transformers":
            versions |= {name: backend[name] for name in ("torch", "transformers")}
        return {"versions": versions, "dtype": "float32", "isa": backend["cpu"], "executor": self._executor}

    def run(self, work: Frame) -> Frame:
        """Streams, since the first event divides reading the prompt from decoding."""
        tokens = 1 if work["kind"] == "prefill" else work["tokens"]
        stream = self._engine.stream(work["prompt"], _params(tokens))
        steps = self._engine.stats().steps
        begin = perf_counter()
        got = list(next(stream).token_ids)
        first, beside = perf_counter(), len(got)
        for event in stream:
            got.extend(event.token_ids)
        end = perf_counter()
        answer = [int(token) for token in got]
        if work["kind"] == "prefill":
            return {"tokens": answer, "seconds": first - begin, "counted": 1}
        steps = self._engine.stats().steps - steps - 1
        return {"tokens": answer, "seconds": end - first, "counted": len(answer) - beside, "steps": steps}

    def judge(self, work: Frame) -> Frame:
        """The same text with log-probabilities."""
        output = self._engine.generate(work["prompt"], _params(work["tokens"], logprobs=2))
        found = output.logprobs
        top = [[int(i), float(p)] for i, p in zip(found.top_ids[-1], found.top[-1], strict=True)]
        return {"tokens": output.token_ids.tolist(), "chosen": found.chosen.astype(float).tolist(), "top": top}


def _engine(settings: Frame) -> Any:
    import draftwood as dw

    drafter = settings["drafter"]
    if settings["model"] == "toy":
        return dw.testing.toy_engine(drafter=drafter, context_weight=settings.get("context_weight", 0.0))
    return dw.Engine.load(settings["model"], executor=settings["executor"], dtype="float32", drafter=drafter)


def _params(tokens: int, logprobs: int | None = None) -> Any:
    import draftwood as dw

    return dw.SamplingParams(max_new_tokens=tokens, ignore_eos=True, logprobs=logprobs)
