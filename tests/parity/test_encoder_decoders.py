"""The engine on T5, BART, Marian and Whisper: it says what transformers says, with any drafter and any beams."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import draftwood as dw
from draftwood.scoring import LengthScorer
from support.beams import log_softmax
from support.drafters import all_drafters
from support.hf_greedy import Tally

torch = pytest.importorskip("torch")

from support.hf_tiny import tiny_model  # noqa: E402
from support.seq2seq import FAMILIES, VOCAB, decoder_logits, greedy, idle, sources, tiny  # noqa: E402


def near(model, some, references):
    """The limit of a near-tie: twice the largest difference of log-probabilities on these prompts."""
    largest = 0.0
    with dw.Engine(model, drafter=None) as engine:
        for source, (ids, _, logits) in zip(some, references, strict=True):
            output = engine.generate(source, dw.SamplingParams(max_new_tokens=len(ids), logprobs=VOCAB))
            if output.token_ids.tolist() == ids:
                ours = np.empty_like(logits)
                np.put_along_axis(ours, output.logprobs.top_ids.astype(np.int64), output.logprobs.top, axis=1)
                law = np.stack([log_softmax(row) for row in logits])
                largest = max(largest, float(np.abs(ours - law).max()))
    assert 0 < largest < 1e-3
    return 2 * largest


def test_greedy_with_every_drafter_alone_and_in_ragged_batches(run):
    _, model, some, references = run
    right = [[1, *ids] for ids, _, _ in references]

    def continuation(tokens, n):
        for text in right:
            if list(tokens) == text[: len(tokens)]:
                return text[len(tokens) :][:n]
        return []

    tally, accepted = Tally(near(model, some, references)), {}
    params = dw.SamplingParams(max_new_tokens=24)
    for name, drafter in all_drafters(VOCAB, continuation).items():
        with dw.Engine(model, drafter=drafter, draft_policy="always") as engine:
            batched = engine.generate(some, params)
            alone = [engine.generate(source, params) for source in some[:2]]
            for output, (ids, gaps, _) in zip(batched + alone, references + references[:2], strict=True):
                tally.compare(output.token_ids, ids, gaps, name)
            accepted[name] = sum(output.stats.accepted for output in batched)
            assert idle(engine) and engine.executor.encoder_runs == 10
    tally.check()
    assert min(accepted["right"], accepted["64 chain"]) > 8 * 24 * 0.7
    assert accepted["auto"] > 20 and accepted["64 nodes"] > 20


@pytest.mark.long
@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_on_128_prompts(family):
    torch.set_num_threads(1)
    model, some = tiny(family, seed=3), sources(family, 128, seed=4)
    references = [greedy(model, source, 64) for source in some]
    tally = Tally(near(model, some, references))
    with dw.Engine(model, draft_policy="always") as engine:
        outputs = engine.generate(some, dw.SamplingParams(max_new_tokens=64))
        for output, (ids, gaps, _) in zip(outputs, references, strict=True):
            tally.compare(output.token_ids, ids, gaps)
    tally.check()


def test_seeded_samples_do_not_depend_on_the_drafter_or_the_batch(run):
    _, model, some, _ = run
    each = [dw.SamplingParams(max_new_tokens=16, seed=i, temperature=1.0, top_p=0.9) for i in range(len(some))]
    texts = []
    for drafter in (None, "auto"):
        with dw.Engine(model, drafter=drafter, draft_policy="always") as engine:
            texts.append([out.token_ids.tolist() for out in engine.generate(some, each)])
            texts.append([engine.generate(*pair).token_ids.tolist() for pair in zip(some, each, strict=True)])
    assert texts[0] == texts[1] == texts[2] == texts[3]
    assert len(set(map(tuple, texts[0]))) == len(some)


@pytest.mark.parametrize("family", ["t5", "bart", "marian"])
@pytest.mark.parametrize("make", [dw.drafters.NGram, dw.drafters.Suffix, lambda: "auto"])
def test_drafts_come_from_the_source(family, make):
    """A decoder that does not listen says the same whatever the source is: when the source holds those words, they are
    drafted before the text has said any of them twice."""
    model = tiny(family, seed=2)
    attention = [block.layer[1].EncDecAttention.o for block in model.decoder.block] if family == "t5" else None
    for out in attention or [layer.encoder_attn.out_proj for layer in model.get_decoder().layers]:
        torch.nn.init.zeros_(out.weight)
    # Drawn, because greedy texts of random models repeat themselves at once.
    with dw.Engine(model, drafter=None) as engine:
        params = dw.SamplingParams(max_new_tokens=40, temperature=2.0, seed=1)
        ids = engine.generate([5], params).token_ids.tolist()
    words = ids[: next((i for i in range(1, 40) if ids[i] in ids[:i]), 40)]
    assert len(words) >= 6
    params = dataclasses.replace(params, max_new_tokens=len(words))
    accepted = []
    for source in (words, [9, 9]):
        with dw.Engine(model, drafter=make(), draft_policy="always") as engine:
            output = engine.generate(source, params)
            assert output.token_ids.tolist() == words
            accepted.append(output.stats.accepted)
    assert accepted[0] > len(words) * 0.5 and accepted[1] == 0


def test_drafters_in_python_see_the_source(run):
    family, model, some, references = run
    seen = []

    class Looks:
        def propose(self, view):
            seen.append(view.source_ids if view.source_ids is None else view.source_ids.tolist())

    with dw.Engine(model, drafter=Looks()) as engine:
        output = engine.generate(some[0], dw.SamplingParams(max_new_tokens=3))
    assert output.token_ids.tolist() == references[0][0][:3]
    assert seen and all(one == (None if family == "whisper" else some[0]) for one in seen)
    llama = tiny_model("llama", 32, seed=0, hidden=16, feed_forward=16, heads=2, kv_heads=1)
    with dw.Engine(llama, drafter=Looks()) as engine:
        seen.clear()
        engine.generate([1, 2], dw.SamplingParams(max_new_tokens=3))
    assert seen and set(seen) == {None}


def test_log_probabilities_and_scores(run):
    _, model, some, references = run
    ids = references[0][0][:6]
    rows = decoder_logits(model, some[0], [1, *ids]).numpy()
    law = np.array([log_softmax(row)[token] for row, token in zip(rows, ids, strict=False)])
    with dw.Engine(model) as engine:
        output = engine.generate(some[0], dw.SamplingParams(max_new_tokens=6, logprobs=2))
        assert np.abs(output.logprobs.chosen - law).max() < 1e-4
        assert np.abs(engine.score(some[0], ids) - law).max() < 1e-4
        pair = engine.score(some[:2], [ids, [3]])
        assert np.abs(pair[0] - law).max() < 1e-4 and pair[1].shape == (1,)
        assert engine.embed(some[0]).shape == (64,)
        assert idle(engine)
        with pytest.raises(dw.InvalidArgument, match="continuation must be at most"):
            engine.score(some[0], [1] * engine.max_context)
        with pytest.raises(dw.InvalidArgument, match="continuation must be at least one token"):
            engine.score(some[0], [])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_and_its_module_say_the_same(family, tmp_path):
    model = tiny(family, own_head=False)
    model.save_pretrained(tmp_path)
    some = sources(family, 2)
    params = dw.SamplingParams(max_new_tokens=12)
    with dw.Engine(model) as memory, dw.Engine.load(str(tmp_path)) as disk:
        for source in some:
            pair = [engine.generate(source, params).token_ids.tolist() for engine in (memory, disk)]
            assert pair[0] == pair[1]


def test_two_vocabularies():
    """Ids that mean something else to the decoder are not shown to drafters."""
    model = tiny("marian", config={"share_encoder_decoder_embeddings": False, "decoder_vocab_size": 100})
    some, seen = sources("marian", 3), []

    class Looks:
        def propose(self, view):
            seen.append(view.source_ids)

    for drafter in ("auto", Looks()):
        with dw.Engine(model, drafter=drafter, draft_policy="always") as engine:
            assert engine.executor.caps.vocab_size == 100
            outputs = engine.generate(some, dw.SamplingParams(max_new_tokens=12))
            for source, output in zip(some, outputs, strict=True):
                assert output.token_ids.tolist() == greedy(model, source, 12)[0]
            with pytest.raises(dw.InvalidArgument, match="0 … 99, got 100"):
                engine.generate(some[0], decoder_prompt=[100])
    assert seen and set(seen) == {None}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(run, dtype):
    family, model, some, _ = run
    half = tiny(family).to(getattr(torch, dtype))
    with dw.Engine(half) as engine:
        output = engine.generate(some[0], dw.SamplingParams(max_new_tokens=4, logprobs=0))
    rows = decoder_logits(model, some[0], [1, *output.token_ids.tolist()]).numpy()
    law = [log_softmax(row)[token] for row, token in zip(rows, output.token_ids, strict=False)]
    assert np.abs(output.logprobs.chosen - np.array(law)).max() < 0.5


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_every_kind_of_search_runs(family):
    """Those that transformers' core has left are judged without an encoder; here they must reach one."""
    model, some = tiny(family), sources(family, 2)
    base = dw.BeamParams(num_beams=4, num_return=4, max_new_tokens=8, eos_token_id=[9, 30, 77])
    variants = {
        "groups": {"num_beam_groups": 2, "diversity_penalty": 3.0},
        "sampled": {"do_sample": True, "seed": 1, "top_k": 50},
        "drawn": {"stochastic": "sequences", "seed": 2},
        "scored": {"scorer": LengthScorer(3, 6)},
        "phrases": {"processors": [dw.search.Phrases([[50, 51]])]},
        "trie": {"processors": [dw.search.Trie([[3, 4, 9], [3, 5, 9], [8, 9]])]},
        "kept": {"keep_candidates": True},
    }
    with dw.Engine(model, drafter=None) as engine:
        plain = [tuple(h.token_ids.tolist()) for h in engine.beam_search(some[0], base)]
        for name, fields in variants.items():
            for beams in engine.beam_search(some, dataclasses.replace(base, **fields)):
                assert len(beams) and beams.error is None, name
            found = engine.beam_search(some[0], dataclasses.replace(base, **fields))
            for h in found:
                rows = decoder_logits(model, some[0], [1, *h.token_ids.tolist()]).numpy()
                law = sum(float(log_softmax(row)[t]) for row, t in zip(rows, h.token_ids, strict=False))
                assert abs(law - float(h.step_scores.sum())) < 1e-3, name
            assert idle(engine)
        assert plain
