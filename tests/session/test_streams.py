"""Streams: read one by one, nested, from threads and asyncio; left early they give everything back."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

import draftwood as dw
from support.toy import Oracle, prompts

VOCAB = 64
TOY = {"vocab_size": VOCAB, "context_weight": 0.3}
ORACLE = Oracle(**TOY)
PARAMS = dw.SamplingParams(max_new_tokens=30)


@pytest.fixture
def model():
    with dw.testing.toy_engine(**TOY) as engine:
        yield engine
        gc.collect()
        stats = engine.stats()
        assert (stats.running, stats.waiting) == (0, 0)
        assert stats.pages_free == stats.pages_total


def tokens_of(events):
    return [int(token) for event in events for token in event.token_ids]


def test_a_stream_gives_the_same_tokens_as_generate(model):
    prompt = prompts(1, VOCAB, seed=1)[0]
    stream = model.stream(prompt, PARAMS)
    events = list(stream)
    assert tokens_of(events) == ORACLE.greedy(prompt, 30)
    assert [event.finish_reason for event in events] == [None] * (len(events) - 1) + ["length"]
    assert stream.output.token_ids.tolist() == tokens_of(events)
    assert list(stream) == []


def test_streams_may_be_read_inside_each_others_loops(model):
    first, second = prompts(2, VOCAB, seed=2)
    outer, inner = [], []
    for event in model.stream(first, PARAMS):
        outer.append(event)
        if len(outer) == 3:
            inner = list(model.stream(second, PARAMS))
            assert len(model.generate(second, PARAMS).token_ids) == 30
    assert tokens_of(outer) == ORACLE.greedy(first, 30)
    assert tokens_of(inner) == ORACLE.greedy(second, 30)


@pytest.mark.parametrize("leave", ["close", "with", "drop", "break", "unread"])
def test_leaving_early_frees_at_once(model, leave):
    stream = model.stream(prompts(1, VOCAB, seed=3)[0], dw.SamplingParams(max_new_tokens=500))
    if leave != "unread":
        next(stream)
        assert model.stats().running == 1
    if leave == "close":
        stream.close()
        assert [event.finish_reason for event in stream][-1] == "cancelled"
    elif leave == "with":
        with stream:
            pass
    elif leave == "break":
        for _ in stream:
            break
    del stream
    gc.collect()
    stats = model.stats()
    assert (stats.running, stats.waiting) == (0, 0)
    assert stats.pages_free == stats.pages_total


def test_a_stream_that_nobody_reads_stops_and_goes_on_when_read(model):
    prompt, other = prompts(2, VOCAB, seed=4)
    slow = model.stream(prompt, dw.SamplingParams(max_new_tokens=300))
    got = [next(slow)]
    model.generate(other, dw.SamplingParams(max_new_tokens=300))
    assert slow._ticket.unread == 64
    steps = model.stats().steps
    model.generate(other, dw.SamplingParams(max_new_tokens=3))
    assert model.stats().steps > steps
    assert slow._ticket.unread == 64
    got.extend(slow)
    assert tokens_of(got) == ORACLE.greedy(prompt, 300)


def test_a_request_that_waits_for_an_unread_stream_is_told(monkeypatch):
    monkeypatch.setattr("draftwood.running._ADMISSION_SECONDS", 0.1)
    with dw.testing.toy_engine(**TOY, cache=dw.CacheConfig(bytes=8 * 16 * 30)) as model:
        slow = model.stream([1, 2], dw.SamplingParams(max_new_tokens=400))
        next(slow)
        with pytest.raises(dw.OutOfPages, match="read or close the streams"):
            model.generate([1], dw.SamplingParams(max_new_tokens=200))
        slow.close()
        assert len(model.generate([1], dw.SamplingParams(max_new_tokens=200)).token_ids) == 200


def test_threads_share_one_engine(model):
    some = prompts(16, VOCAB, seed=5)
    results = {}

    def work(i):
        if i % 2:
            results[i] = model.generate(some[i], PARAMS).token_ids.tolist()
        else:
            results[i] = tokens_of(model.stream(some[i], PARAMS))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == {i: ORACLE.greedy(some[i], 30) for i in range(16)}


def test_asyncio_streams_run_together_and_leave_no_thread(model):
    some = prompts(8, VOCAB, seed=6)

    # Longer than the 64 events after which an unread stream waits, so that it cannot end before it is closed.
    long = dw.SamplingParams(max_new_tokens=2000)

    async def read(prompt, stop_after=None):
        got = []
        stream = model.astream(prompt, long if stop_after else PARAMS)
        async for event in stream:
            got.append(event)
            if len(got) == stop_after:
                await stream.aclose()
        return got

    async def main():
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                await asyncio.sleep(0.001)
                ticks += 1

        ticker = asyncio.create_task(tick())
        results = await asyncio.gather(*(read(p) for p in some), read(some[0], stop_after=2))
        ticker.cancel()
        return results, ticks

    results, ticks = asyncio.run(main())
    for prompt, events in zip(some, results[:8], strict=True):
        assert tokens_of(events) == ORACLE.greedy(prompt, 30)
    assert results[8][-1].finish_reason == "cancelled"
    assert ticks > 0
    for thread in threading.enumerate():
        if thread.name == "draftwood-astream":
            thread.join(5)
            assert not thread.is_alive()


def test_an_error_of_the_executor_reaches_the_asynchronous_reader(model):
    class Broken(RuntimeError):
        pass

    forward, calls = model.executor.forward, []

    def breaking(plan, hidden=()):
        calls.append(plan)
        if len(calls) == 4:
            raise Broken
        return forward(plan, hidden)

    async def main():
        model.executor.forward = breaking
        stream = model.astream([1, 2], dw.SamplingParams(max_new_tokens=200))
        await stream.__anext__()
        with pytest.raises(Broken):
            async for _ in stream:
                pass
        del model.executor.forward

    asyncio.run(main())
    assert model.generate([1, 2], PARAMS).token_ids.tolist() == ORACLE.greedy([1, 2], 30)


def test_on_step_sees_the_plan_and_what_it_raises_loses_nothing(model):
    rows = []
    model.on_step(lambda plan, events: rows.append((plan.rows, len(events))))
    model.generate([1, 2, 3], PARAMS)
    assert rows[0][0] >= 3

    def broken(plan, events):
        raise KeyError("mine")

    stream = model.stream([1, 2, 3], PARAMS)
    model.on_step(broken)
    with pytest.raises(KeyError):
        next(stream)
    model.on_step(None)
    assert tokens_of(stream) == ORACLE.greedy([1, 2, 3], 30)
