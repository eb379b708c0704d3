"""Tries, phrases and rules that test tokens, against slow searches and brute force, on vocabularies of up to 8."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest

import draftwood as dw
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


@pytest.mark.parametrize(("start", "count"), CASES)
def test_tries_equal_a_slow_search_and_brute_force(start, count):
    judged, violated = 0, 0
    for seed in range(start, start + count):
        rng = np.random.default_rng(seed)
        vocab = int(rng.integers(3, 9))
        params = draw(rng, vocab)
        sequences = [rng.integers(0, vocab, rng.integers(1, 5)).tolist() for _ in range(rng.integers(1, 9))]
        row, slow = random_model(rng, vocab), SlowTrie(sequences)
        native = dataclasses.replace(params, processors=[dw.search.Trie(sequences)])
        found = dw.search.beam(stepper(row), START, native)
        judged += same(found, *search(row, params, params.eos_token_id, vocab, slow))
        mirrored = dataclasses.replace(params, processors=[Mirror(dw.search.Trie(sequences))])
        assert texts(dw.search.beam(stepper(row), START, mirrored)) == texts(found)
        best = texts(plain(row, params))[0]
        violated += best not in [one for one, _ in complete_texts(row, params.eos_token_id, vocab, 6, slow)]
        wide = dataclasses.replace(native, num_beams=64, num_return=64, length_penalty=0.0, early_stopping="never")
        whole = complete_texts(row, params.eos_token_id, vocab, params.max_new_tokens, slow, params.min_new_tokens)
        everything = dw.search.beam(stepper(row), START, wide)
        if whole:
            assert sorted(texts(everything)) == sorted(one for one, _ in whole)
        else:
            assert [h.finish_reason for h in everything] == ["constraint"]
    assert judged > 0.95 * count
    assert violated > 0.5 * count


@pytest.mark.parametrize(("start", "count"), CASES)
def test_phrases_equal_a_slow_search_and_brute_force(start, count):
    judged, violated, held = 0, 0, 0
    for seed in range(start, start + count):
        rng = np.random.default_rng(seed)
        vocab = int(rng.integers(3, 7))
        params = draw(rng, vocab)
        others = [t for t in range(vocab) if t not in params.eos_token_id]
        phrase = lambda rng=rng, others=others: rng.choice(others, rng.integers(1, 4)).tolist()  # noqa: E731
        entries = [[phrase() for _ in range(rng.integers(1, 3))] for _ in range(rng.integers(1, 3))]
        ordered = bool(rng.integers(2))
        row, slow = random_model(rng, vocab), SlowPhrases(entries, ordered)
        rule = dw.search.Phrases(entries, ordered=ordered)
        native = dataclasses.replace(params, processors=[rule])
        found = dw.search.beam(stepper(row), START, native)
        judged += same(found, *search(row, params, params.eos_token_id, vocab, slow))
        for h in found:
            assert slow.done(h.token_ids.tolist()) == (h.finish_reason != "constraint")
        mirrored = dataclasses.replace(params, processors=[Mirror(rule)])
        assert texts(dw.search.beam(stepper(row), START, mirrored)) == texts(found)
        violated += not slow.done(texts(plain(row, params))[0])
        if vocab**params.max_new_tokens < 1000:
            wide = dataclasses.replace(native, num_beams=1000, length_penalty=0.0, early_stopping="never", num_return=1)
            whole = complete_texts(row, params.eos_token_id, vocab, params.max_new_tokens, slow, params.min_new_tokens)
            best = dw.search.beam(stepper(row), START, wide)[0]
            if whole:
                held += 1
                assert abs(best.score - max(score for _, score in whole)) < 1e-4
            else:
                assert best.finish_reason == "constraint"
    assert judged > 0.95 * count
    assert violated > 0.5 * count
    assert held > 0.1 * count


class Mirror:
    """A native rule that runs through the protocol, as one in Python does."""

    def __init__(self, rule):
        self._rule = rule
        for name in ("init", "fork", "advance", "apply", "done", "ends", "candidates"):
            setattr(self, name, getattr(rule, name))
        if isinstance(rule, dw.search.Phrases):
            self.progress, self.advances = rule.progress, rule.advances


class Parity:
    """Tests tokens, and carries what it found: texts alternate between even and odd tokens."""

    def __init__(self, how):
        self.tests = 0
        if how == "child":
            self.child = lambda state, token: token if self._may(state, token) else None
        else:
            self.allows = self._may

    def init(self, ids):
        return int(ids[-1])

    def fork(self, state):
        return state

    def advance(self, state, token):
        return token

    def _may(self, state, token):
        self.tests += 1
        return (state + token) % 2 == 1


@pytest.mark.parametrize("how", ["child", "allows"])
def test_rules_that_test_tokens(how):
    class Slow(SlowTrie):
        def allowed(self, tokens, token):
            return ((tokens[-1] if tokens else 0) + token) % 2 == 1

    for seed in range(40):
        rng = np.random.default_rng(seed)
        params = draw(rng, 8)
        row, rule = random_model(rng, 8), Parity(how)
        found = dw.search.beam(stepper(row), START, dataclasses.replace(params, processors=[rule]))
        same(found, *search(row, params, params.eos_token_id, 8, Slow([])))
        assert rule.tests > 0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: dw.search.Trie([]), "the sequences of a trie must be at least one sequence, got none"),
        (lambda: dw.search.Trie([[1], []]), "the sequences of a trie must be sequences of at least one token"),
        (lambda: dw.search.Trie([[-1]]), "the sequences of a trie must be token ids"),
        (lambda: dw.search.Trie([["a"]]), "the sequences of a trie must be token ids"),
        (lambda: dw.search.Trie(5), "the sequences of a trie must be lists of ids"),
        (lambda: dw.search.Phrases([]), "the phrases that must occur must be at least one phrase, got none"),
        (lambda: dw.search.Phrases([[]]), "the phrases that must occur must be phrases of at least one token"),
        (lambda: dw.search.Phrases([[[1], []]]), "the phrases that must occur must be phrases of at least one"),
        (lambda: dw.search.Phrases([[1.5]]), "the phrases that must occur must be token ids"),
        (lambda: dw.search.BlockNgrams([], 2), "the blocked sequences must be at least one sequence, got none"),
        (lambda: dw.search.BlockNgrams([[1, 2], [1]], 2), "the blocked n-grams must be of length n = 2, got one of 1"),
        (lambda: dw.search.AllowedPrefix(3), "AllowedPrefix must be a function"),
    ],
)
def test_empty_and_wrong_constraints(make, words):
    with pytest.raises(dw.InvalidArgument, match=words):
        make()


def test_dead_ends():
    """At the first step nothing is found but the empty prefix; later ones drop their beams."""
    row = random_model(np.random.default_rng(1), 6)
    params = dw.BeamParams(num_beams=3, num_return=3, max_new_tokens=4, bos_token_id=0)
    nothing = dw.search.AllowedPrefix(lambda ids: [])
    found = dw.search.beam(stepper(row), START, dataclasses.replace(params, processors=[nothing]))
    assert [(h.token_ids.tolist(), h.finish_reason) for h in found] == [([], "constraint")]
    trie = dw.search.Trie([[1, 2], [3, 4, 5, 1]])
    found = dw.search.beam(stepper(row), START, dataclasses.replace(params, processors=[trie]))
    assert [(h.token_ids.tolist(), h.finish_reason) for h in found] == [([3, 4, 5, 1], "length")]
    beyond = dw.search.Trie([[100]])
    found = dw.search.beam(stepper(row), START, dataclasses.replace(params, processors=[beyond]))
    assert found[0].finish_reason == "constraint"


def test_a_million_sequences():
    rng = np.random.default_rng(0)
    sequences = rng.integers(0, 256, (1_000_000, 4))
    start = time.perf_counter()
    trie = dw.search.Trie(sequences)
    assert time.perf_counter() - start < 15, "3 seconds on a quiet machine"
    known = {tuple(one) for one in sequences.tolist()}
    assert len(trie.candidates(trie.init(np.array([1], np.int32)))) == 256
    state = trie.init(np.array([1], np.int32))
    for token in sequences[7].tolist():
        assert token in trie.candidates(state)
        state = trie.advance(state, token)
    assert trie.ends(state)
    # A leaf's parent names exactly the tokens that complete a sequence.
    first = sequences[9].tolist()[:3]
    state = trie.init(np.array([1], np.int32))
    for token in first:
        state = trie.advance(state, token)
    assert sorted(set(trie.candidates(state))) == [t for t in range(256) if (*first, t) in known]
