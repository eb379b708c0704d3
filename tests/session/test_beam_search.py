"""The engine's beam search on the toy executor, where a wrong slot, fork or mask changes the text."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest

import draftwood as dw
from draftwood.models.toy import ToyExecutor
from support.beam_engine import ORACLE, PARAMS, SIZES, draw, engine, slow
from support.beams import assert_close, shape
from support.idle import idle
from support.toy import prompts


@pytest.mark.parametrize("page_size", [1, 4, 16])
def test_ragged_batches_equal_a_slow_search(page_size):
    rng = np.random.default_rng(page_size)
    reasons = []
    with engine(cache=dw.CacheConfig(page_size=page_size)) as e:
        for _ in range(60):
            some = prompts(int(rng.integers(1, 6)), 48, seed=int(rng.integers(1 << 30)))
            each = [draw(rng) for _ in some]
            for prompt, params, ours in zip(some, each, e.beam_search(some, each), strict=True):
                assert_close(shape(ours), slow(prompt, params))
                assert ours.error is None
                assert ours.stats.prompt_tokens == len(prompt)
                reasons += [h.finish_reason for h in ours]
                for h in ours:
                    assert h.stop_reason == (h.token_ids[-1] if h.finish_reason == "stop" else None)
                    length = len(h.token_ids) ** params.length_penalty
                    assert abs(h.score - h.step_scores.sum() / length) < 1e-4
            assert idle(e)
    assert min(reasons.count("stop"), reasons.count("length")) > 0.2 * len(reasons)


def test_a_batch_equals_its_prompts_alone_bit_for_bit():
    some = prompts(5, 48, seed=8)
    with engine() as e:
        for prompt, together in zip(some, e.beam_search(some, PARAMS), strict=True):
            alone = e.beam_search(prompt, PARAMS)
            assert shape(alone) == shape(together)
            assert all(np.array_equal(a.step_scores, b.step_scores) for a, b in zip(alone, together, strict=True))


def test_one_beam_that_stops_early_is_greedy():
    params = dataclasses.replace(PARAMS, num_beams=1, num_return=1, early_stopping=True, max_new_tokens=20)
    with engine(drafter=None) as e:
        for prompt in prompts(8, 48, seed=2):
            assert e.beam_search(prompt, params)[0].token_ids.tolist() == ORACLE.greedy(prompt, 20, ends=(3, 17, 40))


def test_end_tokens_come_from_the_engine_or_from_the_parameters():
    some = prompts(4, 48, seed=5)
    with engine() as e:
        for eos, ignore, ends in [(None, False, [3]), (7, False, [7]), (None, True, []), ([7], True, [])]:
            params = dataclasses.replace(PARAMS, eos_token_id=eos, ignore_eos=ignore)
            for prompt, ours in zip(some, e.beam_search(some, params), strict=True):
                assert_close(shape(ours), slow(prompt, params, ends))


def test_long_prompts_are_fed_in_chunks_beside_beams_that_run():
    rng = np.random.default_rng(0)
    some = [rng.integers(0, 48, n).tolist() for n in (3, 1500, 40, 700, 300, 5)]
    with engine() as e:
        found = e.beam_search(some, PARAMS)
        for prompt, ours in zip(some, found, strict=True):
            assert_close(shape(ours), slow(prompt, PARAMS))
        assert found[0].stats.prefill_steps == 0
        assert found[1].stats.prefill_steps >= 2
        assert idle(e)


def test_the_prompt_is_read_once_and_beams_share_its_pages():
    class Counting(ToyExecutor):
        rows = 0

        def forward(self, plan, hidden=()):
            self.rows += plan.rows
            return super().forward(plan, hidden)

    executor = Counting(max_context=2048, **SIZES)
    prompt = np.random.default_rng(1).integers(0, 48, 1024).tolist()
    params = dataclasses.replace(PARAMS, num_beams=8, num_return=8, eos_token_id=[])
    used = []
    with engine(executor, drafter=None) as e:
        total, copied = e.stats().pages_total, [0]
        e.on_step(lambda *_: (used.append(total - e.stats().pages_free), copied.append(e.stats().rows_copied_on_write)))
        beams = e.beam_search(prompt, params)
        assert executor.rows == len(prompt) + 8 * (beams.stats.steps - 1)
        # A step copies at most one page per beam but one, and nothing while the last page is full.
        assert all(0 <= b - a <= 7 * 15 for a, b in pairwise(copied))
        assert copied[-1] > 0
        one = len(prompt) // 16
        assert max(used) <= 1.2 * one
        assert e.stats().rows_forked == 0
        assert idle(e)


def test_the_context_ends_texts():
    executor = ToyExecutor(max_context=16, **SIZES)
    params = dataclasses.replace(PARAMS, eos_token_id=[], max_new_tokens=50)
    with engine(executor) as e:
        beams = e.beam_search(list(range(10)), params)
        assert {len(h.token_ids) for h in beams} == {6}
        assert_close(shape(beams), slow(list(range(10)), dataclasses.replace(params, max_new_tokens=6)))


def test_sampled_beams_are_named_by_their_seed():
    params = dataclasses.replace(PARAMS, do_sample=True, temperature=1.5, top_k=20, seed=4)
    some = prompts(3, 48, seed=3)
    with engine() as e, engine(drafter=None, cache=dw.CacheConfig(page_size=4)) as other:
        first = e.beam_search(some, params)
        for prompt, ours in zip(some, first, strict=True):
            assert shape(other.beam_search(prompt, params)) == shape(ours)
            assert ours.stats.seed == 4
            assert shape(e.beam_search(prompt, dataclasses.replace(params, seed=5))) != shape(ours)
        again = e.beam_search(some[0], dataclasses.replace(params, seed=None))
        assert shape(e.beam_search(some[0], dataclasses.replace(params, seed=again.stats.seed))) == shape(again)
