"""Cross keys of encoder–decoders: made once per request, shared by what it forks, freed however it ends."""

from __future__ import annotations

import pytest

import draftwood as dw

torch = pytest.importorskip("torch")

from support.seq2seq import greedy, idle  # noqa: E402


def test_the_encoder_runs_once_per_prompt_whatever_shares_it(run):
    _, model, some, _ = run
    encoded = []
    hook = model.get_encoder().register_forward_hook(lambda *_: encoded.append(1))
    with dw.Engine(model, drafter=None) as engine:
        held = []
        engine.on_step(lambda plan, events: held.append((len(engine.executor.sources), plan.sequences)))
        engine.beam_search(some[:3], dw.BeamParams(num_beams=8, max_new_tokens=10))
        assert len(encoded) == engine.executor.encoder_runs == 3
        assert max(texts for _, texts in held) == 24 and {sources for sources, _ in held[:-1]} == {3}
        assert idle(engine)
        drawn = engine.generate(some[0], dw.SamplingParams(max_new_tokens=10, temperature=1.0, seed=1, n=4))
        assert len(encoded) == 4 and len({tuple(sample.token_ids) for sample in drawn.samples}) > 1
        assert idle(engine)
    hook.remove()


def test_keys_are_freed_when_requests_end_however_they_do(run):
    _, model, some, _ = run
    with dw.Engine(model) as engine:
        stream = engine.stream(some[0], dw.SamplingParams(max_new_tokens=50))
        next(stream)
        assert len(engine.executor.sources) == 1
        stream.close()
        assert idle(engine)

        def fails(ids, row):
            raise RuntimeError("no")

        class Broken:
            init, fork, advance = staticmethod(len), staticmethod(lambda s: s), staticmethod(lambda s, t: s)
            apply = staticmethod(fails)

        params = dw.SamplingParams(max_new_tokens=9, processors=[Broken()])
        assert isinstance(engine.generate([some[0]], params)[0].error, RuntimeError) and idle(engine)
        beams = dw.BeamParams(max_new_tokens=9, processors=[Broken()])
        assert isinstance(engine.beam_search([some[0]], beams)[0].error, RuntimeError) and idle(engine)
        with pytest.raises(dw.InvalidArgument):
            engine.generate([some[0], []], dw.SamplingParams(max_new_tokens=9))
        with pytest.raises(dw.InvalidArgument):
            engine.beam_search(some[:2], [dw.BeamParams(), dw.BeamParams(num_beams=0)])
        assert idle(engine)


def test_waiting_prompts_hold_no_keys(run):
    """The cache has room for one text at a time."""
    _, model, some, references = run
    pages = 2 * 2 * 64 * 4 * 16 * 3
    with dw.Engine(model, drafter=None, cache=dw.CacheConfig(bytes=pages)) as engine:
        held = []

        def look(plan, events):
            held.append(sum(source.cross is not None for source in engine.executor.sources.values()))

        engine.on_step(look)
        outputs = engine.generate(some[:4], dw.SamplingParams(max_new_tokens=24))
        assert [out.token_ids.tolist() for out in outputs] == [ids for ids, _, _ in references[:4]]
        assert max(held) == 1 and idle(engine)
        params = dw.BeamParams(num_beams=2, max_new_tokens=12)
        assert all(beams.error is None for beams in engine.beam_search(some[:3], params))
        assert max(held) == 1 and idle(engine)


def test_a_step_that_fails_leaves_texts_as_they_were(run):
    _, model, some, references = run
    broken = [True]

    def fail(*_):
        if broken and broken.pop():
            raise RuntimeError("boom")

    hook = model.get_encoder().register_forward_hook(fail)
    with dw.Engine(model) as engine:
        with pytest.raises(RuntimeError, match="boom"):
            engine.generate(some[0], dw.SamplingParams(max_new_tokens=4))
        assert idle(engine)
        output = engine.generate(some[0], dw.SamplingParams(max_new_tokens=4))
        assert output.token_ids.tolist() == references[0][0][:4]
    hook.remove()


def test_several_engines_and_the_owner_share_a_module(run):
    _, model, some, references = run
    with dw.Engine(model) as one, dw.Engine(model) as other:
        streams = [engine.stream(some[0], dw.SamplingParams(max_new_tokens=12)) for engine in (one, other)]
        texts = [[], []]
        for _ in range(12):
            for text, stream in zip(texts, streams, strict=True):
                event = next(stream, None)
                text.extend([] if event is None else event.token_ids.tolist())
            assert greedy(model, some[0], 2)[0] == references[0][0][:2]
    assert texts[0] == texts[1] == references[0][0][: len(texts[0])]
