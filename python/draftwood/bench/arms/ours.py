"""Draftwood's own arm. The executor is a setting like the drafter, so that a new one needs no new adapter."""

from __future__ import annotations

import copy
from statistics import median
from time import perf_counter
from typing import Any

Frame = dict[str, Any]

_CHUNK = 512


class Arm:
    """`settings`: "model" (what `Engine.load` takes, or "toy"), "executor", "dtype", "drafter", "threads"; and where it
    is not the usual one "numerics" (fast) and "cache" (f16).
    """

    def __init__(self, settings: Frame) -> None:
        if settings["model"] != "toy" and settings["executor"] == "transformers":
            import torch

            torch.set_num_threads(settings["threads"])
        else:
            from draftwood import runtime

            runtime.set_num_threads(settings["threads"])
        self._engine = _engine(settings)
        self._executor = "toy" if settings["model"] == "toy" else settings["executor"]
        self._dtype = settings.get("dtype", "float32")
        self._rows: Rows | None = None

    def close(self) -> None:
        """Frees weights and cache."""
        self._engine.close()

    def about(self) -> Frame:
        """Versions of everything that computes, and the instruction set."""
        import draftwood as dw

        backend = dw.runtime.backend()
        versions = {"draftwood": dw.__version__}
        if self._executor == "transformers":
            versions |= {name: backend[name] for name in ("torch", "transformers")}
        executor = self._engine.executor
        name, isa = executor.caps.name, getattr(executor, "instruction_set", backend["cpu"])
        return {"versions": versions, "dtype": self._dtype, "isa": isa, "executor": name}

    def run(self, work: Frame) -> Frame:
        """Streams, since the first event divides reading the prompt from decoding."""
        if work["kind"] == "rows":
            return self._step().run(work)
        if work["kind"] == "beams":
            return self._beams(work)
        tokens = 1 if work["kind"] == "prefill" else work["tokens"]
        stream = self._engine.stream(work["prompt"], _params(tokens, ends=work.get("ends", False)))
        steps = self._engine.stats().steps
        begin = perf_counter()
        got = list(next(stream).token_ids)
        first, beside = perf_counter(), len(got)
        marks = [[beside, 0.0]]
        for event in stream:
            got.extend(event.token_ids)
            marks.append([len(got), perf_counter() - first])
        end = perf_counter()
        answer = [int(token) for token in got]
        if work["kind"] == "prefill":
            return {"tokens": answer, "seconds": first - begin, "counted": 1}
        steps = self._engine.stats().steps - steps - 1
        if len(answer) == beside:
            # A text that ends with its first event: there is nothing between its first and its last token.
            return {"tokens": answer, "seconds": end - begin, "counted": beside}
        told = {"tokens": answer, "seconds": end - first, "counted": len(answer) - beside, "steps": steps}
        return told | ({"marks": marks} if work.get("ends") else {})

    def judge(self, work: Frame) -> Frame:
        """The same text, or rows, with log-probabilities."""
        if work["kind"] == "rows":
            return self._step().judge(work)
        if work["kind"] == "beams":
            return {"score": float(self._engine.score(work["prompt"], work["text"]).sum())}
        output = self._engine.generate(work["prompt"], _params(work["tokens"], logprobs=8))
        found = output.logprobs
        top = [[int(i), float(p)] for i, p in zip(found.top_ids[-1], found.top[-1], strict=True)]
        return {"tokens": output.token_ids.tolist(), "chosen": found.chosen.astype(float).tolist(), "top": top}

    def _beams(self, work: Frame) -> Frame:
        import draftwood as dw

        begin = perf_counter()
        if work["beams"] == 1:
            tokens = self._engine.generate(work["prompt"], _params(work["tokens"])).token_ids
        else:
            params = dw.BeamParams(num_beams=work["beams"], max_new_tokens=work["tokens"], ignore_eos=True)
            tokens = self._engine.beam_search(work["prompt"], params)[0].token_ids
        seconds = perf_counter() - begin
        return {"tokens": tokens.tolist(), "seconds": seconds, "counted": len(tokens)}

    def _step(self) -> Rows:
        if self._rows is None:
            self._rows = Rows(self._engine.executor)
        return self._rows


class Rows:
    """Steps of the executor alone, without a session, over a second cache."""

    def __init__(self, executor: Any) -> None:
        from draftwood.bench.chains import PAGE, pages_for

        self._executor = copy.copy(executor)
        self._cached: list[int] = []
        self._executor.allocate(pages_for(executor.caps.max_context), PAGE)

    def run(self, work: Frame) -> Frame:
        """The best token after each row; the median of the steps' seconds."""
        ids, start = work["prompt"], self._cache_beginning(work)
        times: list[float] = []
        best: Any = None
        finds_best = "argmax" in self._executor.caps.selectors
        for _ in range(work["repeats"]):
            begin = perf_counter()
            if finds_best:  # as greedy decoding and its drafts do
                best = self._forward(ids[start:], start, selector="argmax").best[:, 0]
            else:
                best = self._forward(ids[start:], start).logits.argmax(axis=1)
            times.append(perf_counter() - begin)
        return {"tokens": best.tolist(), "seconds": median(times), "counted": 1}

    def judge(self, work: Frame) -> Frame:
        """Of the first `work["tokens"]` rows."""
        import numpy as np

        start = self._cache_beginning(work)
        logits = self._forward(work["prompt"][start:], start).logits
        shifted = logits[: work["tokens"]].astype(np.float64)
        shifted -= shifted.max(axis=1, keepdims=True)
        rows = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        best = rows.argmax(axis=1)
        top = [[int(i), float(rows[-1][i])] for i in rows[-1].argsort()[-8:][::-1]]
        return {"tokens": best.tolist(), "chosen": rows[np.arange(len(best)), best].tolist(), "top": top}

    def _cache_beginning(self, work: Frame) -> int:
        """Reads what comes before the rows, as far as it is not cached; returns its length."""
        from draftwood.bench.chains import shared

        ids, start = work["prompt"], len(work["prompt"]) - work["rows"]
        at = shared(self._cached, ids[:start])
        while at < start:
            end = min(at + _CHUNK, start)
            self._forward(ids[at:end], at, read=())
            at = end
        # The rows overwrite what is behind; of the same text, with the same bits.
        if self._cached[: len(ids)] != ids:
            self._cached = list(ids)
        return start

    def _forward(self, ids: list[int], start: int, read: Any = None, selector: str = "full") -> Any:
        from draftwood.bench.chains import chain_plan

        return self._executor.forward(chain_plan(ids, start, read, selector=selector))


def _engine(settings: Frame) -> Any:
    import draftwood as dw

    drafter = settings["drafter"]
    if settings["model"] == "toy":
        return dw.testing.toy_engine(drafter=drafter, context_weight=settings.get("context_weight", 0.0))
    chosen: Frame = {key: settings[key] for key in ("executor", "dtype", "numerics") if key in settings}
    if settings.get("cache") == "f16":
        chosen["cache"] = dw.CacheConfig(dtype="float16")
    return dw.Engine.load(settings["model"], drafter=drafter, **chosen)


def _params(tokens: int, logprobs: int | None = None, *, ends: bool = False) -> Any:
    import draftwood as dw

    return dw.SamplingParams(max_new_tokens=tokens, ignore_eos=not ends, logprobs=logprobs)
