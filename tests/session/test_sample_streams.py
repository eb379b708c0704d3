"""Streams of several samples: whose an event is, and samples that are cancelled alone."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

import draftwood as dw
from draftwood.loading import Parts
from draftwood.models.toy import ToyExecutor
from support.samples import PARAMS, TOY, VOCAB, engine, texts_of

pytestmark = pytest.mark.usefixtures("leaks")


def test_events_carry_their_sample():
    with engine("auto") as model:
        whole = model.generate([5, 6], dw.SamplingParams(**PARAMS, n=4))
        stream = model.stream([5, 6], dw.SamplingParams(**PARAMS, n=4, best_of=4))
        got = {i: [] for i in range(4)}
        ended = []
        for event in stream:
            assert event.sample not in ended
            got[event.sample].extend(event.token_ids.tolist())
            ended += [event.sample] if event.finish_reason else []
        assert sorted(ended) == [0, 1, 2, 3]
        assert [got[i] for i in range(4)] == texts_of(whole)
        assert sorted(sample.sample for sample in stream.output.samples) == [0, 1, 2, 3]

        async def read():
            return [event async for event in model.astream([5, 6], dw.SamplingParams(**PARAMS, n=4))]

        events = asyncio.run(read())
        assert [t for e in events if e.sample == 2 for t in e.token_ids.tolist()] == got[2]


@pytest.mark.parametrize("when", [0, 1, 6, 30])
@pytest.mark.parametrize("sample", [0, 2])
def test_a_cancelled_sample_leaves_the_others(when, sample):
    with engine("auto") as model:
        whole = texts_of(model.generate([5, 6], dw.SamplingParams(**PARAMS, n=4)))
        stream = model.stream([5, 6], dw.SamplingParams(**PARAMS, n=4))
        for _ in range(when):
            next(stream)
        stream.cancel(sample)
        stream.cancel(sample)
        list(stream)
        for i, one in enumerate(stream.output.samples):
            assert one.finish_reason == ("cancelled" if i == sample else "length")
            tokens = one.token_ids.tolist()
            assert tokens == (whole[i] if i != sample else whole[i][: len(tokens)])
        assert len(stream.output.samples[sample].token_ids) < 20
        with pytest.raises(dw.InvalidArgument, match=r"sample must be 0 … 3, got 4"):
            stream.cancel(4)


def test_all_samples_cancelled_one_by_one_before_and_while_the_prompt_is_read():
    prompt = np.random.default_rng(1).integers(0, VOCAB, 1700).tolist()
    with engine() as model:
        for steps in (0, 1, 2):
            stream = model.stream(prompt, dw.SamplingParams(**PARAMS, n=3))
            for _ in range(steps):
                model._lead(stream._ticket)
            for sample in (1, 0, 2):
                assert not stream._ticket.done
                stream.cancel(sample)
            assert stream._ticket.done
            assert [sample.finish_reason for sample in stream.output.samples] == ["cancelled"] * 3
            assert model.stats().running == 0


def test_a_sample_may_be_cancelled_within_the_forward_that_parts_it():
    class Cancelling(ToyExecutor):
        def forward(self, plan, hidden=()):
            for sample in cancels:
                model._session.core.cancel(ticket.request, sample)
            cancels.clear()
            return super().forward(plan, hidden)

    with dw.Engine(Parts(Cancelling(**TOY), "toy"), drafter=None) as model:
        cancels = []
        whole = texts_of(model.generate([5, 6], dw.SamplingParams(**PARAMS, n=4)))
        for cancels in ([1], [0], [0, 3], [0, 1, 2, 3]):
            gone = list(cancels)
            stream = model.stream([5, 6], dw.SamplingParams(**PARAMS, n=4))
            ticket = stream._ticket
            list(stream)
            for i, sample in enumerate(stream.output.samples):
                assert sample.token_ids.tolist() == ([] if i in gone else whole[i])
                assert sample.finish_reason == ("cancelled" if i in gone else "length")


def test_a_stream_cannot_know_the_best_samples():
    with engine() as model, pytest.raises(dw.InvalidArgument, match="best_of must be None or n = 2 in a stream, got 3"):
        model.stream([1], dw.SamplingParams(**PARAMS, n=2, best_of=3))
