"""Settings of SEAL, and what `compat=True` does as the paper's code has it, against the formulas; each one matters."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import draftwood as dw
from draftwood import _core
from draftwood.retrieval.seal import _RANKING
from support import seal as reference
from support.scripted import ScriptedExecutor
from support.seal_toy import QUERY, TITLE_PROMPT, V, build, corpus, engine, expected_keys
from support.toy import Oracle

SIZES = {"beam": 4, "length": 5, "title_length": 6, "smoothing": 0.5}
FEW = {"fully_score": 2}  # so that it matters which documents are found first
SEEDS = range(21, 26)


def asked(seed, path, params, compat=False):
    """What a search finds, which equals the formulas: the keys, and the score of each document."""
    documents = corpus(seed, count=24)
    with engine() as model:
        seal = dw.Seal(model, build(documents, path, parts=2), params, compat=compat, **TITLE_PROMPT)
        keys, found = seal.keys(QUERY), seal.search(QUERY, k=99)
    expected = expected_keys(documents, params, compat)
    expected = {key: score for key, score in expected.items() if params.decode_titles or not key[0]}
    told = {(key.is_title, key.token_ids): key.log_prob for key in keys}
    assert set(told) == set(expected)
    for key, log_prob in told.items():
        assert log_prob == pytest.approx(expected[key], abs=1e-4)
    first = reference.log_softmax(Oracle(vocab_size=V, context_weight=2.0).logits(QUERY))
    scores = reference.rank(documents, told, first, params, compat=compat)
    got = {passage.document: passage.score for passage in found}
    assert set(got) == set(scores)
    for document, score in got.items():
        assert score == pytest.approx(scores[document], rel=1e-4)
    return frozenset(told), {document: round(score, 3) for document, score in got.items()}


@pytest.mark.parametrize(
    ("settings", "changes_keys"),
    [
        ({"allow_overlaps": True, "decode_titles": False, "beta": 0.0, **FEW}, False),
        ({"skip_frequent_keys": 2}, False),
        ({"stop_at_count": 2}, True),
        ({"partial_titles": True}, True),
        ({"allow_overlaps": True, "skip_frequent_keys": 6, "stop_at_count": 1, "partial_titles": True, **FEW}, True),
    ],
)
def test_each_setting_is_as_the_formulas_have_it_and_matters(settings, changes_keys, tmp_path):
    rest = {"decode_titles", "beta", *FEW}  # what is not the setting itself
    plain = dw.SealParams(**SIZES, **{name: settings[name] for name in rest & settings.keys()})
    differ = 0
    for seed in SEEDS:
        keys, scores = asked(seed, tmp_path / f"{seed}", dw.SealParams(**SIZES, **settings))
        other_keys, other_scores = asked(seed, tmp_path / f"{seed}-plain", plain)
        assert changes_keys or keys == other_keys
        differ += (keys, scores) != (other_keys, other_scores)
    assert differ >= 2


@pytest.mark.parametrize(
    "settings",
    [FEW, {"partial_titles": True, "stop_at_count": 1, **FEW}, {"allow_overlaps": True, "single_key": 0.4, **FEW}],
)
def test_the_papers_code_finds_what_its_quirks_find(settings, tmp_path):
    for seed in SEEDS:
        asked(seed, tmp_path / f"{seed}", dw.SealParams(**SIZES, **settings), compat=True)


def drawn(rng):
    """Few documents of few tokens, and n-grams of them with log-probabilities."""
    documents = [rng.integers(0, 6, int(rng.integers(4, 16))).tolist() for _ in range(int(rng.integers(3, 9)))]
    keys = {}
    for _ in range(int(rng.integers(2, 9))):
        text = documents[int(rng.integers(len(documents)))]
        at, length = int(rng.integers(len(text))), int(rng.integers(1, 5))
        keys[False, tuple(text[at : at + length])] = -float(rng.uniform(0.01, 4.0))
    return documents, keys


def test_rankings_of_any_keys_equal_the_formulas_and_the_settings_matter(tmp_path):
    rng = np.random.default_rng(30)
    varied = {"allow_overlaps": [False, True], "skip_frequent_keys": [None, 3], "compat": [False, True]}
    differ = dict.fromkeys([*varied, "compat beside allow_overlaps"], 0)
    for case in range(120):
        documents, keys = drawn(rng)
        path = tmp_path / f"{case}.dwx"
        index = dw.FMIndex.build(documents, path=path, tier=("standard", "compact", "fast")[case % 3])
        unigrams = reference.log_softmax(rng.normal(size=8)).astype(np.float32)
        common = {"smoothing": 0.5, "beta": [0.0, 0.8][case % 2], "fully_score": 1 + case % 3}
        common |= {"use_top_k_unigrams": 5, "add_best_unigrams_to_ngrams": bool(case % 2)}
        found = {}
        for values in product(*varied.values()):
            *others, compat = values
            params = dw.SealParams(**common, **dict(zip(varied, others, strict=False)))
            given = [(ids, anchored, log_p) for (anchored, ids), log_p in keys.items()]
            settings = {name: getattr(params, name) for name in _RANKING}
            _, _, hits = _core.seal_rank(index.core, given, unigrams, [1], hits=99, compat=compat, **settings)
            scores = reference.rank(documents, keys, unigrams, params, special=(1,), compat=compat)
            got = {document: score for document, score, _ in hits}
            if got.keys() != scores.keys():  # of equal first scores rounding may choose
                continue
            assert got == pytest.approx(scores, rel=1e-6)
            found[values] = {document: round(score, 6) for document, score in got.items()}
        assert len(found) >= 6
        plain = found.get((False, None, False))
        for name, values in (("allow_overlaps", (True, None, False)), ("skip_frequent_keys", (False, 3, False))):
            differ[name] += found.get(values) != plain
        differ["compat"] += found.get((False, None, True)) != plain
        differ["compat beside allow_overlaps"] += found.get((False, None, True)) != found.get((True, None, False))
        assert found.get((False, 3, True)) == found.get((False, None, True))
    assert min(differ.values()) >= 3, differ


def test_frequent_keys_are_skipped_but_in_the_papers_code(tmp_path):
    without, skips = dw.SealParams(**SIZES), dw.SealParams(**SIZES, skip_frequent_keys=2)
    differ = 0
    for seed in SEEDS:
        path = tmp_path / f"{seed}"
        assert asked(seed, path, skips, compat=True) == asked(seed, path.with_suffix(".a"), without, compat=True)
        differ += asked(seed, path.with_suffix(".b"), skips) != asked(seed, path.with_suffix(".c"), without)
    assert differ >= 2


class Letters:
    """A tokenizer of numbered tokens; the first three are no text."""

    fingerprint = "ab" * 32
    stop_ids = (2,)
    chat_template = None
    token_bytes = _core.TokenBytes.from_bytes([bytes([97 + i]) for i in range(V)], [0, 1, 2])

    def encode_plain(self, texts):
        return [np.frombuffer(text.encode(), np.uint8).astype(np.int32) - 97 for text in texts]

    def encode(self, text):
        return self.encode_plain([text])[0]

    def decode(self, ids):
        return bytes(97 + int(i) for i in ids).decode()


def test_special_tokens_and_those_that_do_not_occur_never_count_alone(tmp_path):
    """The model says what is no text first; what the corpus does not hold would have the greatest odds."""
    documents = [[1, 4, 5, 6, 7], [4, 8, 9, 2, 5], [10, 11, 6, 1, 12]]
    index = dw.FMIndex.build(documents, path=tmp_path / "a.dwx")
    likes = np.zeros(V)
    likes[[7, 8]], likes[[0, 1, 2, 20, 21]], likes[[9, 10]] = 2.4, 2.2, 2.0  # the first two become keys
    first = reference.log_softmax(likes)
    for special, tokenizer in (((), None), ((0, 1, 2), Letters())):
        with dw.Engine(ScriptedExecutor(V, lambda text: likes), tokenizer, drafter=None) as model:
            for settings, expected in (
                ({}, {9, 10} if special else {2, 9}),
                ({"use_top_k_unigrams": 6}, set() if special else {2}),
                ({"add_best_unigrams_to_ngrams": False}, set()),
            ):
                params = dw.SealParams(beam=1, length=2, smoothing=0.01, add_query_to_keys=False, **settings)
                seal = dw.Seal(model, index, params)
                told = {(key.is_title, key.token_ids): key.log_prob for key in seal.keys([13])}
                found = seal.search([13])
                scores = reference.rank(documents, told, first, params, special=special)
                assert {passage.document: pytest.approx(passage.score, rel=1e-4) for passage in found} == scores
                every = {one.token_ids for passage in found for one in passage.evidence}
                assert {ids[0] for ids in every if (False, ids) not in told} == expected
