"""n samples of a prompt: read once, drawn apart, each the same text whatever runs beside it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy import stats as laws

import draftwood as dw
from support.drafters import RandomTrees, all_drafters
from support.hf_tiny import tiny_model
from support.samples import ORACLE, PARAMS, VOCAB, engine, texts_of
from support.toy import Oracle, prompts

pytestmark = pytest.mark.usefixtures("leaks")


@pytest.mark.parametrize("page_size", [1, 4, 16])
def test_sample_i_is_the_same_for_any_n_with_any_drafter_and_in_a_batch(page_size):
    some = prompts(3, VOCAB, seed=page_size)
    cache = dw.CacheConfig(page_size=page_size)
    with engine(cache=cache) as model:
        plain = [texts_of(model.generate(prompt, dw.SamplingParams(**PARAMS, n=5))) for prompt in some]
        for n in (1, 2, 3, 4):
            assert texts_of(model.generate(some[0], dw.SamplingParams(**PARAMS, n=n))) == plain[0][:n]
    assert len({tuple(text) for texts in plain for text in texts}) == 15

    def continuation(tokens, count):
        for prompt, texts in zip(some, plain, strict=True):
            done = len(tokens) - len(prompt)
            for text in texts:
                if done >= 0 and list(tokens) == prompt + text[:done]:
                    return text[done : done + count]
        return []

    for name, drafter in all_drafters(VOCAB, continuation).items():
        with engine(drafter, cache=cache) as model:
            outputs = model.generate(some, dw.SamplingParams(**PARAMS, n=5))
            assert [texts_of(output) for output in outputs] == plain, name
            if name in ("right", "64 chain"):
                assert sum(sample.stats.accepted for output in outputs for sample in output.samples) > 150
    for output, texts in zip(outputs, plain, strict=True):
        assert [sample.sample for sample in output.samples] == [0, 1, 2, 3, 4]
        assert output.token_ids.tolist() == texts[0]
        assert all(sample.samples == () for sample in output.samples)


def test_a_draft_below_the_prompt_serves_every_sample():
    """Two samples follow two branches of one tree of the first step."""
    with engine() as model:
        texts = texts_of(model.generate([1, 2], dw.SamplingParams(**PARAMS, n=8)))
    first, second = next((a, b) for a in texts for b in texts if a[0] != b[0])

    class Both:
        def propose(self, view):
            if len(view.token_ids) > 2:
                return None
            return dw.Tree([2, *first[:3], *second[:3]], [-1, 0, 1, 2, 0, 4, 5])

    with engine(Both()) as model:
        output = model.generate([1, 2], dw.SamplingParams(**PARAMS, n=8))
        assert model.stats().rows_forked > 0
    assert texts_of(output) == texts
    accepted = [sample.stats.accepted for sample in output.samples]
    assert accepted[texts.index(first)] == accepted[texts.index(second)] == 3


@pytest.mark.parametrize("executor", ["native", "transformers"])
def test_models_with_weights(executor, tmp_path):
    module = tiny_model("llama", 256, seed=3, hidden=64, feed_forward=128, heads=4, kv_heads=2)
    module.save_pretrained(tmp_path)
    prompt = np.random.default_rng(0).integers(0, 256, 40).tolist()
    params = {"max_new_tokens": 12, "temperature": 0.7, "top_p": 0.9, "seed": 5}
    found = {}
    for drafter in (None, RandomTrees(256, 12, 1)):
        with dw.Engine.load(str(tmp_path), executor=executor, drafter=drafter, draft_policy="always") as model:
            texts = found[drafter] = texts_of(model.generate(prompt, dw.SamplingParams(**params, n=4)))
            for n in (1, 3):
                assert texts_of(model.generate(prompt, dw.SamplingParams(**params, n=n))) == texts[:n]
    assert found[None] == texts
    assert len({tuple(text) for text in texts}) > 1


def test_each_sample_has_the_law_of_the_model_and_they_are_independent():
    sizes = {"vocab_size": 8, "context_weight": 0.5}
    oracle = Oracle(**sizes)
    prompt, n, calls = [3, 1], 500, 12

    def row(text):
        values = np.exp(oracle.logits(text).astype(np.float64))
        return values / values.sum()

    law = {(a, b): row(prompt)[a] * row([*prompt, a])[b] for a in range(8) for b in range(8)}
    texts, pairs = Counter(), Counter()
    with dw.testing.toy_engine(**sizes, drafter=RandomTrees(8, 6, 1), draft_policy="always") as model:
        for seed in range(calls):
            params = dw.SamplingParams(max_new_tokens=2, temperature=1.0, seed=seed, n=n)
            drawn = [tuple(text) for text in texts_of(model.generate(prompt, params))]
            texts.update(drawn)
            pairs.update((drawn[i][0], drawn[i + 1][0]) for i in range(0, n, 2))
    first = row(prompt)
    joint = {(a, b): first[a] * first[b] for a in range(8) for b in range(8)}
    # At this size a total variation of 0.04 between two laws would be seen nine times of ten.
    for counts, expected in ((texts, law), (pairs, joint)):
        total = counts.total()
        kept = [cell for cell in expected if expected[cell] * total >= 5]
        rest = sum(expected[cell] for cell in expected if expected[cell] * total < 5)
        observed = [counts[cell] for cell in kept]
        wanted = [expected[cell] * total for cell in kept]
        if rest * total >= 5:
            observed.append(total - sum(observed))
            wanted.append(rest * total)
        wanted = np.array(wanted) * sum(observed) / sum(wanted)
        assert laws.chisquare(observed, wanted).pvalue > 5e-5


def test_the_prompt_is_read_once():
    prompt = np.random.default_rng(1).integers(0, VOCAB, 700).tolist()
    rows, heads = [], []
    with engine() as model:
        model.on_step(lambda plan, events: (rows.append(plan.rows), heads.append(len(plan.head_rows))))
        output = model.generate(prompt, dw.SamplingParams(max_new_tokens=9, temperature=1.0, seed=1, n=6))
    assert sum(rows) == 700 + 6 * 8
    assert sum(heads) == 1 + 6 * 8, "all samples read one row of the prompt"
    assert [sample.stats.prompt_tokens for sample in output.samples] == [700] * 6
    assert [sample.stats.steps for sample in output.samples] == [9] * 6


@pytest.mark.parametrize("length", [1000, 1008, 1024])
def test_eight_samples_share_the_pages_of_a_long_prompt(length):
    prompt = np.random.default_rng(2).integers(0, VOCAB, length).tolist()
    used = {}
    for n in (1, 8):
        with engine() as model, model.stream(prompt, dw.SamplingParams(**PARAMS, n=n)) as stream:
            used[n] = []
            for _ in range(2 * n):  # two steps: the first tokens, then rows of their own
                next(stream)
                stats = model.stats()
                used[n].append(stats.pages_total - stats.pages_free)
    assert used[8][0] == used[1][0] == -(-length // 16), "until they part nothing is copied"
    assert used[8][-1] <= 1.2 * used[1][-1]


def test_a_prompt_is_booked_once():
    """1000 tokens fill 62 pages, and each of 8 samples may need two more for the rest, 20 tokens and a root."""
    prompt = np.random.default_rng(2).integers(0, VOCAB, 1000).tolist()
    params = dw.SamplingParams(**PARAMS, n=8)
    with engine() as model:
        texts = texts_of(model.generate(prompt, params))
    with engine(cache=dw.CacheConfig(bytes=16 * 8 * 78)) as model:
        assert model.stats().pages_total == 78
        assert texts_of(model.generate(prompt, params)) == texts
    with engine(cache=dw.CacheConfig(bytes=16 * 8 * 77)) as model, pytest.raises(dw.OutOfPages) as e:
        model.generate(prompt, params)
    assert (e.value.needed, e.value.total) == (78, 77)


def test_samples_end_each_on_its_own():
    """Among them the first one with its first token, so that a later one goes on in its place."""
    with engine() as model:
        free = texts_of(model.generate([5, 6], dw.SamplingParams(**PARAMS, n=6)))
    end = free[0][0]

    def cut(text):
        return text[: text.index(end) + 1] if end in text else text

    assert {len(cut(text)) for text in free} >= {1, 20}
    for drafter in (None, "auto", RandomTrees(VOCAB, 12, 4)):
        with engine(drafter, stop_ids=(end,)) as model:
            output = model.generate([5, 6], dw.SamplingParams(**PARAMS, n=6))
            for sample, text in zip(output.samples, free, strict=True):
                assert sample.token_ids.tolist() == cut(text)
                assert sample.finish_reason == ("stop" if end in text else "length")
                assert sample.stop_reason == (end if end in text else None)
                assert sample.stats.new_tokens == len(cut(text))
    every = dw.SamplingParams(**(PARAMS | {"max_new_tokens": 1}), n=6)
    with engine() as model:
        assert texts_of(model.generate([5, 6], every)) == [text[:1] for text in free]


def test_logprobs_belong_to_their_sample():
    params = dw.SamplingParams(**PARAMS, n=4, logprobs=2)
    with engine(RandomTrees(VOCAB, 12, 4)) as model:
        for sample in model.generate([5, 6], params).samples:
            text = [5, 6]
            for t, token in enumerate(sample.token_ids):
                row = ORACLE.logits(text).astype(np.float64)
                law = row - np.log(np.exp(row).sum())
                assert sample.logprobs.chosen[t] == pytest.approx(law[token], abs=1e-5)
                assert sample.logprobs.top_ids[t].tolist() == np.argsort(-law, kind="stable")[:2].tolist()
                text.append(int(token))


def test_best_of_keeps_the_likeliest_per_token():
    with engine() as model:
        all_of = model.generate([5, 6], dw.SamplingParams(**PARAMS, n=7, logprobs=0)).samples
        means = [float(sample.logprobs.chosen.mean(dtype=np.float64)) for sample in all_of]
        order = sorted(range(7), key=lambda i: (-means[i], i))
        for n in (1, 3, 7):
            output = model.generate([5, 6], dw.SamplingParams(**PARAMS, n=n, best_of=7))
            kept = output.samples if n > 1 else (output,)
            assert [sample.sample for sample in kept] == order[:n]
            assert output.token_ids.tolist() == all_of[order[0]].token_ids.tolist()
            assert output.logprobs is None
    assert order != list(range(7))


def test_samples_wait_for_their_pages_and_a_small_pool_serves_all():
    with engine() as model:
        alone = [texts_of(model.generate([i], dw.SamplingParams(**PARAMS, n=3))) for i in range(6)]
    cache = dw.CacheConfig(bytes=16 * 8 * 20)  # 20 pages; each request books 3 · 6
    with engine(cache=cache) as model:
        outputs = model.generate([[i] for i in range(6)], dw.SamplingParams(**PARAMS, n=3))
        assert [texts_of(output) for output in outputs] == alone
        with pytest.raises(dw.OutOfPages):
            model.generate([1], dw.SamplingParams(**PARAMS, n=30))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"n": 0}, "n must be 1 … 4096, got 0"),
        ({"n": -1}, "n must be 0 … 4096, got -1"),
        ({"n": 5000}, "n must be 0 … 4096, got 5000"),
        ({"n": 1.5}, "n must be an integer, got 1.5"),
        ({"n": True}, "n must be an integer, got True"),
        ({"best_of": 0}, "best_of must be 1 … 4096, got 0"),
        ({"n": 3, "best_of": 2}, "best_of must be at least n = 3, got 2"),
        ({"n": 2, "temperature": 0.0}, "n must be 1 with temperature=0, got 2"),
        ({"best_of": 2, "temperature": 0.0}, "best_of must be 1 with temperature=0, got 2"),
    ],
)
def test_bad_input(fields, words):
    with engine() as model, pytest.raises(dw.InvalidArgument, match=words):
        model.generate([1], dw.SamplingParams(**(PARAMS | fields)))
