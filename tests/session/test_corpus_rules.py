"""Rules about a corpus in the engine: texts and beams are those of masks made by scans over its documents."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import draftwood as dw
from draftwood.loading import Parts
from draftwood.models.toy import ToyExecutor
from support.toy import Oracle, prompts

VOCAB, END = 48, 3
SIZES = {"vocab_size": VOCAB, "context_weight": 0.3}
ORACLE = Oracle(**SIZES)
GREEDY = dw.SamplingParams(max_new_tokens=16)


def engine(**options):
    return dw.Engine(Parts(ToyExecutor(max_context=512, **SIZES), "toy", (END,)), **options)


def corpus(seed, count=12, longest=30):
    """Documents of few tokens, so that n-grams repeat; some tokens are none of the model's."""
    rng = np.random.default_rng(seed)
    return [rng.integers(4, VOCAB + 2, int(rng.integers(1, longest))).tolist() for _ in range(count)]


def built(documents, folder, files=1):
    paths = [folder / f"{i}.dwx" for i in range(files)]
    for i, path in enumerate(paths):
        dw.FMIndex.build(documents[i * len(documents) // files : (i + 1) * len(documents) // files], path=path)
    return dw.FMIndex.open(paths)


def following(documents, said, anchored=False):
    """What follows in the documents, by looking through them; the end token where one ends."""
    said, found = list(said), set()
    for document in documents:
        for at in range(1 if anchored else len(document) + 1):
            if document[at : at + len(said)] == said:
                end = at + len(said)
                found |= {document[end]} if end < len(document) else {END} if said else set()
    return sorted(token for token in found if token < VOCAB)


def slow(documents, prompt, n=16, anchored=False, ends=True):
    """Greedy decoding with a mask over the row."""
    text, new = list(prompt), []
    while len(new) < n:
        listed = [token for token in following(documents, new, anchored) if ends or token != END]
        if not listed:
            return new, "constraint"
        row = np.full(VOCAB, -np.inf)
        row[listed] = np.array(ORACLE.logits(text))[listed]
        new.append(int(np.argmax(row)))
        text.append(new[-1])
        if new[-1] == END:
            return new, "stop"
    return new, "length"


def by_scan(documents, prompt, anchored=False):
    """The same rule as a function in Python, which knows no index."""
    return dw.search.AllowedPrefix(lambda ids: following(documents, ids[len(prompt) :], anchored))


def same_beams(ours, theirs):
    assert [(h.token_ids.tolist(), h.score, h.finish_reason) for h in ours] == [
        (h.token_ids.tolist(), h.score, h.finish_reason) for h in theirs
    ]


@pytest.mark.parametrize("files", [1, 3])
@pytest.mark.parametrize("anchored", [False, True])
def test_greedy_texts_are_those_of_a_mask(files, anchored, tmp_path):
    documents = corpus(files, longest=30 if anchored else 60)
    rule = dw.search.InCorpus(built(documents, tmp_path, files), anchored=anchored)
    reasons, free = set(), 0
    for options in ({}, {"draft_policy": "always"}, {"drafter": None}):
        with engine(**options) as e:
            some = prompts(6, VOCAB, seed=5)
            for ends in (True, False):
                params = dataclasses.replace(GREEDY, processors=[rule], ignore_eos=not ends)
                for prompt, out in zip(some, e.generate(some, params), strict=True):
                    assert (out.token_ids.tolist(), out.finish_reason) == slow(documents, prompt, 16, anchored, ends)
                    reasons.add(out.finish_reason)
                    free += ORACLE.greedy(prompt, 16, ends=(END,)) == out.token_ids.tolist()
    assert reasons >= {"stop", "constraint"} | (set() if anchored else {"length"})
    assert not free  # the model alone says something else


@pytest.mark.parametrize("drafter", ["auto", None])
def test_samples_are_those_of_a_mask(drafter, tmp_path):
    documents = corpus(7)
    index = built(documents, tmp_path, 2)
    params = dw.SamplingParams(max_new_tokens=10, temperature=1.5, top_p=0.9, seed=4, n=5)
    different = set()
    with engine(drafter=drafter, draft_policy="always" if drafter else "auto") as e:
        for prompt in prompts(4, VOCAB, seed=6):
            rules = dw.search.InCorpus(index), by_scan(documents, prompt)
            ours, theirs = (e.generate(prompt, dataclasses.replace(params, processors=[rule])) for rule in rules)
            for mine, its in zip(ours.samples, theirs.samples, strict=True):
                assert mine.token_ids.tolist() == its.token_ids.tolist()
                said = [token for token in mine.token_ids.tolist() if token != END]
                assert index.count(said) > 0
                different.add(tuple(said))
    assert len(different) > 10


@pytest.mark.parametrize(
    "variant",
    [
        {},
        {"num_beam_groups": 2, "diversity_penalty": 0.5},
        {"do_sample": True, "temperature": 1.5, "seed": 3},
        {"stochastic": "sequences", "seed": 5},
        {"no_repeat_ngram_size": 1, "repetition_penalty": 1.3},
    ],
    ids=["plain", "diverse", "drawn", "stochastic", "penalised"],
)
@pytest.mark.parametrize("anchored", [False, True])
def test_beams_are_those_of_a_mask(variant, anchored, tmp_path):
    documents = corpus(9)
    index = built(documents, tmp_path, 2)
    params = dw.BeamParams(num_beams=4, num_return=4, max_new_tokens=8, **variant)
    finished = set()
    with engine() as e:
        for prompt in prompts(8, VOCAB, seed=7):
            rules = dw.search.InCorpus(index, anchored=anchored), by_scan(documents, prompt, anchored)
            ours, theirs = (e.beam_search(prompt, dataclasses.replace(params, processors=[rule])) for rule in rules)
            same_beams(ours, theirs)
            for beam in ours:
                said = [token for token in beam.token_ids.tolist() if token != END]
                assert index.count(said, anchored=anchored) > 0
                finished.add(beam.finish_reason)
    assert "stop" in finished


def test_speculative_beams_are_the_same_in_fewer_forwards(tmp_path):
    documents = corpus(11, count=4, longest=60)
    rule = dw.search.InCorpus(built(documents, tmp_path))
    params = dw.BeamParams(num_beams=3, num_return=3, max_new_tokens=20, processors=[rule], ignore_eos=True)
    saved = 0
    with engine(draft_policy="always") as fast, engine(drafter=None) as plain:
        for prompt in prompts(6, VOCAB, seed=2):
            ours, theirs = fast.beam_search(prompt, params), plain.beam_search(prompt, params)
            same_beams(ours, theirs)
            assert ours.stats.speculation == "on"
            saved += ours.stats.beam_steps - ours.stats.steps
    assert saved > 0


def test_where_nothing_follows_the_text_ends(tmp_path):
    index = built([[5, 6]], tmp_path)
    rule = dw.search.InCorpus(index)
    with engine() as e:
        params = dataclasses.replace(GREEDY, processors=[rule, dw.search.Trie([[5, 6, 7]])], ignore_eos=True)
        out = e.generate([1], params)
        assert (out.token_ids.tolist(), out.finish_reason) == ([5, 6], "constraint")
        beams = e.beam_search([1], dw.BeamParams(num_beams=2, max_new_tokens=5, ignore_eos=True, processors=[rule]))
        assert [(h.token_ids.tolist(), h.finish_reason) for h in beams] == [([5, 6], "constraint")]
        # A text may end where a document ends, but not before it has begun.
        beams = e.beam_search([1], dw.BeamParams(num_beams=4, num_return=4, max_new_tokens=5, processors=[rule]))
        assert sorted(h.token_ids.tolist() for h in beams) == [[5, 6, END], [6, END]]


def test_everything_blocked_ends_the_text(tmp_path):
    rng = np.random.default_rng(0)
    index = built([rng.permutation(VOCAB).tolist()], tmp_path)
    with engine() as e:
        for n, most in ((1, 0), (2, 16)):
            rule = dw.search.BlockNgrams(index, n)
            out = e.generate([1], dataclasses.replace(GREEDY, processors=[rule], ignore_eos=True))
            assert (len(out.token_ids), out.finish_reason) == (most, "constraint" if n == 1 else "length")
            beams = e.beam_search([1], dw.BeamParams(max_new_tokens=4, processors=[rule]))
            assert (beams[0].finish_reason == "constraint") == (n == 1)
        every = built([[a, b] for a in range(VOCAB) for b in range(VOCAB)], tmp_path)
        out = e.generate([1], dataclasses.replace(GREEDY, processors=[dw.search.BlockNgrams(every, 2)]))
        assert (out.token_ids.tolist(), out.finish_reason) == ([], "constraint")


def test_ngrams_longer_than_every_document_block_nothing(tmp_path):
    with engine(draft_policy="always") as e:
        some = prompts(4, VOCAB, seed=3)
        free = e.generate(some, GREEDY)
        documents = [out.token_ids.tolist() for out in free]
        index = built([[*prompt, *said][:20] for prompt, said in zip(some, documents, strict=True)], tmp_path)
        rule = dw.search.BlockNgrams(index, 21)
        for prompt, out in zip(some, free, strict=True):
            ours = e.generate(prompt, dataclasses.replace(GREEDY, processors=[rule]))
            assert ours.token_ids.tolist() == out.token_ids.tolist()
            beams = dw.BeamParams(num_beams=3, num_return=3, max_new_tokens=8)
            same_beams(
                e.beam_search(prompt, dataclasses.replace(beams, processors=[rule])), e.beam_search(prompt, beams)
            )


class Letters:
    """A tokenizer as far as an index asks it."""

    def __init__(self, fingerprint):
        self.fingerprint = fingerprint

    def encode_plain(self, texts):
        return [np.frombuffer(text.encode(), np.uint8).astype(np.int32) % 40 + 4 for text in texts]


@pytest.mark.parametrize("make", [dw.search.InCorpus, lambda index: dw.search.BlockNgrams(index, 2)])
def test_an_index_of_another_tokenizer_is_refused(make, tmp_path):
    index = dw.FMIndex.build(["abcab"], path=tmp_path / "a.dwx", tokenizer=Letters("ab" * 32))
    rule = make(index)
    params = dw.SamplingParams(max_new_tokens=2, processors=[dw.processors.MinLength(1, [END]), rule])
    beams = dw.BeamParams(max_new_tokens=2, processors=[rule])
    with engine() as e:
        assert len(e.generate([1], params).token_ids) == 2  # an engine without a tokenizer takes any
        e.tokenizer = Letters("cd" * 32)
        for call in (
            lambda: e.generate([1], params),
            lambda: e.generate([[1], [2]], params),
            lambda: e.stream([1], params),
            lambda: e.beam_search([1], beams),
        ):
            with pytest.raises(dw.IndexFormatError, match="built with the tokenizer cdcdcdcdcdcd…, got abababababab…"):
                call()
        stats = e.stats()
        assert stats.pages_free == stats.pages_total


@pytest.mark.parametrize("make", [dw.search.InCorpus, lambda index: dw.search.BlockNgrams(index, 2)])
def test_a_damaged_index_ends_its_text_with_an_error(make, tmp_path):
    built(corpus(13, 40), tmp_path)
    path = tmp_path / "0.dwx"
    data = bytearray(path.read_bytes())
    data[4096:8192] = bytes(byte ^ 1 for byte in data[4096:8192])  # the first section
    path.write_bytes(data)
    params = dataclasses.replace(GREEDY, processors=[make(dw.FMIndex.open(path))])
    with engine() as e:
        with pytest.raises(dw.IndexFormatError):
            e.generate([9], params)
        bad, good = e.generate([[9], [9]], [params, GREEDY])
        assert isinstance(bad.error, dw.IndexFormatError) and bad.finish_reason == "error"
        assert good.token_ids.tolist() == ORACLE.greedy([9], 16, ends=(END,))
        with pytest.raises(dw.IndexFormatError):
            e.beam_search([9], dw.BeamParams(max_new_tokens=4, processors=[make(dw.FMIndex.open(path))]))
        stats = e.stats()
        assert stats.pages_free == stats.pages_total
