"""`transformers.generate` in float32 with SDPA; `prompt_lookup_num_tokens` for drafts."""

from __future__ import annotations

from statistics import median
from time import perf_counter
from typing import Any

Frame = dict[str, Any]

_CHUNK = 512


class Arm:
    """`settings`: "folder" (a Hugging Face folder), "draft" (tokens per lookup, 0 for none), "threads"."""

    def __init__(self, settings: Frame) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(settings["threads"])
        self._torch, self._draft = torch, settings.get("draft", 0)
        self._module = AutoModelForCausalLM.from_pretrained(
            settings["folder"], dtype=torch.float32, attn_implementation="sdpa"
        ).eval()
        # Greedy without end tokens, as every arm.
        self._module.generation_config.eos_token_id = None
        self._module.generation_config.pad_token_id = 0
        self._cache: Any = None
        self._cached: list[int] = []

    def about(self) -> Frame:
        """Versions, and what torch's own kernels use."""
        import transformers

        versions = {"torch": self._torch.__version__, "transformers": transformers.__version__}
        isa = self._torch.backends.cpu.get_cpu_capability()
        return {"versions": versions, "dtype": "float32", "isa": isa}

    def run(self, work: Frame) -> Frame:
        """A streamer notes when tokens come; the prompt comes first."""
        if work["kind"] == "rows":
            return self._rows(work)
        if work["kind"] == "beams":
            return self._beams(work)
        tokens = 1 if work["kind"] == "prefill" else work["tokens"]
        clock = _Clock()
        begin = perf_counter()
        answer = self._generate(work["prompt"], tokens, streamer=clock)
        if work["kind"] == "prefill":
            return {"tokens": answer, "seconds": clock.times[0] - begin, "counted": 1}
        seconds = clock.times[-1] - clock.times[0]
        return {"tokens": answer, "seconds": seconds, "counted": len(answer) - clock.counts[0]}

    def judge(self, work: Frame) -> Frame:
        """The same text with its scores, without lookup; or rows."""
        if work["kind"] == "rows":
            rows = [self._torch.log_softmax(row.double(), -1) for row in self._step(work)[: work["tokens"]]]
            return _judged([int(row.argmax()) for row in rows], rows)
        answer, rows = self._generate(work["prompt"], work["tokens"], scores=True)
        rows = [self._torch.log_softmax(row[0].double(), -1) for row in rows]
        return _judged(answer, rows)

    def _beams(self, work: Frame) -> Frame:
        begin = perf_counter()
        answer = self._generate(work["prompt"], work["tokens"], num_beams=work["beams"])
        return {"tokens": answer, "seconds": perf_counter() - begin, "counted": len(answer)}

    def _rows(self, work: Frame) -> Frame:
        times, best = [], []
        for _ in range(work["repeats"]):
            self._cache_beginning(work)
            begin = perf_counter()
            best = self._step(work).argmax(-1).tolist()
            times.append(perf_counter() - begin)
        return {"tokens": best, "seconds": median(times), "counted": 1}

    def _step(self, work: Frame) -> Any:
        """Logits of the last rows of the prompt, in one forward."""
        return self._forward(work["prompt"][self._cache_beginning(work) :])

    def _cache_beginning(self, work: Frame) -> int:
        """Reads what comes before the rows, as far as it is not cached; returns its length."""
        from transformers import DynamicCache

        ids, start = work["prompt"], len(work["prompt"]) - work["rows"]
        if self._cache is None:
            self._cache = DynamicCache(config=self._module.config)
        common = _shared(self._cached, ids[:start])
        # Only a number to remove is taken, and 0 would remove everything.
        if more := self._cache.get_seq_length() - common:
            self._cache.crop(-more)
        for at in range(common, start, _CHUNK):
            self._forward(ids[at : min(at + _CHUNK, start)])
        self._cached = ids[:start]
        return start

    def _forward(self, ids: list[int]) -> Any:
        with self._torch.inference_mode():
            return self._module(self._torch.tensor([ids]), past_key_values=self._cache, use_cache=True).logits[0]

    def _generate(
        self, prompt: list[int], tokens: int, *, streamer: Any = None, scores: bool = False, num_beams: int = 1
    ) -> Any:
        inputs = self._torch.tensor([prompt])
        lookup = {"prompt_lookup_num_tokens": self._draft} if self._draft and not scores and tokens > 1 else {}
        with self._torch.inference_mode():
            output = self._module.generate(
                inputs,
                attention_mask=self._torch.ones_like(inputs),
                do_sample=False,
                max_new_tokens=tokens,
                num_beams=num_beams,
                streamer=streamer,
                return_dict_in_generate=True,
                output_logits=scores,
                **lookup,
            )
        answer = output.sequences[0, len(prompt) :].tolist()
        return (answer, output.logits) if scores else answer


def _shared(left: list[int], right: list[int]) -> int:
    """Tokens that two texts have in common from their beginning on."""
    differing = (at for at, (a, b) in enumerate(zip(left, right)) if a != b)  # noqa: B905 - lengths differ
    return next(differing, min(len(left), len(right)))


def _judged(answer: list[int], rows: list[Any]) -> Frame:
    best = rows[-1].topk(8)
    top = [[int(i), float(p)] for i, p in zip(best.indices, best.values, strict=True)]
    return {"tokens": answer, "chosen": [float(r[t]) for r, t in zip(rows, answer, strict=True)], "top": top}


class _Clock:
    """A streamer that keeps times and numbers of tokens, the prompt left out."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.counts: list[int] = []
        self._prompt = True

    def put(self, value: Any) -> None:
        if self._prompt:
            self._prompt = False
            return
        self.times.append(perf_counter())
        self.counts.append(value.numel())

    def end(self) -> None:
        """Nothing is kept back."""
