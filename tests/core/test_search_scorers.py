"""Scorers of a beam search against a slow search, and those that are none."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import draftwood as dw
from draftwood.scoring import LengthScorer, NotDegenerate
from support.variants import (
    CASES,
    START,
    draw,
    plain,
    random_model,
    same,
    search,
    stepper,
    texts,
)


class Prefers:
    """log c = −distance of the number of 1s from two; accepts exactly two."""

    def __init__(self, accepts=True):
        self.calls = []
        if not accepts:
            self.accepts = lambda ids: True

    def log_prob(self, ids):
        self.calls.append(len(ids))
        return [-abs(one.count(1) - 2) * 1.5 for one in ids]

    def accepts(self, ids):
        return ids.count(1) == 2


@pytest.mark.parametrize(("start", "count"), CASES)
def test_scorers_equal_a_slow_search(start, count):
    judged, accepted = 0, 0
    for seed in range(start, start + count):
        rng = np.random.default_rng(seed)
        vocab = int(rng.integers(3, 9))
        params = dataclasses.replace(
            draw(rng, vocab),
            scorer=Prefers(),
            scorer_weight=float(rng.choice([0.5, 1.0, 2.0])),
            scorer_top_k=int(rng.integers(0, 6)),
        )
        row = random_model(rng, vocab)
        found = dw.search.beam(stepper(row), START, params)
        calls = len(params.scorer.calls)
        judged += same(found, *search(row, params, params.eos_token_id, vocab, None, Prefers()))
        assert calls == found.stats.steps
        for h in found:
            assert (h.finish_reason == "constraint") or Prefers().accepts(h.token_ids.tolist())
            accepted += h.finish_reason != "constraint"
        off = dataclasses.replace(params, scorer=Prefers(accepts=False), scorer_weight=0.0, scorer_top_k=0)
        assert texts(dw.search.beam(stepper(row), START, off)) == texts(plain(row, params))
    assert judged > 0.9 * count
    assert accepted > 0.3 * count


def test_shipped_scorers():
    rng = np.random.default_rng(4)
    row = random_model(rng, 6)
    params = dw.BeamParams(
        num_beams=6, num_return=6, max_new_tokens=8, bos_token_id=0, eos_token_id=2, scorer=LengthScorer(3, 5)
    )
    found = dw.search.beam(stepper(row), START, params)
    assert {len(h.token_ids) for h in found} <= {3, 4, 5}
    loop = lambda tokens: np.log(np.array([0.01, 0.6, 0.01, 0.19, 0.19], np.float32))  # noqa: E731
    free = dw.BeamParams(num_beams=4, max_new_tokens=10, bos_token_id=0, eos_token_id=2)
    assert set(texts(dw.search.beam(stepper(loop), START, free))[0]) == {1}
    scored = dataclasses.replace(free, num_beams=16, scorer=NotDegenerate(2, 0.5), scorer_weight=9.0)
    kept = dw.search.beam(stepper(loop), START, scored)[0]
    assert NotDegenerate(2, 0.5).accepts(kept.token_ids.tolist())


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (lambda ids: [np.nan] * len(ids), "the scorer's log-probabilities must be finite or -inf"),
        (lambda ids: [np.inf] * len(ids), "the scorer's log-probabilities must be finite or -inf"),
        (lambda ids: [0.0], r"what scorer.log_prob returns must be numbers of shape \(\d+,\)"),
        (lambda ids: np.zeros((len(ids), 2)), "what scorer.log_prob returns must be numbers of shape"),
        (lambda ids: None, "what scorer.log_prob returns must be numbers of shape"),
    ],
)
def test_bad_scorers(value, words):
    class Bad:
        def log_prob(self, ids):
            return value(ids)

    row = random_model(np.random.default_rng(0), 5)
    params = dw.BeamParams(num_beams=4, bos_token_id=0, max_new_tokens=3, scorer=Bad())
    with pytest.raises(dw.InvalidArgument, match=words):
        dw.search.beam(stepper(row), START, params)
    with dw.testing.toy_engine() as engine:
        with pytest.raises(dw.InvalidArgument, match=words):
            engine.beam_search([1], dataclasses.replace(params, bos_token_id=None))
        stats = engine.stats()
        assert stats.pages_free == stats.pages_total
