"""No text completes an n-gram of a corpus: against scans, and in beam searches."""

from __future__ import annotations

import numpy as np
import pytest

import draftwood as dw
from draftwood.constraints import NativeRule
from draftwood.search import BlockNgrams

V = 9


@pytest.fixture
def documents():
    rng = np.random.default_rng(0)
    return [rng.integers(0, V, 60).tolist() for _ in range(4)]


def ngrams(texts, n):
    return {tuple(text[i : i + n]) for text in texts for i in range(len(text) - n + 1)}


def after(rule, text, begin=1):
    """The state after a text whose first tokens are the prompt."""
    state = rule.init(np.array(text[:begin], np.int32))
    for token in text[begin:]:
        state = rule.advance(state, token)
    return state


def allowed(rule, state, vocab):
    row = np.zeros(vocab, np.float32)
    rule.apply(state, row)
    assert set(row.tolist()) <= {0.0, -np.inf}
    return (row == 0).tolist()


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("is_index", [False, True])
def test_it_forbids_exactly_the_last_tokens_of_ngrams(n, is_index, documents, tmp_path):
    known = ngrams(documents, n)
    rule = BlockNgrams(dw.FMIndex.build(documents, path=tmp_path / "a.dwx"), n) if is_index else BlockNgrams(known)
    assert isinstance(rule, BlockNgrams) and isinstance(rule, NativeRule)
    rng, blocked = np.random.default_rng(n), 0
    for _ in range(200):
        text = [*documents[0][:20], *rng.integers(0, V, 3).tolist()][-int(rng.integers(1, 12)) :]
        expected = [(*text, token)[-n:] not in known or len(text) < n - 1 for token in range(V + 2)]
        for begin in (1, len(text)):
            state = after(rule, text, begin)
            fork = rule.fork(state)
            rule.advance(state, text[0])
            assert allowed(rule, state, V + 2) == allowed(rule, fork, V + 2) == expected
            assert [rule.allows(state, token) for token in range(V + 2)] == expected
        blocked += V + 2 - sum(expected)
    assert blocked


def test_several_files_block_what_any_of_them_says(documents, tmp_path):
    paths = [tmp_path / f"{i}.dwx" for i in range(2)]
    for path, half in zip(paths, (documents[:2], documents[2:]), strict=True):
        dw.FMIndex.build(half, path=path)
    rule, known = BlockNgrams(dw.FMIndex.open(paths), 3), ngrams(documents, 3)
    for text in documents:
        expected = [(*text[5:7], token) not in known for token in range(V)]
        assert allowed(rule, after(rule, text[:7]), V) == expected


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


def test_there_is_one_of_it():
    import draftwood.retrieval

    assert draftwood.retrieval.BlockNgrams is BlockNgrams


def test_what_makes_no_sense_is_named(documents, tmp_path):
    index = dw.FMIndex.build(documents, path=tmp_path / "a.dwx")
    for make, message in [
        (lambda: BlockNgrams(index), "n must be given with an index"),
        (lambda: BlockNgrams(index, 0), "n must be at least 1"),
        (lambda: BlockNgrams(index, 2.5), "n must be an integer"),
        (lambda: BlockNgrams([[1, 2], [3]]), "the blocked n-grams must be of length n = 2, got one of 1"),
        (lambda: BlockNgrams([[1, 2]], 3), "the blocked n-grams must be of length n = 3, got one of 2"),
        (lambda: BlockNgrams([[]]), "the blocked sequences must be sequences of at least one token"),
        (lambda: BlockNgrams([]), "the blocked sequences must be at least one sequence"),
        (lambda: BlockNgrams(index.core, 2), "the index must be an FMIndex, got Index; "),
        (lambda: dw.search.InCorpus([index]), r"the index must be an FMIndex, got list; FMIndex.open\(\[…\]\)"),
    ]:
        with pytest.raises(dw.InvalidArgument, match=message):
            make()
