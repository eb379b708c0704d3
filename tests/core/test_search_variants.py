"""Groups, exact search and what a search keeps, against slow searches and brute force, on vocabularies of up to 8."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import draftwood as dw
from draftwood.scoring import LengthScorer
from support.variants import (
    CASES,
    START,
    SlowPhrases,
    SlowTrie,
    complete_texts,
    draw,
    plain,
    random_model,
    same,
    search,
    stepper,
    texts,
)

SCORER = LengthScorer(1, 2)


@pytest.mark.parametrize(("start", "count"), CASES)
def test_groups_equal_a_slow_search(start, count):
    judged, stopped, different = 0, 0, 0
    for seed in range(start, start + count):
        rng = np.random.default_rng(seed)
        vocab = int(rng.integers(3, 9))
        kind = ["hamming", "cumulative", "ngram", "embedding"][seed % 4]
        params = dataclasses.replace(
            draw(rng, vocab, groups=int(rng.integers(2, 4))),
            diversity=kind,
            diversity_penalty=float(rng.choice([0.0, 0.5, 2.0])),
            diversity_embedding=rng.standard_normal((vocab, 3)).astype(np.float32) if kind == "embedding" else None,
        )
        row = random_model(rng, vocab)
        found = dw.search.beam(stepper(row), START, params)
        judged += same(found, *search(row, params, params.eos_token_id, vocab))
        stopped += sum(h.finish_reason == "stop" for h in found) / len(found)
        groups = [[t for t, h in zip(texts(found), found, strict=True) if h.group == g] for g in (0, 1)]
        different += params.diversity_penalty > 0 and groups[0] != groups[1]
    # A penalty of 0 makes groups equal, and equal groups never tie within one.
    assert judged > 0.9 * count
    assert stopped > 0.3 * count
    assert different > 0.2 * count


def test_laws_of_groups():
    rng = np.random.default_rng(0)
    for _ in range(20):
        row = random_model(rng, 8)
        base = draw(rng, 8, width=2)
        solo = plain(row, dataclasses.replace(base, num_return=2))
        params = dataclasses.replace(base, num_beams=6, num_beam_groups=3, num_return=6, diversity_penalty=0.7)
        found = dw.search.beam(stepper(row), START, params)
        first = [h for h in found if h.group == 0]
        assert texts(first) == texts(solo)
        assert [h.score for h in first] == [h.raw_score for h in first] == [h.score for h in solo]
        equal = dw.search.beam(stepper(row), START, dataclasses.replace(params, diversity_penalty=0.0))
        assert texts(equal) == texts(solo) * 3
        apart = dataclasses.replace(
            params, num_beams=4, num_beam_groups=4, num_return=4, diversity_penalty=1e4, ignore_eos=True
        )
        for column in zip(*texts(dw.search.beam(stepper(row), START, apart)), strict=True):
            assert len(set(column)) == 4


@pytest.mark.parametrize(("start", "count"), CASES)
def test_exact_search_equals_brute_force(start, count):
    saved = 0
    for seed in range(start, start + count):
        rng = np.random.default_rng(seed)
        vocab = int(rng.integers(2, 6))
        params = dataclasses.replace(draw(rng, vocab), length_penalty=float(rng.choice([0.0, 1.0, 2.0, -0.5])))
        row = random_model(rng, vocab)
        slow, rules = None, []
        if seed % 3 == 1:
            entries = [[rng.integers(0, vocab, 2).tolist()]]
            slow, rules = SlowPhrases(entries, False), [dw.search.Phrases(entries)]
        elif seed % 3 == 2:
            sequences = [rng.integers(0, vocab, rng.integers(1, 4)).tolist() for _ in range(5)]
            slow, rules = SlowTrie(sequences), [dw.search.Trie(sequences)]
        whole = complete_texts(row, params.eos_token_id, vocab, params.max_new_tokens, slow, params.min_new_tokens)
        whole = sorted((log_p / len(text) ** params.length_penalty for text, log_p in whole), reverse=True)
        found = dw.search.exact(stepper(row), START, dataclasses.replace(params, processors=rules))
        assert np.allclose([h.score for h in found], whole[: params.num_return], atol=1e-5)
        saved += found.stats.steps < sum(vocab**i for i in range(params.max_new_tokens))
        for h in found:
            length = len(h.token_ids) ** params.length_penalty
            assert abs(h.step_scores.sum() / length - h.score) < 1e-4
    assert saved > 0.8 * count


def test_exact_search_refuses_what_it_cannot_do():
    row = random_model(np.random.default_rng(0), 5)
    params = dw.BeamParams(max_new_tokens=6, bos_token_id=0)
    for fields, words in [
        ({"do_sample": True}, "do_sample must be left out of an exact search"),
        ({"no_repeat_ngram_size": 2}, "no_repeat_ngram_size must be left out of an exact search"),
        ({"repetition_penalty": 1.2}, "repetition_penalty must be left out of an exact search"),
        ({"num_beam_groups": 2}, "num_beam_groups must be left out of an exact search"),
        ({"stop": ["a"]}, "stop must be left out of an exact search"),
        ({"bos_token_id": None}, "bos_token_id must be the id of the first token"),
        ({"num_return": 0}, "num_return must be at least 1"),
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1"),
    ]:
        with pytest.raises(dw.InvalidArgument, match=words):
            dw.search.exact(stepper(row), START, dataclasses.replace(params, **fields))
    with pytest.raises(dw.InvalidArgument, match="an exact search must be done within 3 steps"):
        dw.search.exact(stepper(row), START, params, max_steps=3)
    with pytest.raises(dw.InvalidArgument, match="the log-probabilities of step must be at most 0"):
        dw.search.exact(lambda tokens, state: np.full((1, 4), 0.5), None, params)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"num_beam_groups": 3}, "num_beam_groups must be a divisor of num_beams = 4, got 3"),
        ({"num_beam_groups": 0}, "num_beam_groups must be a divisor of num_beams = 4, got 0"),
        ({"num_beam_groups": 2}, "num_return must be a multiple of num_beam_groups = 2, got 1"),
        ({"num_beam_groups": 2, "num_return": 2, "do_sample": True}, "num_beam_groups must be 1 with do_sample"),
        ({"num_beam_groups": 2, "num_return": 2, "diversity": "x"}, "diversity must be hamming, cumulative, ngram or"),
        ({"num_beam_groups": 2, "num_return": 2, "diversity": "embedding"}, "diversity_embedding must be an array"),
        ({"num_beam_groups": 2, "num_return": 2, "diversity_penalty": -1.0}, "diversity_penalty must be 0 or more"),
        ({"num_beam_groups": 2, "num_return": 2, "diversity_penalty": np.nan}, "diversity_penalty must be 0 or more"),
        ({"scorer": object()}, r"scorer must be an object with log_prob\(ids\)"),
        ({"scorer": SCORER, "scorer_weight": np.inf}, "scorer_weight must be finite"),
        (
            {"scorer": LengthScorer(1, 2), "do_sample": True},
            "a search with a scorer must be one group, without do_sample",
        ),
    ],
)
def test_bad_parameters(fields, words):
    params = dw.BeamParams(num_beams=4, bos_token_id=0, max_new_tokens=3)
    row = random_model(np.random.default_rng(0), 5)
    with pytest.raises(dw.InvalidArgument, match=words):
        dw.search.beam(stepper(row), START, dataclasses.replace(params, **fields))


def test_kept_candidates():
    for seed in range(30):
        rng = np.random.default_rng(seed)
        row = random_model(rng, 8)
        params = dataclasses.replace(draw(rng, 8), keep_candidates=True)
        found = dw.search.beam(stepper(row), START, params)
        without = dw.search.beam(stepper(row), START, dataclasses.replace(params, keep_candidates=False))
        assert texts(found) == texts(without)
        assert len(found.candidates) == found.stats.steps
        beams, tokens, scores = found.candidates[0]
        ends = len(set(params.eos_token_id))
        most = max(2, 1 + ends) * params.num_beams
        law = row(())
        if params.min_new_tokens:
            law[params.eos_token_id] = -np.inf
        order = [t for t in np.argsort(-law, kind="stable")[:most].tolist() if law[t] > -np.inf]
        assert tokens.tolist() == order
        assert beams.tolist() == [0] * len(order)
        assert np.allclose(scores, law[order])
        for _, _, scores in found.candidates:
            assert len(scores) <= most and (np.diff(scores) <= 0).all()
