"""Groups, phrases, tries and scorers against slow searches and against brute force, on vocabularies of up to 8."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import draftwood as dw
from support.variants import (
    START,
    SlowPhrases,
    SlowTrie,
    complete_texts,
    random_model,
    search,
    stepper,
)

CASES = [pytest.param(0, 120, id="short"), pytest.param(1000, 1100, id="long", marks=pytest.mark.long)]


def draw(rng, vocab, groups=1, width=None):
    width = int(rng.integers(1, 5)) if width is None else width
    limit = int(rng.integers(2, 7))
    returned = int(rng.integers(1, width + 1))
    return dw.BeamParams(
        num_beams=width * groups,
        num_return=returned * groups,
        num_beam_groups=groups,
        max_new_tokens=limit,
        min_new_tokens=int(rng.integers(0, 2)),
        length_penalty=float(rng.choice([0.0, 1.0, 0.5])),
        early_stopping=[True, False, "never"][rng.integers(3)],
        bos_token_id=0,
        eos_token_id=[int(t) for t in rng.choice(vocab, rng.integers(1, 3), replace=False)],
    )


def same(found, reference, margin):
    """Equal, unless rounding may have decided."""
    if margin < 1e-5:
        return False
    ours = [(tuple(h.token_ids.tolist()), h.group) for h in found]
    assert ours == [(tokens, group) for tokens, _, _, group in reference]
    for h, (_, score, raw, _) in zip(found, reference, strict=True):
        assert abs(h.score - score) < 1e-4
        assert abs(h.raw_score - raw) < 1e-4
    return True


def plain(row, params):
    return dw.search.beam(stepper(row), START, dataclasses.replace(params, processors=(), scorer=None))


def texts(found):
    return [tuple(h.token_ids.tolist()) for h in found]


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
    from draftwood.scoring import LengthScorer, NotDegenerate

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
        ({"scorer": Prefers(), "scorer_weight": np.inf}, "scorer_weight must be finite"),
        ({"scorer": Prefers(), "do_sample": True}, "a search with a scorer must be one group, without do_sample"),
    ],
)
def test_bad_parameters(fields, words):
    params = dw.BeamParams(num_beams=4, bos_token_id=0, max_new_tokens=3)
    row = random_model(np.random.default_rng(0), 5)
    with pytest.raises(dw.InvalidArgument, match=words):
        dw.search.beam(stepper(row), START, dataclasses.replace(params, **fields))


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


def test_a_million_sequences():
    rng = np.random.default_rng(0)
    sequences = rng.integers(0, 256, (1_000_000, 4))
    import time

    start = time.perf_counter()
    trie = dw.search.Trie(sequences)
    assert time.perf_counter() - start < 15, "3 seconds on a quiet machine"
    known = {tuple(one) for one in sequences[:1000].tolist()}
    state = trie.init(np.array([1], np.int32))
    for token in sequences[7].tolist():
        assert token in trie.candidates(state)
        state = trie.advance(state, token)
    assert trie.ends(state)
    assert len(known) <= 1000
