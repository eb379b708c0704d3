"""The engine on transformers modules: greedy equals `generate`, seeded samples do not depend on drafter or batch."""

from __future__ import annotations

import numpy as np
import pytest

import draftwood as dw
from support.drafters import all_drafters
from support.hf_greedy import Tally, reference
from support.hf_tiny import tiny_model
from support.toy import prompts

torch = pytest.importorskip("torch")
VOCAB, TOKENS = 256, 24


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def run(request):
    """A model, 16 ragged prompts, their references, and the limit of a near-tie."""
    module = tiny_model(request.param, VOCAB, seed=0, hidden=96, feed_forward=128, heads=6, kv_heads=3)
    some = prompts(16, VOCAB, seed=1)
    references = [reference(module, prompt, TOKENS) for prompt in some]
    difference = 0.0
    with dw.Engine(module, executor="transformers", drafter=None) as engine:
        for prompt, (ids, _, logits) in zip(some, references, strict=True):
            output = engine.generate(prompt, dw.SamplingParams(max_new_tokens=TOKENS, logprobs=VOCAB))
            if output.token_ids.tolist() != ids:
                continue
            law = logits - np.logaddexp.reduce(logits.astype(np.float64), axis=1, keepdims=True)
            ours = np.empty_like(law)
            np.put_along_axis(ours, output.logprobs.top_ids.astype(np.int64), output.logprobs.top, axis=1)
            difference = max(difference, float(np.abs(ours - law).max()))
    assert 0 < difference < 1e-3
    return module, some, references, 2 * difference


def test_greedy_with_every_drafter_alone_and_in_ragged_batches(run):
    module, some, references, limit = run
    right = {tuple(prompt): ids for prompt, (ids, _, _) in zip(some, references, strict=True)}

    def continuation(tokens, n):
        for prompt, ids in right.items():
            done = len(tokens) - len(prompt)
            if done >= 0 and tuple(tokens) == prompt + tuple(ids[:done]):
                return ids[done : done + n]
        return []

    tally, accepted = Tally(limit), {}
    for name, drafter in all_drafters(VOCAB, continuation).items():
        with dw.Engine(module, executor="transformers", drafter=drafter, draft_policy="always") as engine:
            params = dw.SamplingParams(max_new_tokens=TOKENS)
            batched = engine.generate(some[:8], params) + engine.generate(some[8:], params)
            alone = [engine.generate(prompt, params) for prompt in some[:4]]
            for output, (ids, gaps, _) in zip(batched + alone, references + references[:4], strict=True):
                tally.compare(output.token_ids, ids, gaps, name)
            accepted[name] = sum(output.stats.accepted for output in batched)
            assert engine.stats().pages_free == engine.stats().pages_total
    tally.check()
    assert min(accepted["right"], accepted["64 chain"]) > 16 * TOKENS * 0.7
    assert accepted["64 nodes"] > 20


def test_seeded_samples_do_not_depend_on_the_drafter_or_the_batch(run):
    module, some, _, _ = run
    each = [
        dw.SamplingParams(max_new_tokens=TOKENS, seed=i, temperature=1.0, top_k=0 if i % 2 else 40, top_p=0.9)
        for i in range(len(some))
    ]
    with dw.Engine(module, executor="transformers", drafter=None) as engine:
        plain = [engine.generate(p, s).token_ids.tolist() for p, s in zip(some, each, strict=True)]
    right = dict(zip(map(tuple, some), plain, strict=True))

    def continuation(tokens, n):
        for prompt, ids in right.items():
            done = len(tokens) - len(prompt)
            if done >= 0 and tuple(tokens) == prompt + tuple(ids[:done]):
                return ids[done : done + n]
        return []

    texts = differences = 0
    for drafter in all_drafters(VOCAB, continuation).values():
        with dw.Engine(module, executor="transformers", drafter=drafter, draft_policy="always") as engine:
            for output, expected in zip(engine.generate(some, each), plain, strict=True):
                texts += 1
                differences += output.token_ids.tolist() != expected
    # The torch executor promises no bits: a draw may fall within rounding of its neighbour, once in a great while.
    assert differences <= 0.03 * texts, f"{differences} of {texts}"


def test_a_folder_and_its_module_say_the_same(run, tmp_path):
    module, some, references, limit = run
    module.save_pretrained(tmp_path)
    tally = Tally(limit)
    with dw.Engine.load(str(tmp_path)) as engine:
        assert engine.tokenizer is None
        with pytest.raises(dw.UnsupportedModel, match="text without a tokenizer"):
            engine.generate("text")
        for prompt, (ids, gaps, _) in zip(some[:4], references, strict=False):
            tally.compare(engine.generate(prompt, dw.SamplingParams(max_new_tokens=TOKENS)).token_ids, ids, gaps)
    tally.check()


def test_the_context_of_the_model_is_the_limit(run):
    module, _, _, _ = run
    with dw.Engine(module, executor="transformers", max_context=32) as engine:
        assert len(engine.generate([1] * 20, dw.SamplingParams(max_new_tokens=99)).token_ids) == 12
    with pytest.raises(dw.InvalidArgument, match="max_context must be 2 … 512"):
        dw.Engine(module, executor="transformers", max_context=513)
