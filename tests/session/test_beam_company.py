"""Searches beside other searches and texts: threads, few pages, streams that are read between them."""

from __future__ import annotations

import threading

import numpy as np

import draftwood as dw
from support.beam_engine import ORACLE, PARAMS, engine, slow
from support.beams import assert_close, shape
from support.idle import idle
from support.toy import prompts


def test_searches_leave_other_texts_alone():
    """A stream that is read between searches, a batch in another thread, a second search in a third."""
    some = prompts(6, 48, seed=12)
    sampling = dw.SamplingParams(max_new_tokens=30, ignore_eos=True)
    with engine() as e:
        stream = e.stream(some[0], sampling)
        pieces = [next(stream)]
        results = {}

        def work(name, call, *args):
            results[name] = call(*args)

        threads = [
            threading.Thread(target=work, args=("texts", e.generate, some[1:3], sampling)),
            threading.Thread(target=work, args=("beams", e.beam_search, some[3:5], PARAMS)),
        ]
        for thread in threads:
            thread.start()
        mine = e.beam_search(some[5], PARAMS)
        pieces.append(next(stream))
        for thread in threads:
            thread.join(60)
        pieces += list(stream)
        assert_close(shape(mine), slow(some[5], PARAMS))
        for prompt, ours in zip(some[3:5], results["beams"], strict=True):
            assert_close(shape(ours), slow(prompt, PARAMS))
        for prompt, text in zip(some[1:3], results["texts"], strict=True):
            assert text.token_ids.tolist() == ORACLE.greedy(prompt, 30)
        assert [t for piece in pieces for t in piece.token_ids.tolist()] == ORACLE.greedy(some[0], 30)
        assert idle(e)


def test_many_threads_with_few_pages():
    """Searches and texts wait for each other's pages; every answer is right and nothing is lost."""
    some = prompts(12, 48, seed=13, longest=20)
    results = {}
    with engine(cache=dw.CacheConfig(bytes=8 * 16 * 40)) as e:

        def work(i):
            if i % 2:
                results[i] = shape(e.beam_search(some[i], PARAMS))
            else:
                results[i] = e.generate(some[i], dw.SamplingParams(max_new_tokens=20, ignore_eos=True))

        threads = [threading.Thread(target=work, args=(i,)) for i in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert len(results) == 12
        for i, prompt in enumerate(some):
            if i % 2:
                assert_close(results[i], slow(prompt, PARAMS))
            else:
                assert results[i].token_ids.tolist() == ORACLE.greedy(prompt, 20)
        assert idle(e)


def test_searches_of_one_call_wait_for_pages():
    """What does not fit beside another is taken back from the session and sent again later."""
    some = prompts(3, 48, seed=14, longest=20)
    with engine(cache=dw.CacheConfig(bytes=8 * 16 * 24)) as e:
        for prompt, ours in zip(some, e.beam_search(some, PARAMS), strict=True):
            assert_close(shape(ours), slow(prompt, PARAMS))
        assert e.stats().steps > 15, "together they would need ten"
        assert idle(e)


def test_a_text_that_is_admitted_by_a_step_of_searches_is_not_taken_for_a_beam():
    prompt = np.random.default_rng(3).integers(0, 48, 1200).tolist()
    with engine() as e:
        searches = e._beams.core
        search = e._beams.open(prompt, PARAMS)
        e._beams.lead(search)
        assert search.live is None, "the first chunk of three"
        stream = e.stream([1, 2, 3], dw.SamplingParams(max_new_tokens=12, ignore_eos=True))
        e._beams.advance(search)
        searches.release(search)
        assert_close(shape(search.beams(None)), slow(prompt, PARAMS))
        assert [t for piece in stream for t in piece.token_ids.tolist()] == ORACLE.greedy([1, 2, 3], 12)
        assert idle(e)
