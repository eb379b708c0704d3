"""What encoders can read and hear, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import draftwood as dw

torch = pytest.importorskip("torch")

from support.seq2seq import HEARD, MEL, idle, sources, tiny  # noqa: E402


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ([[], [1]], "the prompt must be at least one token for the encoder, got none"),
        ({"input_features": [[1.0]]}, "the prompt must be a string or ids, got a dict of 'input_features'"),
        ({"input_ids": [1]}, "the prompt must be a string or ids, got a dict of 'input_ids'"),
        ([256], "a prompt id must be below the encoder's vocabulary size 256, got 256"),
        ([1] * 129, "the prompt must be at most 128 tokens, what the encoder can read, got 129"),
        ([-1], "a prompt id must be 0 or more"),
        ([0.5], "prompt ids must be integers"),
        ({"role": "user", "content": "x"}, "put it in a list"),
    ],
)
def test_prompts_that_a_text_encoder_cannot_read(prompt, words):
    with dw.Engine(tiny("bart")) as engine:
        for call in (engine.generate, engine.beam_search, engine.stream if prompt != [[], [1]] else engine.generate):
            with pytest.raises(dw.InvalidArgument, match=words):
                call(prompt)
        with pytest.raises(dw.UnsupportedModel, match="text without a tokenizer"):
            engine.generate("text")
        assert idle(engine)


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ([1, 2], rf"the prompt must be {{\"input_features\": numbers \[{MEL}, {2 * HEARD}\]}}, got a list"),
        ("words", "this model hears"),
        ({}, "got an empty dict"),
        ({"input_feature": 1}, "a dict with 'input_feature'"),
        ({"input_features": np.zeros((MEL, 2 * HEARD)), "attention_mask": 1}, "a dict with 'attention_mask'"),
        ({"input_features": np.zeros((MEL, HEARD))}, rf"shape \[{MEL}, {2 * HEARD}\], got \[{MEL}, {HEARD}\]"),
        ({"input_features": np.zeros((2, MEL, 2 * HEARD))}, "one prompt at a time"),
        ({"input_features": [[1.0], [1.0, 2.0]]}, "input_features must be numbers"),
        ({"input_features": "loud"}, "input_features must be numbers"),
        ({"input_features": np.full((MEL, 2 * HEARD), np.nan)}, "input_features must be finite"),
    ],
)
def test_prompts_that_an_encoder_of_sound_cannot_hear(prompt, words):
    with dw.Engine(tiny("whisper")) as engine:
        for call in (engine.generate, engine.beam_search, engine.stream):
            with pytest.raises(dw.InvalidArgument, match=words):
                call(prompt)
        assert idle(engine)


@pytest.mark.parametrize(
    ("begin", "words"),
    [
        ([], "at least one token"),
        ([300], "0 … 255, got 300"),
        ([[1], [2], [3]], "decoder_prompt must be one, or a list of 2, one per prompt, got 3"),
        ([1] * 128, "shorter than the context of 128 tokens"),
        ({"input_features": 1}, "dict of 'input_features'"),
    ],
)
def test_decoder_prompts_that_are_none(begin, words):
    with dw.Engine(tiny("bart")) as engine:
        for call in (engine.generate, engine.beam_search):
            with pytest.raises(dw.InvalidArgument, match=words):
                call([[5, 6], [7]], decoder_prompt=begin)
        assert idle(engine)


def test_sound_may_come_as_a_tensor_and_as_a_batch():
    model, some = tiny("whisper"), sources("whisper", 2)
    params = dw.SamplingParams(max_new_tokens=6)
    with dw.Engine(model) as engine:
        first, second = engine.generate(some, params)
        tensor = torch.from_numpy(some[1]["input_features"])[None]
        assert engine.generate({"input_features": tensor}, params).token_ids.tolist() == second.token_ids.tolist()
        assert first.token_ids.tolist() != second.token_ids.tolist()
