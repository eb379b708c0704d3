"""SEAL on an engine: equal to the formulas, exact about the corpus, and right when the model is."""

from __future__ import annotations

import numpy as np
import pytest

import draftwood as dw
from draftwood import _core
from support import seal as reference
from support.scripted import ScriptedExecutor
from support.seal_toy import QUERY, TITLE_END, TITLE_PROMPT, V, build, corpus, engine, expected_keys
from support.toy import Oracle


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"use_fm_index_frequency": False},
        {"single_key": 1.0, "beta": 0.0},
        {"single_key": 0.3, "length_penalty": 0.2, "unigram_scores": False, "fully_score": 4},
        {"add_best_unigrams_to_ngrams": False, "use_top_k_unigrams": 7, "max_hits": 3, "score_exponent": 1.0},
    ],
)
@pytest.mark.parametrize("parts", [1, 3])
def test_scores_equal_the_formulas(settings, parts, tmp_path):
    documents = corpus(1)
    params = dw.SealParams(beam=4, length=5, title_length=6, smoothing=0.5, **settings)
    with engine() as model:
        seal = dw.Seal(model, build(documents, tmp_path / "a", parts), params, **TITLE_PROMPT)
        keys, found = seal.keys(QUERY), seal.search(QUERY, k=99)
    expected = expected_keys(documents, params)
    assert sum(anchored for anchored, _ in expected) >= 4
    assert {(key.is_title, key.token_ids) for key in keys} == set(expected)
    for key in keys:
        assert key.log_prob == pytest.approx(expected[key.is_title, key.token_ids], abs=1e-4)
    first = reference.log_softmax(Oracle(vocab_size=V, context_weight=2.0).logits(QUERY))
    told = {(key.is_title, key.token_ids): key.log_prob for key in keys}
    scores = reference.rank(documents, told, first if params.unigram_scores else None, params)
    assert {passage.document for passage in found} == set(scores)
    for passage in found:
        assert passage.score == pytest.approx(scores[passage.document], rel=1e-4)
    assert [passage.score for passage in found] == sorted((passage.score for passage in found), reverse=True)


def test_every_generated_ngram_occurs_and_says_how_it_counts(tmp_path):
    documents = corpus(2, count=30)
    with engine() as model:
        seal = dw.Seal(model, build(documents, tmp_path / "a"), **TITLE_PROMPT)
        keys, found = seal.keys(QUERY), seal.search(QUERY, k=5)
    assert len(keys) > 100
    assert all(reference.count(documents, key.token_ids, key.is_title) for key in keys)
    assert all(key.token_ids[-2:] == TITLE_END for key in keys if key.is_title)
    for passage in found:
        text = documents[passage.document]
        for one in passage.evidence:
            assert reference.count([text], one.token_ids, one.is_title), one
            assert 0 < one.added <= one.weight
        weights = [one.weight for one in passage.evidence]
        assert weights == sorted(weights, reverse=True)


def test_scores_do_not_depend_on_order_cuts_or_company(tmp_path):
    documents = corpus(3)
    with engine() as model:

        def scores(documents, name, parts=1, queries=(QUERY,)):
            params = dw.SealParams(beam=5)
            seal = dw.Seal(model, build(documents, tmp_path / name, parts), params, **TITLE_PROMPT)
            found = seal.search(list(queries), k=99)[0]
            return {tuple(documents[one.document]): one.score for one in found}

        whole = scores(documents, "whole")
        assert whole
        for other in (
            scores(documents[::-1], "reversed"),
            scores(documents, "parts", parts=4),
            scores(documents, "batch", queries=(QUERY, [7, 7], [2] * 30, [9])),
        ):
            assert other.keys() == whole.keys()
            for text, score in whole.items():
                assert other[text] == pytest.approx(score, rel=1e-9)


def test_the_step_is_a_masked_top_k_bit_for_bit(tmp_path):
    documents = corpus(4, count=40, with_titles=False)
    index = build(documents, tmp_path / "a", parts=2, title_end=None)
    rng = np.random.default_rng(0)
    sizes = {"anchored": False, "title_end": [], "end": None, "stop_at_count": 0, "without_last_document": False}
    search = _core.CorpusSearch(index.core, beam=6, length=4, **sizes)
    live = [((), np.float32(0))]
    for _ in range(4):
        rows = np.round(rng.normal(0, 2, (len(live), V)), 1).astype(np.float32)  # coarse: many are equal
        candidates = []
        for (ids, score), row in zip(live, rows, strict=True):
            masked = np.full(V, -np.inf, np.float32)
            allowed = index.next_tokens(ids)[0]
            masked[allowed] = score + row[allowed]
            candidates += [((*ids, token), masked[token]) for token in np.flatnonzero(masked > -np.inf).tolist()]
        candidates.sort(key=lambda one: -one[1])  # stable: of equals the lower flat index
        live = candidates[:6]
        told = search.step(rows, range(len(rows)), "log_probs")
        if told:
            assert [(token, np.float32(score)) for _, token, score in told] == [(ids[-1], score) for ids, score in live]
    assert search.done


def scripted(documents, gold_of):
    """A model that, whatever it was asked, says n-grams of the gold document: the first token of a query names it."""

    def script(text):
        gold, said = documents[gold_of[text[0]]], text[2:]
        logits = np.zeros(200)
        for at in range(len(gold) - len(said)):
            if gold[at : at + len(said)] == said:
                logits[gold[at + len(said)]] = 6.0
        return logits

    return dw.Engine(ScriptedExecutor(200, script), drafter=None)


def test_a_model_that_knows_finds_every_document(tmp_path):
    rng = np.random.default_rng(5)
    words = rng.integers(0, 60, (40, 30))
    documents = [[100 + d, 100 + (d * 7) % 40, 198, 199, *text] for d, text in enumerate(words.tolist())]
    index = build(documents, tmp_path / "a", title_end=(198, 199))
    with scripted(documents, dict(enumerate(range(40)))) as model:
        queries = [[d, 197] for d in range(40)]
        for settings in ({}, {"decode_titles": False}, {"decode_body": False, "unigram_scores": False}):
            seal = dw.Seal(model, index, dw.SealParams(**settings))
            found = seal.search(queries, k=1)
            assert [one[0].document for one in found] == list(range(40)), settings


def test_the_last_document_has_no_title_in_the_papers_code(tmp_path):
    documents = corpus(6)
    index = build(documents, tmp_path / "a")
    titles = {tuple(text[: text.index(23) + 1]) for text in documents}
    with engine() as model:
        for compat, expected in (
            (False, titles),
            (True, titles - {tuple(documents[-1][:4]), tuple(documents[-1][:5])}),
        ):
            params = dw.SealParams(beam=20, title_length=8)
            keys = dw.Seal(model, index, params, compat=compat, **TITLE_PROMPT).keys(QUERY)
            assert {key.token_ids for key in keys if key.is_title} == expected


def test_keys_are_scored_again_under_another_prompt(tmp_path):
    documents = corpus(7, with_titles=False)
    oracle = Oracle(vocab_size=V, context_weight=2.0)
    with engine() as model:
        index = build(documents, tmp_path / "a", title_end=None)
        params = dw.SealParams(beam=6, length=4)
        seal = dw.Seal(model, index, params, score_prompt=lambda query: [8, *query])
        keys = seal.keys(QUERY)
        assert {key.token_ids for key in keys} == {key.token_ids for key in dw.Seal(model, index, params).keys(QUERY)}
    for key in keys:
        steps = [
            reference.log_softmax(oracle.logits([8, *QUERY, *key.token_ids[:i]])) for i in range(len(key.token_ids))
        ]
        total = sum(row[token] for row, token in zip(steps, key.token_ids, strict=True))
        assert key.log_prob == pytest.approx(total, abs=1e-4)


def test_what_does_not_fit_is_named(tmp_path):
    documents = corpus(8)
    index = build(documents, tmp_path / "a")
    tiny = dw.FMIndex.build(documents, path=tmp_path / "tiny.dwx", tier="tiny")
    with engine(max_context=32) as model:
        for make, message in [
            (lambda: dw.Seal(model, tiny), "the tier of the index must be compact, standard or fast, got tiny"),
            (lambda: dw.Seal(model, index, dw.SealParams(beam=0)), "beam must be at least 1, got 0"),
            (
                lambda: dw.Seal(model, index, dw.SealParams(beam=900)),
                "beam must be at most 512 for this engine",
            ),
            (lambda: dw.Seal(model, index, dw.SealParams(beta=1.5)), "beta must be 0 … 1, got 1.5"),
            (lambda: dw.Seal(model, index, dw.SealParams(rescore=1)), "rescore must be True or False, got 1"),
            (lambda: dw.Seal(model, index, dw.SealParams(smoothing=-1.0)), "smoothing must be 0 or more, got -1"),
            (lambda: dw.Seal(model, None), "index must be an FMIndex, got NoneType; FMIndex.open opens a file"),
            (lambda: dw.Seal(None, index), "engine must be an Engine, got NoneType; Engine.load loads a model"),
            (lambda: dw.Seal(model, index, {"beam": 3}), "params must be a SealParams, got dict"),
            (lambda: dw.Seal(model, index, compat="no"), "compat must be True or False, got 'no'"),
            (lambda: dw.Seal(model, index, body_prompt=3), "body_prompt must be a string, a function of the query"),
            (lambda: dw.Seal(model, index, dw.SealParams(beam=2.5)), "beam must be an integer, got 2.5"),
            (lambda: dw.Seal(model, index, dw.SealParams(beta=float("nan"))), "beta must be 0 … 1, got nan"),
            (lambda: dw.Seal(model, index, dw.SealParams(beta=None)), "beta must be a number, got None"),
            (lambda: dw.Seal(model, index, dw.SealParams(smoothing=10**400)), "smoothing must be a number, got 1000"),
            (lambda: dw.Seal(model, index, dw.SealParams(max_hits=2**70)), "max_hits must be 0 …"),
            (lambda: dw.Seal(model, index).search([1], k="x"), "k must be an integer, got 'x'"),
            (lambda: dw.Seal(model, index).search(None), "prompt must be a string, ids"),
            (lambda: dw.Seal(model, index).search([1.5]), "prompt ids must be integers"),
            (lambda: dw.Seal(model, index).search([]), "prompt must be at least one token"),
            (lambda: dw.Seal(model, index).search([1] * 32), "the prompt of a query must be shorter than the model's"),
            (lambda: dw.Seal(model, index).search([1], k=-1), "k must be 0 …"),
        ]:
            with pytest.raises(dw.InvalidArgument, match=message):
                make()
        with pytest.raises(dw.OutOfPages, match="45 pages needed"):
            dw.Seal(model, index).search([1] * 29)
        with pytest.raises(dw.UnsupportedModel, match="tokenizer"):
            dw.Seal(model, index).search("text")
        stats = model.stats()
        assert stats.pages_free == stats.pages_total
        # A prompt that leaves room for three tokens gets keys of three.
        keys = dw.Seal(model, index, dw.SealParams(beam=4)).keys([1] * 29)
        assert max(len(key.token_ids) for key in keys) == 3


class Words:
    """A tokenizer of words with the space before them; upper and lower case are different words."""

    fingerprint = "ab" * 32
    stop_ids = ()
    chat_template = None

    def __init__(self, words):
        self.words = [" " + word for word in words]
        self.token_bytes = _core.TokenBytes.from_bytes([word.encode() for word in self.words], [])

    def encode_plain(self, texts):
        return [
            np.array([self.words.index(" " + word) for word in text.split() if " " + word in self.words], np.int32)
            for text in texts
        ]

    def encode(self, text):
        return self.encode_plain([text])[0]

    def decode(self, ids):
        return "".join(self.words[int(i)] for i in ids)


WORDS = Words(["@@", "Paris", "paris", "is", "in", "France", "france", "Rome", "Italy", "rain", "Where", "where"])


def test_text_in_text_out_with_titles_and_spans_of_the_query(tmp_path):
    documents = [("p", "Paris", "Paris is in France"), ("r", "Rome", "Rome is in Italy"), (3, "", "rain in france")]
    index = dw.FMIndex.build(documents, path=tmp_path / "a.dwx", tokenizer=WORDS)
    assert index.title_end == (0,)
    assert index.document(0).text == " Paris @@ Paris is in France"
    assert (index.name(1), index.name(2)) == (("r", "Rome"), ("3", None))
    likes_paris = np.array([3.0 * ("Paris" in word or "France" in word) for word in WORDS.words])
    with dw.Engine(ScriptedExecutor(len(WORDS.words), lambda text: likes_paris), WORDS, drafter=None) as model:
        params = dw.SealParams(beam=3, smoothing=0.1)
        found = dw.Seal(model, index, params, body_prompt="where {query}", title_prompt="{query}").search("paris is")
        assert found[0].id == "p"
        assert found[0].title == "Paris"
        assert found[0].text == index.document(0).text
        # " Paris is" stands in the corpus, the query's own " paris is" does not.
        without = dw.SealParams(decode_body=False, decode_titles=False, unigram_scores=False)
        keys = dw.Seal(model, index, without).keys("paris is, FRANCE")
        assert {key.text for key in keys} == {" Paris", " is", " Paris is"}
        assert not dw.Seal(model, index, dw.SealParams(add_query_to_keys=False)).search("paris", k=0)
    other = Words(["a", "b"])
    other.fingerprint = "cd" * 32
    with (
        dw.Engine(ScriptedExecutor(2, lambda text: [0.0, 0.0]), other, drafter=None) as model,
        pytest.raises(dw.IndexFormatError, match="built with the tokenizer"),
    ):
        dw.Seal(model, index)
