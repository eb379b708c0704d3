"""The text depends on weights, prompt, parameters and seed alone: never on the drafter, the batch or the pages."""

from __future__ import annotations

import numpy as np
import pytest

import draftwood as dw
from support.drafters import all_drafters
from support.toy import Oracle, prompts

VOCAB = 64
TOY = {"vocab_size": VOCAB, "context_weight": 0.3}
ORACLE = Oracle(**TOY)
NAMES = list(all_drafters(VOCAB, ORACLE.greedy))


def engine(drafter, **more):
    return dw.testing.toy_engine(**TOY, drafter=drafter, draft_policy="always", **more)


@pytest.mark.parametrize("page_size", [1, 4, 16])
@pytest.mark.parametrize("name", NAMES)
def test_greedy_equals_recomputing_everything(name, page_size):
    drafter = all_drafters(VOCAB, ORACLE.greedy)[name]
    some = prompts(8, VOCAB, seed=page_size)
    with engine(drafter, cache=dw.CacheConfig(page_size=page_size)) as model:
        outputs = model.generate(some, dw.SamplingParams(max_new_tokens=24))
        for prompt, output in zip(some, outputs, strict=True):
            assert output.token_ids.tolist() == ORACLE.greedy(prompt, 24)
            assert output.finish_reason == "length"
        stats = model.stats()
    assert stats.pages_free == stats.pages_total
    accepted = sum(output.stats.accepted for output in outputs)
    if name in ("right", "64 chain", "random", "64 nodes"):
        assert accepted > 20
        assert sum(output.stats.steps for output in outputs) + accepted == 8 * 24
    if name in ("none", "one node"):
        assert sum(output.stats.drafted for output in outputs) == 0
    if name in ("random", "64 nodes"):
        assert stats.rows_compacted > 0


@pytest.mark.parametrize(
    "params",
    [
        {"temperature": 1.0},
        {"temperature": 0.6},
        {"temperature": 1.0, "top_k": 5},
        {"temperature": 1.2, "top_p": 0.8},
        {"temperature": 1.0, "min_p": 0.1, "top_k": 20, "top_p": 0.95},
    ],
    ids=str,
)
def test_a_seeded_sample_is_the_same_with_any_drafter_alone_and_in_a_batch(params):
    some = prompts(6, VOCAB, seed=3)
    each = [dw.SamplingParams(max_new_tokens=20, seed=100 + i, **params) for i in range(len(some))]
    with engine(None) as model:
        plain = [model.generate(p, s).token_ids.tolist() for p, s in zip(some, each, strict=True)]
    assert len({tuple(text) for text in plain}) == len(some)

    def continuation(tokens, n):
        """What plain sampling says, for a drafter that is often right."""
        for prompt, text in zip(some, plain, strict=True):
            done = len(tokens) - len(prompt)
            if done >= 0 and list(tokens) == prompt + text[:done]:
                return text[done : done + n]
        return []

    for name, drafter in all_drafters(VOCAB, continuation).items():
        with engine(drafter) as model:
            outputs = model.generate(some, each)
            assert [o.token_ids.tolist() for o in outputs] == plain, name
            alone = model.generate(some[0], each[0])
            assert alone.token_ids.tolist() == plain[0], name
        if name in ("right", "64 chain"):
            assert sum(o.stats.accepted for o in outputs) > 50


def test_prompts_of_any_length_are_fed_in_chunks_beside_running_texts():
    rng = np.random.default_rng(0)
    long = [int(t) for t in rng.integers(0, VOCAB, 1700)]
    some = [*prompts(4, VOCAB, seed=5), long, [3], long[:513], long[:512]]
    with engine("auto") as model:
        assert model.generate(long, dw.SamplingParams(max_new_tokens=2)).token_ids.tolist() == ORACLE.greedy(long, 2)
        outputs = model.generate(some, dw.SamplingParams(max_new_tokens=6))
    for prompt, output in zip(some, outputs, strict=True):
        assert output.token_ids.tolist() == ORACLE.greedy(prompt, 6)
    assert outputs[4].stats.prefill_steps >= 3
    assert outputs[5].stats.prefill_steps == 0


def test_more_texts_than_rows_of_a_step_all_get_their_turn():
    some = prompts(80, VOCAB, seed=6, longest=12)
    drafter = all_drafters(VOCAB, ORACLE.greedy)["64 chain"]
    with engine(drafter) as model:
        outputs = model.generate(some, dw.SamplingParams(max_new_tokens=5))
    assert [o.token_ids.tolist() for o in outputs] == [ORACLE.greedy(p, 5) for p in some]


def test_requests_wait_for_pages_and_a_small_pool_serves_all():
    some = prompts(12, VOCAB, seed=7)
    cache = dw.CacheConfig(bytes=16 * 8 * 12)
    with engine("auto", cache=cache) as model:
        outputs = model.generate(some, dw.SamplingParams(max_new_tokens=10))
        assert model.stats().pages_free == model.stats().pages_total == 12
    assert [o.token_ids.tolist() for o in outputs] == [ORACLE.greedy(p, 10) for p in some]


def test_ends_inside_an_accepted_path():
    """The drafter proposes far beyond the end token; the text ends with it all the same."""
    for prompt in prompts(20, VOCAB, seed=8):
        free = ORACLE.greedy(prompt, 30)
        end = free[7]
        expected = ORACLE.greedy(prompt, 30, ends=(end,))
        for name, drafter in all_drafters(VOCAB, ORACLE.greedy).items():
            with engine(drafter, stop_ids=(end,)) as model:
                output = model.generate(prompt, dw.SamplingParams(max_new_tokens=30))
                assert output.token_ids.tolist() == expected, name
                assert (output.finish_reason, output.stop_reason) == ("stop", end)
                ignored = model.generate(prompt, dw.SamplingParams(max_new_tokens=30, ignore_eos=True))
                assert ignored.token_ids.tolist() == free, name


def test_min_new_tokens_masks_the_end():
    prompt = prompts(1, VOCAB, seed=9)[0]
    end = ORACLE.greedy(prompt, 1)[0]
    with engine("auto", stop_ids=(end,)) as model:
        assert model.generate(prompt).token_ids.tolist() == [end]
        output = model.generate(prompt, dw.SamplingParams(max_new_tokens=9, min_new_tokens=5))
    assert end not in output.token_ids[:5].tolist()
    assert len(output.token_ids) >= 5


def test_the_limit_and_the_stop_together_are_a_stop():
    prompt = prompts(1, VOCAB, seed=10)[0]
    text = ORACLE.greedy(prompt, 4)
    if text[3] in text[:3]:
        pytest.fail("choose a prompt whose fourth token is new")
    with engine("auto", stop_ids=(text[3],)) as model:
        assert model.generate(prompt, dw.SamplingParams(max_new_tokens=4)).finish_reason == "stop"


def test_the_context_limit_ends_with_length():
    prompt = prompts(1, VOCAB, seed=11, longest=12)[0]
    for name, drafter in all_drafters(VOCAB, ORACLE.greedy).items():
        with engine(drafter, max_context=len(prompt) + 9) as model:
            output = model.generate(prompt, dw.SamplingParams(max_new_tokens=100))
            assert output.token_ids.tolist() == ORACLE.greedy(prompt, 9), name
            assert output.finish_reason == "length"


def test_logprobs_are_those_of_the_raw_law():
    prompt = prompts(1, VOCAB, seed=12)[0]
    for drafter in (None, all_drafters(VOCAB, ORACLE.greedy)["right"]):
        params = dw.SamplingParams(max_new_tokens=12, temperature=0.7, top_k=8, seed=5, logprobs=3)
        with engine(drafter) as model:
            output = model.generate(prompt, params)
        text = list(prompt)
        for t, token in enumerate(output.token_ids):
            row = ORACLE.logits(text).astype(np.float64)
            law = row - np.log(np.exp(row - row.max()).sum()) - row.max()
            best = np.argsort(-law, kind="stable")[:3]
            assert output.logprobs.chosen[t] == pytest.approx(law[token], abs=1e-5)
            assert output.logprobs.top_ids[t].tolist() == best.tolist()
            assert output.logprobs.top[t] == pytest.approx(law[best], abs=1e-5)
            text.append(int(token))
        assert output.logprobs.top.shape == (12, 3)
