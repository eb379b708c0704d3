"""Forwards that fail, callers that give up and logits that are not finite, within searches."""

from __future__ import annotations

import numpy as np
import pytest

import draftwood as dw
from draftwood.models.toy import ToyExecutor
from support.beam_engine import PARAMS, SIZES, engine, slow
from support.beams import assert_close, shape
from support.idle import idle


class Failing(ToyExecutor):
    """Fails at the forwards that are named, or spoils their logits."""

    def __init__(self, raise_at=(), spoil_at=(), **sizes):
        super().__init__(**sizes)
        self.raise_at, self.spoil_at, self.count = raise_at, spoil_at, 0

    def forward(self, plan, hidden=()):
        self.count += 1
        if self.count in self.raise_at:
            raise RuntimeError("the device is gone")
        rows = super().forward(plan, hidden)
        if self.count in self.spoil_at:
            rows.logits[0, 5] = np.nan
        return rows


def test_a_failed_forward_ends_the_call_and_leaks_nothing():
    for step in (1, 2, 5):
        with engine(Failing(raise_at=(step,), max_context=2048, **SIZES)) as e:
            with pytest.raises(RuntimeError, match="the device is gone"):
                e.beam_search([[1, 2], [3]], PARAMS)
            assert idle(e)
            assert_close(shape(e.beam_search([1, 2], PARAMS)), slow([1, 2], PARAMS))


def test_a_failed_forward_of_one_caller_does_not_hurt_the_search_of_another():
    """The step is rolled back for all; who did not lead it tries again."""
    executor = Failing(max_context=2048, **SIZES)
    with engine(executor) as e:
        searches = e._beams.core
        other = e._beams.open([5, 6, 7], PARAMS)
        executor.raise_at = (1, 3)
        for _ in range(2):
            with pytest.raises(RuntimeError):
                e.beam_search([1, 2], PARAMS)
        e.beam_search([1, 2], PARAMS)
        e._beams.advance(other)
        searches.release(other)
        assert_close(shape(other.beams(None)), slow([5, 6, 7], PARAMS))
        assert idle(e)


def test_prompts_whose_first_forward_failed_are_read_again():
    """They need all their rows again, so that no fourth prompt may squeeze in."""
    rng = np.random.default_rng(6)
    some = [rng.integers(0, 48, n).tolist() for n in (200, 250, 200, 30)]
    executor = Failing(raise_at=(1, 2), max_context=2048, **SIZES)
    with engine(executor, drafter=None) as e:
        searches = [e._beams.open(prompt, PARAMS) for prompt in some]
        for _ in range(2):
            with pytest.raises(RuntimeError, match="the device is gone"):
                e._beams.lead(searches[0])
        for prompt, search in zip(some, searches, strict=True):
            e._beams.advance(search)
            assert search.error is None
            assert_close(shape(search.beams(None)), slow(prompt, PARAMS))
            e._beams.core.release(search)
        assert idle(e)


class Interfering:
    """A core session, or an executor, that does something before one of its calls."""

    def __init__(self, inner, name, deed):
        self._inner, self._name, self._deed = inner, name, deed

    def __getattr__(self, name):
        if name == self._name:
            self._deed()
        return getattr(self._inner, name)


@pytest.mark.parametrize("call", ["begin", "plan", "commit_paths"])
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_a_caller_that_gives_up_within_the_step_of_another(call, steps):
    with engine() as e:
        searches = e._beams.core
        other = e._beams.open([5, 6, 7], PARAMS)
        mine = e._beams.open([1, 2], PARAMS)
        for _ in range(steps):
            e._beams.lead(mine)
        inner = searches.core
        searches.core = Interfering(inner, call, lambda: searches.release(other))
        e._beams.lead(mine)
        searches.core = inner
        e._beams.advance(mine)
        searches.release(mine)
        assert_close(shape(mine.beams(None)), slow([1, 2], PARAMS))
        assert idle(e)


def test_logits_that_are_not_finite_end_their_search_only():
    with engine(Failing(spoil_at=(3,), max_context=2048, **SIZES)) as e:
        with pytest.raises(dw.InvalidArgument, match=r"the logits of beam \d must be .*NaN at token 5"):
            e.beam_search([1, 2], PARAMS)
        assert idle(e)
    with engine(Failing(spoil_at=(3,), max_context=2048, **SIZES)) as e:
        both = e.beam_search([[1, 2], [3]], PARAMS)
        (bad,) = [i for i in range(2) if both[i].error is not None]
        assert isinstance(both[bad].error, dw.InvalidArgument)
        assert_close(shape(both[1 - bad]), slow([[1, 2], [3]][1 - bad], PARAMS))
        assert idle(e)
