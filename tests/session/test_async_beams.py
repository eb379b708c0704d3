"""Beam search for asyncio: the same hypotheses; one that is cancelled or interrupted leaves nothing behind."""

from __future__ import annotations

import asyncio
import dataclasses
import threading

import numpy as np
import pytest

import draftwood as dw
from support.beam_engine import PARAMS, engine
from support.beams import shape
from support.idle import idle
from support.toy import prompts


def test_searches_at_a_time_equal_those_alone():
    some = prompts(6, 48, seed=3)

    async def together(e):
        searches = [e.abeam_search(prompt, PARAMS) for prompt in some]
        batch = e.abeam_search(some, PARAMS)
        return await asyncio.gather(*searches, batch)

    with engine() as e:
        want = [shape(found) for found in e.beam_search(some, PARAMS)]
        *alone, batch = asyncio.run(together(e))
        assert [shape(found) for found in alone] == want
        assert [shape(found) for found in batch] == want
        assert idle(e)


class Waits:
    """A rule that allows everything, and stops a search until it is let go."""

    def __init__(self):
        self.reached, self.goes_on, self.steps = threading.Event(), threading.Event(), 0

    def init(self, ids):
        return None

    def fork(self, state):
        return state

    def advance(self, state, token):
        return state

    def mask(self, state):
        self.steps += 1
        self.reached.set()
        assert self.goes_on.wait(30)
        return np.ones(48, bool)


def test_a_cancelled_search_ends_after_its_step_and_gives_its_pages_back():
    rule = Waits()
    params = dataclasses.replace(PARAMS, processors=[rule], max_new_tokens=20, eos_token_id=None, ignore_eos=True)

    async def cancel(e):
        task = asyncio.ensure_future(e.abeam_search([1, 2, 3], params))
        while not rule.reached.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.sleep(0)
        rule.goes_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    with engine() as e:
        asyncio.run(cancel(e))
        assert rule.steps <= 2 * params.num_beams
        assert idle(e)
        assert len(e.beam_search([1, 2, 3], PARAMS)) == PARAMS.num_return


def test_errors_come_out_of_await():
    async def search(e):
        await e.abeam_search([1, 2], dw.BeamParams(num_beams=0))

    with engine() as e, pytest.raises(dw.InvalidArgument, match="num_beams"):
        asyncio.run(search(e))


def test_an_interrupted_search_leaves_nothing_behind():
    class Interrupts(Waits):
        def mask(self, state):
            self.steps += 1
            if self.steps > 6:
                raise KeyboardInterrupt
            return np.ones(48, bool)

    with engine() as e:
        want = shape(e.beam_search([1, 2, 3], PARAMS))
        params = dataclasses.replace(
            PARAMS, processors=[Interrupts()], max_new_tokens=20, eos_token_id=None, ignore_eos=True
        )
        with pytest.raises(KeyboardInterrupt):
            e.beam_search([1, 2, 3], params)
        assert idle(e)
        assert shape(e.beam_search([1, 2, 3], PARAMS)) == want


def test_a_rule_that_allows_nothing_at_the_first_step_ends_a_search_of_the_engine():
    class Nothing(Waits):
        def mask(self, state):
            return np.zeros(48, bool)

    with engine() as e:
        found = e.beam_search([[1, 2, 3], [4]], dataclasses.replace(PARAMS, processors=[Nothing()]))
        for beams in found:
            assert [(h.finish_reason, len(h.token_ids)) for h in beams] == [("constraint", 0)]
        assert idle(e)
