"""Beam searches that are refused: parameters, prompts, engines that are closed or too small."""

from __future__ import annotations

import dataclasses

import pytest

import draftwood as dw
from support.beam_engine import PARAMS, engine
from support.idle import idle


def test_a_closed_engine_says_so():
    e = engine()
    e.beam_search([1], PARAMS)
    e.close()
    with pytest.raises(dw.InvalidArgument, match="an engine must be open"):
        e.beam_search([1], PARAMS)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"num_beams": 0}, "num_beams must be 1 … 4096, got 0"),
        ({"num_beams": -1}, "num_beams must be 0 … 2147483647, got -1"),
        ({"num_beams": 2.0}, "num_beams must be an integer, got 2.0"),
        ({"num_beams": 33}, "num_beams must be at most 32, the texts that a step of this engine holds, got 33"),
        ({"num_return": 5}, "num_return must be 1 … num_beams = 4, got 5"),
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1, got 0"),
        ({"min_new_tokens": 11}, "min_new_tokens must be at most max_new_tokens = 10, got 11"),
        ({"length_penalty": float("nan")}, "length_penalty must be finite, got NaN"),
        ({"length_penalty": "1"}, "length_penalty must be a number, got '1'"),
        ({"early_stopping": "soon"}, "early_stopping must be True, False or \"never\", got 'soon'"),
        ({"temperature": 0.5}, "temperature must be 1.0 without do_sample, got 0.5"),
        ({"top_k": 5}, "top_k must be 0 without do_sample, got 5"),
        ({"do_sample": True, "temperature": 0.0}, "temperature must be above 0 with do_sample, got 0"),
        ({"do_sample": True, "top_p": 0.0}, "top_p must be above 0 and at most 1, got 0"),
        ({"repetition_penalty": 0.0}, "repetition_penalty must be positive and finite, got 0"),
        ({"no_repeat_ngram_size": -1}, "no_repeat_ngram_size must be 0 … 2147483647, got -1"),
        ({"eos_token_id": 48}, "eos_token_id must be below the vocabulary size 48, got 48"),
        ({"eos_token_id": "x"}, "eos_token_id must be an integer, got 'x'"),
        ({"bos_token_id": 1}, "bos_token_id must be None: an engine has a prompt, got 1"),
        (
            {"processors": [3]},
            "a processor must be an object with init, or a logits processor of",
        ),
    ],
)
def test_bad_parameters(fields, words):
    with engine() as e:
        with pytest.raises(dw.InvalidArgument) as raised:
            e.beam_search([1, 2], dataclasses.replace(PARAMS, **{"num_return": 1} | fields))
        assert str(raised.value).startswith(words)
        assert idle(e)


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ([], "prompt must be at least one token"),
        ([48], "prompt token 0 must be 0 … 47, got 48"),
        ([1] * 2048, "prompt must be shorter than the context"),
        ([[1, 2], [99]], "prompt token 0 must be 0 … 47, got 99"),
        ("text", "text without a tokenizer is not supported"),
    ],
)
def test_bad_prompts(prompt, words):
    with engine() as e:
        with pytest.raises(dw.DraftwoodError, match=words):
            e.beam_search(prompt, PARAMS)
        assert idle(e)
        with pytest.raises(dw.InvalidArgument, match="params must be a BeamParams or a list of 1"):
            e.beam_search([1], [dw.SamplingParams()])


def test_a_search_that_can_never_fit_is_refused():
    with engine(cache=dw.CacheConfig(bytes=8 * 16 * 8)) as e:
        with pytest.raises(dw.OutOfPages, match="cache pages must cover the request"):
            e.beam_search([1, 2], dataclasses.replace(PARAMS, num_beams=16, max_new_tokens=100))
        assert len(e.beam_search([1, 2], dataclasses.replace(PARAMS, num_beams=2, num_return=2))) == 2
        assert idle(e)
