"""Stochastic beams against the enumerated law of drawing sequences without replacement."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
from scipy import stats

import draftwood as dw
from support.variants import START, SlowTrie, complete_texts, random_model, stepper

VOCAB, LIMIT, END = 4, 3, (2,)
PARAMS = dw.BeamParams(num_beams=2, num_return=2, max_new_tokens=LIMIT, bos_token_id=0, eos_token_id=2)
DRAWS = [pytest.param(6_000, id="short"), pytest.param(200_000, id="long", marks=pytest.mark.long)]


def law(row, rule=None):
    """p of every complete text; with a rule each row is renormalised over what it allows."""
    texts = dict(complete_texts(row, END, VOCAB, LIMIT, rule))
    if rule is None:
        return {text: np.exp(log_p) for text, log_p in texts.items()}
    found = {}
    for text in texts:
        p = 1.0
        for i, token in enumerate(text):
            row_p = np.exp(row(text[:i]).astype(np.float64))
            fine = [t for t in range(VOCAB) if rule.allowed(text[:i], t) or (t in END and rule.ends(text[:i]))]
            p *= row_p[token] / row_p[fine].sum()
        found[text] = p
    return found


def draw(row, count, **fields):
    params = dataclasses.replace(PARAMS, **fields)
    step = stepper(row)
    for seed in range(count):
        yield dw.search.beam(step, START, dataclasses.replace(params, seed=seed))


def chi2(counts, expected, total):
    """p-value; cells under 5 are put together."""
    cells = sorted(expected, key=expected.get)
    observed, wanted, rest = [], [], [0.0, 0.0]
    for cell in cells:
        if expected[cell] * total < 5:
            rest[0] += counts[cell]
            rest[1] += expected[cell] * total
        else:
            observed.append(counts[cell])
            wanted.append(expected[cell] * total)
    if rest[1] >= 5:
        observed.append(rest[0])
        wanted.append(rest[1])
    elif rest[1] > 0:
        observed[0] += rest[0]
        wanted[0] += rest[1]
    statistic = sum((o - w) ** 2 / w for o, w in zip(observed, wanted, strict=True))
    return stats.chi2.sf(statistic, len(observed) - 1)


@pytest.mark.parametrize("count", DRAWS)
@pytest.mark.parametrize("ruled", [False, True])
def test_pairs_have_the_law_of_draws_without_replacement(count, ruled):
    row = random_model(np.random.default_rng(3), VOCAB)
    sequences = [(0, 1), (1,), (1, 3), (3, 3, 0), (0, 0, 1), (3,)]
    rule = SlowTrie(sequences) if ruled else None
    p = law(row, rule)
    assert abs(sum(p.values()) - 1) < 1e-6
    pairs = {(a, b): p[a] * p[b] / (1 - p[a]) for a in p for b in p if a != b}
    counts = Counter()
    mean = dict.fromkeys(p, 0.0)
    rules = [dw.search.Trie(sequences)] if ruled else []
    for found in draw(row, count, stochastic="sequences", processors=rules):
        counts[tuple(tuple(h.token_ids.tolist()) for h in found)] += 1
        for h in found:
            assert abs(h.raw_score * len(h.token_ids) - np.log(p[tuple(h.token_ids.tolist())])) < 1e-4
            mean[tuple(h.token_ids.tolist())] += np.exp(h.log_weight) / count
    # Of 1,560 pairs at most: a total variation of 0.11 would be seen nine times of ten, of 0.02 with 200,000 draws.
    assert chi2(counts, pairs, count) > 1e-4
    assert set(counts) <= set(pairs)
    # The weights make sums over draws unbiased: each text's mean weight is its probability.
    for text, one in p.items():
        if one > 0.02:
            assert abs(mean[text] - one) < 6 * np.sqrt(one / count)


@pytest.mark.parametrize("count", DRAWS)
def test_first_tokens_without_replacement(count):
    row = random_model(np.random.default_rng(5), VOCAB)
    p = np.exp(row(()).astype(np.float64))
    pairs = {(a, b): p[a] * p[b] / (1 - p[a]) for a in range(VOCAB) for b in range(VOCAB) if a != b}
    counts = Counter()
    for found in draw(row, count, stochastic="first_token"):
        tokens = [h.token_ids.tolist() for h in found]
        counts[tuple(one[0] for one in tokens)] += 1
        for one in tokens:
            for i in range(1, len(one)):
                assert one[i] == np.argmax(row(one[:i]))
            assert one[-1] in END or len(one) == LIMIT
    assert chi2(counts, pairs, count) > 1e-4


def test_first_tokens_continued_by_draws():
    row = random_model(np.random.default_rng(5), VOCAB)
    second = Counter()
    for found in draw(row, 4000, stochastic="first_token", do_sample=True, temperature=2.0):
        for h in found:
            if h.token_ids[0] == 1:
                second[int(h.token_ids[1])] += 1
    p = np.exp(row((1,)).astype(np.float64) / 2)
    assert chi2(second, dict(enumerate(p / p.sum())), sum(second.values())) > 1e-4


def test_all_sequences_come_when_as_many_are_asked_for():
    row = random_model(np.random.default_rng(3), VOCAB)
    p = law(row)
    found = next(draw(row, 1, stochastic="sequences", num_beams=200, num_return=200))
    assert {tuple(h.token_ids.tolist()) for h in found} == set(p)
    for h in found:
        assert abs(np.exp(h.log_weight) - p[tuple(h.token_ids.tolist())]) < 1e-6


def test_in_the_engine_too():
    params = dw.BeamParams(num_beams=3, num_return=3, max_new_tokens=6, stochastic="sequences", seed=4)
    with dw.testing.toy_engine() as engine:
        first = engine.beam_search([1, 2], params)
        again = engine.beam_search([[5], [1, 2]], params)[1]
        other = engine.beam_search([1, 2], dataclasses.replace(params, seed=5))
        assert engine.stats().pages_free == engine.stats().pages_total
    texts = [[h.token_ids.tolist() for h in beams] for beams in (first, again, other)]
    assert texts[0] == texts[1] != texts[2]
    assert len({tuple(text) for text in texts[0]}) == 3
    assert first.stats.seed == 4


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"stochastic": "x"}, 'stochastic must be False, "sequences" or "first_token", got x'),
        ({"stochastic": "sequences", "do_sample": True}, "do_sample must be False with stochastic"),
        ({"stochastic": "sequences", "num_beam_groups": 2}, "stochastic must be False with groups"),
        ({"stochastic": "sequences", "temperature": 2.0}, "temperature must be 1.0 without do_sample"),
        ({"stochastic": "sequences", "keep_candidates": True}, "stochastic must be False with groups"),
    ],
)
def test_bad_parameters(fields, words):
    row = random_model(np.random.default_rng(0), VOCAB)
    with pytest.raises(dw.InvalidArgument, match=words):
        dw.search.beam(stepper(row), START, dataclasses.replace(PARAMS, **fields))
