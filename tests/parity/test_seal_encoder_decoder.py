"""SEAL where it comes from: an encoder reads the marked query, a decoder says n-grams of the corpus."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import draftwood as dw
from draftwood import _core
from draftwood.executors.encoder_decoder import EncoderDecoderExecutor
from support import seal as reference
from support.seq2seq import VOCAB, decoder_logits, sources, tiny

START, PLUS, BODY, TITLE = 1, 2, 3, 4
TITLE_END = (8, 9)


def corpus(seed, count):
    """Documents of few tokens, so that n-grams repeat; different titles in front of them."""
    rng = np.random.default_rng(seed)
    documents = []
    for d in range(count):
        title = [100 + d, *rng.integers(90, 100, d % 2).tolist()]
        documents.append([*title, *TITLE_END, *rng.integers(20, 40, int(rng.integers(4, 16))).tolist()])
    return documents


def marked(kind):
    """The paper's marked inputs for a query of ids."""
    return lambda query: [*query, kind, PLUS]


def asked(engine, index, params):
    prompts = {"body_prompt": marked(BODY), "title_prompt": marked(TITLE), "score_prompt": lambda query: query}
    return dw.Seal(engine, index, params, **prompts)


def expected_keys(model, documents, query, p):
    """The searches by masks over whole vocabularies, each row from a full run of the module without a cache; n-grams of
    the body are scored again under the bare query."""

    def rows(source):
        return lambda ids: decoder_logits(model, source, [START, *ids])[-1].numpy()

    body = reference.search(documents, rows(marked(BODY)(query)), beam=p.beam, length=p.length)
    for ids in body:
        said = decoder_logits(model, query, [START, *ids]).numpy()
        body[ids] = sum(reference.log_softmax(row)[token] for row, token in zip(said, ids, strict=False))
    sizes = {"beam": p.beam, "length": p.title_length, "anchored": True, "title_end": TITLE_END}
    titles = reference.search(documents, rows(marked(TITLE)(query)), **sizes)
    return {(False, ids): score for ids, score in body.items()} | {(True, ids): score for ids, score in titles.items()}


@pytest.mark.parametrize("family", ["bart", "t5", "marian"])
def test_keys_and_scores_equal_the_formulas(family, tmp_path):
    documents = corpus(1, 10)
    model = tiny(family, seed=3, scale=3.0)
    index = dw.FMIndex.build(documents, path=tmp_path / "a.dwx", title_end=TITLE_END)
    params = dw.SealParams(beam=3, length=4, title_length=5, smoothing=0.5)
    queries = sources(family, 2, seed=5)
    with dw.Engine(model, drafter=None) as engine:
        seal = asked(engine, index, params)
        told, answers = seal.keys(queries), seal.search(queries, k=99)
        # Each prompt is read once, though its text and its keys are several searches: 3 prompts, 2 queries, 2 calls.
        assert engine.executor.encoder_runs == 12
        assert not engine.executor.sources
        stats = engine.stats()
        assert stats.pages_free == stats.pages_total
    for query, keys, found in zip(queries, told, answers, strict=True):
        expected = expected_keys(model, documents, query, params)
        first = reference.log_softmax(decoder_logits(model, marked(BODY)(query), [START])[-1].numpy())
        reference.check(documents, expected, first, params, keys, found)


def test_every_generated_ngram_occurs(tmp_path):
    documents = corpus(2, 30)
    index = dw.FMIndex.build(documents, path=tmp_path / "a.dwx", title_end=TITLE_END)
    with dw.Engine(tiny("bart"), drafter=None) as engine:
        keys = asked(engine, index, dw.SealParams()).keys([50, 51, 52])
    assert len(keys) > 100
    assert sum(key.is_title for key in keys) >= 10
    assert all(reference.count(documents, key.token_ids, key.is_title) for key in keys)


def trained(documents, steps):
    """A tiny BART that has learnt to say spans and titles of the document whose number it reads."""
    model = tiny("bart", scale=1.0).train()
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    rng, size = np.random.default_rng(0), 6
    for _ in range(steps):
        read, said = [], []
        for d in rng.integers(0, len(documents), 32).tolist():
            text, kind = documents[d], BODY if rng.random() < 0.6 else TITLE
            title = text.index(TITLE_END[-1]) + 1
            at = int(rng.integers(title, len(text) - 1)) if kind == BODY else 0
            span = text[at : at + size] if kind == BODY else text[:title]
            read.append([200 + d, kind, PLUS])
            said.append([*span, *[-100] * (size - len(span))])
        ids, labels = torch.tensor(read), torch.tensor(said)
        begin = torch.cat([torch.full((32, 1), START), labels[:, :-1].clamp(min=0)], 1)
        loss = model(input_ids=ids, decoder_input_ids=begin, labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval()


def test_a_model_that_was_trained_finds_every_document(tmp_path):
    rng = np.random.default_rng(7)
    documents = [[100 + d, *TITLE_END, *rng.integers(20, 80, 14).tolist()] for d in range(12)]
    torch.manual_seed(0)
    with torch.random.fork_rng():
        model = trained(documents, 220)
    index = dw.FMIndex.build(documents, path=tmp_path / "a.dwx", title_end=TITLE_END)
    queries = [[200 + d] for d in range(12)]
    with dw.Engine(model, drafter=None) as engine:
        for settings in ({}, {"decode_titles": False}, {"decode_body": False, "unigram_scores": False}):
            prompts = {"body_prompt": marked(BODY), "title_prompt": marked(TITLE)}
            found = dw.Seal(engine, index, dw.SealParams(beam=4, length=6, **settings), **prompts).search(queries, k=1)
            assert [one[0].document for one in found] == list(range(12)), settings


class Letters:
    """A tokenizer of single letters."""

    fingerprint = "ab" * 32
    stop_ids = ()
    chat_template = None

    def __init__(self):
        self.token_bytes = _core.TokenBytes.from_bytes([bytes([i]) for i in range(VOCAB)], [])

    def encode(self, text):
        return np.frombuffer(text.encode("latin-1"), np.uint8).astype(np.int32)

    def encode_plain(self, texts):
        return [self.encode(text) for text in texts]

    def decode(self, ids):
        return bytes(int(i) for i in ids).decode("latin-1")


def test_an_encoder_reads_the_papers_marks_unless_prompts_are_given(tmp_path):
    documents = [("a", "Rome", "Rome is in Italy"), ("b", "Oslo", "Oslo is in Norway")]
    index = dw.FMIndex.build(documents, path=tmp_path / "a.dwx", tokenizer=Letters())
    with dw.Engine(EncoderDecoderExecutor(tiny("bart")), Letters(), drafter=None) as engine:
        encode, read = engine.executor.encode, []

        def spy(inputs):
            read.append(bytes(inputs["input_ids"].astype(np.uint8)).decode("latin-1"))
            return encode(inputs)

        engine.executor.encode = spy
        params = dw.SealParams(beam=2, length=3, title_length=6, use_fm_index_frequency=False)
        assert dw.Seal(engine, index, params).search("where is Oslo", k=1)
        assert set(read) == {" where is Oslo || body || +", " where is Oslo || title || +", " where is Oslo"}
        read.clear()
        assert dw.Seal(engine, index, params, body_prompt="{query}?", title_prompt="{query}!").search("Oslo", k=1)
        assert sorted(read) == ["Oslo!", "Oslo?"]


def test_what_an_encoder_cannot_read_is_named(tmp_path):
    index = dw.FMIndex.build([[20, 21, 22]], path=tmp_path / "a.dwx")
    with dw.Engine(tiny("bart"), drafter=None) as engine:
        seal = dw.Seal(engine, index, dw.SealParams(beam=2, use_fm_index_frequency=False))
        for query, words in [
            ([], "the prompt must be at least one token for the encoder"),
            ([256], "a prompt id must be below the encoder's vocabulary size 256"),
            ([5] * 129, "the prompt must be at most 128 tokens"),
        ]:
            with pytest.raises(dw.InvalidArgument, match=words):
                seal.search([query])
        with pytest.raises(dw.UnsupportedModel, match="tokenizer"):
            seal.search("text")
        # What was refused holds nothing, and the engine goes on.
        assert seal.search([[5, 6]], k=1)[0]
