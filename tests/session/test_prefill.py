"""Progress while prompts are read, and drafters that ask for what an executor does not have."""

from __future__ import annotations

import pytest

import draftwood as dw


def test_one_prompt_in_chunks():
    with dw.testing.toy_engine(max_context=4096) as engine:
        seen = []
        engine.on_prefill(lambda done, total: seen.append((done, total)))
        engine.generate([1, 2, 3] * 400, dw.SamplingParams(max_new_tokens=5))
        assert [total for _, total in seen] == [1200] * len(seen) and len(seen) == 3
        assert [done for done, _ in seen] == [512, 1024, 1200]
        engine.on_prefill(None)
        engine.generate([1, 2, 3] * 400, dw.SamplingParams(max_new_tokens=5))
        assert len(seen) == 3


def test_several_prompts_are_told_together():
    with dw.testing.toy_engine(max_context=4096) as engine:
        seen, steps = [], []
        engine.on_prefill(lambda done, total: seen.append((done, total)))
        engine.on_step(lambda plan, events: steps.append(plan.rows))
        engine.generate([[1] * 700, [2] * 40, [3] * 900], dw.SamplingParams(max_new_tokens=30))
        assert {total for _, total in seen} == {1640} and seen[-1] == (1640, 1640)
        assert [done for done, _ in seen] == sorted({done for done, _ in seen})
        assert len(steps) > len(seen)
        engine.generate([4] * 10, dw.SamplingParams(max_new_tokens=3))
        assert seen[-1] == (10, 10)


def test_what_the_callback_raises_cancels_between_chunks():
    class Enough(Exception):
        pass

    def stop(done, total):
        if done >= 512:
            raise Enough

    with dw.testing.toy_engine(max_context=4096) as engine:
        engine.on_prefill(stop)
        with pytest.raises(Enough):
            engine.generate([1] * 2000, dw.SamplingParams(max_new_tokens=3))
        engine.on_prefill(None)
        assert engine.stats().running == 0 and engine.stats().pages_free == engine.stats().pages_total
        assert len(engine.generate([1] * 600, dw.SamplingParams(max_new_tokens=3)).token_ids) == 3


def test_a_drafter_that_needs_hidden_states_where_there_are_none():
    class Reader:
        needs_hidden = True

        def propose(self, view):
            return None

    words = r"Reader, a drafter that needs hidden states, on .* has none"
    with dw.testing.toy_engine() as toy, pytest.raises(dw.UnsupportedModel, match=words):
        dw.Engine(toy.executor, drafter=Reader())
