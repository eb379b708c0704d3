"""`transformers.generate` in float32 with SDPA; `prompt_lookup_num_tokens` for drafts."""

from __future__ import annotations

from time import perf_counter
from typing import Any

Frame = dict[str, Any]


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

    def about(self) -> Frame:
        """Versions, and what torch's own kernels use."""
        import transformers

        versions = {"torch": self._torch.__version__, "transformers": transformers.__version__}
        isa = self._torch.backends.cpu.get_cpu_capability()
        return {"versions": versions, "dtype": "float32", "isa": isa}

    def run(self, work: Frame) -> Frame:
        """A streamer notes when tokens come; the prompt comes first."""
        tokens = 1 if work["kind"] == "prefill" else work["tokens"]
        clock = _Clock()
        begin = perf_counter()
        answer = self._generate(work["prompt"], tokens, streamer=clock)
        if work["kind"] == "prefill":
            return {"tokens": answer, "seconds": clock.times[0] - begin, "counted": 1}
        seconds = clock.times[-1] - clock.times[0]
        return {"tokens": answer, "seconds": seconds, "counted": len(answer) - clock.counts[0]}

    def judge(self, work: Frame) -> Frame:
        """The same text with its scores, without lookup."""
        answer, rows = self._generate(work["prompt"], work["tokens"], scores=True)
        rows = [self._torch.log_softmax(row[0].double(), -1) for row in rows]
        best = rows[-1].topk(2)
        top = [[int(i), float(p)] for i, p in zip(best.indices, best.values, strict=True)]
        return {"tokens": answer, "chosen": [float(r[t]) for r, t in zip(rows, answer, strict=True)], "top": top}

    def _generate(self, prompt: list[int], tokens: int, *, streamer: Any = None, scores: bool = False) -> Any:
        inputs = self._torch.tensor([prompt])
        lookup = {"prompt_lookup_num_tokens": self._draft} if self._draft and not scores and tokens > 1 else {}
        with self._torch.inference_mode():
            output = self._module.generate(
                inputs,
                attention_mask=self._torch.ones_like(inputs),
                do_sample=False,
                max_new_tokens=tokens,
                streamer=streamer,
                return_dict_in_generate=True,
                output_logits=scores,
                **lookup,
            )
        answer = output.sequences[0, len(prompt) :].tolist()
        return (answer, output.logits) if scores else answer


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
