"""No text completes an n-gram of a corpus: against scans, and in beam searches."""

from __future__ import annotations

import numpy as np
import pytest

import draftwood as dw
from draftwood.retrieval import BlockNgrams

V = 9


@pytest.fixture
def documents():
    rng = np.random.default_rng(0)
    return [rng.integers(0, V, 60).tolist() for _ in range(4)]


def ngrams(texts, n):
    return {tuple(text[i : i + n]) for text in texts for i in range(len(text) - n + 1)}


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("is_index", [False, True])
def test_it_forbids_exactly_the_last_tokens_of_ngrams(n, is_index, documents, tmp_path):
    known = ngrams(documents, n)
    rule = BlockNgrams(dw.FMIndex.build(documents, path=tmp_path / "a.dwx"), n) if is_index else BlockNgrams(known)
    rng, blocked = np.random.default_rng(n), 0
    for _ in range(200):
        text = [*documents[0][:20], *rng.integers(0, V, 3).tolist()][-int(rng.integers(1, 12)) :]
        state = rule.init(text[:1])
        for token in text[1:]:
            before = rule.fork(state)
            state = rule.advance(state, token)
            assert rule.init(text[:1]) == before or len(text) > 2
        assert state == rule.init(text)
        expected = [(*text, token)[-n:] not in known or len(text) < n - 1 for token in range(V + 2)]
        assert rule.mask(state, V + 2).tolist() == expected
        assert [rule.allows(state, token) for token in range(V + 2)] == expected
        row = np.zeros(V + 2, np.float32)
        rule.apply(state, row)
        assert (row == 0).tolist() == expected
        blocked += V + 2 - sum(expected)
    assert blocked


def test_beams_say_no_ngram_of_the_corpus(tmp_path):
    prompt, plain = [1, 2, 3], dw.BeamParams(num_beams=4, num_return=4, max_new_tokens=20)
    with dw.testing.toy_engine(32, drafter=None) as engine:
        said = [[*prompt, *one.token_ids.tolist()] for one in engine.beam_search(prompt, plain)]
        index = dw.FMIndex.build(said, path=tmp_path / "a.dwx")
        for n in (2, 4):
            params = dw.BeamParams(num_beams=4, num_return=4, max_new_tokens=20, processors=[BlockNgrams(index, n)])
            others = [[*prompt, *one.token_ids.tolist()] for one in engine.beam_search(prompt, params)]
            # The prompt itself is in the corpus; what comes after it completes nothing.
            repeated = [ngrams([text[3 - n + 1 :]], n) & ngrams(said, n) for text in others]
            assert len(others) == 4
            assert not any(repeated)


def test_what_makes_no_sense_is_named(documents, tmp_path):
    index = dw.FMIndex.build(documents, path=tmp_path / "a.dwx")
    for make, message in [
        (lambda: BlockNgrams(index), "n must be given with an index"),
        (lambda: BlockNgrams(index, 0), "n must be at least 1"),
        (lambda: BlockNgrams([[1, 2], [3]]), "n-gram 1 must be 2 tokens long, as the others, got 1"),
        (lambda: BlockNgrams([[]]), "n-gram 0 must be 1 tokens long"),
    ]:
        with pytest.raises(dw.InvalidArgument, match=message):
            make()
