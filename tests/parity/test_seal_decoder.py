"""SEAL on decoder-only models, through both CPU executors: keys and scores by the formulas."""

from __future__ import annotations

import numpy as np
import pytest

import draftwood as dw

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from support import seal as reference  # noqa: E402 - needs torch
from support.hf_tiny import tiny_model  # noqa: E402

VOCAB, MARK = 96, 95
TITLE_END = (8, 9)


def corpus(seed, count):
    """Documents of few tokens, so that n-grams repeat; different titles in front of them."""
    rng = np.random.default_rng(seed)
    return [
        [50 + d, *rng.integers(40, 50, d % 2).tolist(), *TITLE_END, *rng.integers(20, 40, int(n)).tolist()]
        for d, n in enumerate(rng.integers(4, 16, count))
    ]


@pytest.fixture(
    scope="module",
    params=[("llama", "native"), ("llama", "transformers"), ("gpt2", "native")],
    ids=lambda param: "-".join(param),
)
def tiny(request):
    family, executor = request.param
    module = tiny_model(family, VOCAB, seed=1, hidden=48, feed_forward=64, heads=4, kv_heads=2)
    with dw.Engine(module, executor=executor, drafter=None) as engine:
        assert engine.executor.caps.name.startswith(executor)
        yield module, engine


def logits(module, ids):
    """[T, V] by a full run without a cache."""
    with torch.inference_mode():
        return module(torch.tensor([list(ids)]), use_cache=False).logits[0].float().numpy()


def expected_keys(module, documents, query, p):
    """The searches by masks over whole vocabularies; n-grams of the body are scored again under the bare query."""
    body = reference.search(documents, lambda ids: logits(module, [*query, *ids])[-1], beam=p.beam, length=p.length)
    for ids in body:
        rows = logits(module, [MARK, *query, *ids])[len(query) :]
        body[ids] = sum(reference.log_softmax(row)[token] for row, token in zip(rows, ids, strict=False))
    sizes = {"beam": p.beam, "length": p.title_length, "anchored": True, "title_end": TITLE_END}
    titles = reference.search(documents, lambda ids: logits(module, [*query, MARK, *ids])[-1], **sizes)
    return {(False, ids): score for ids, score in body.items()} | {(True, ids): score for ids, score in titles.items()}


def test_keys_and_scores_equal_the_formulas(tiny, tmp_path):
    module, engine = tiny
    documents = corpus(1, 12)
    index = dw.FMIndex.build(documents, path=tmp_path / "a.dwx", title_end=TITLE_END)
    params = dw.SealParams(beam=3, length=4, title_length=5, smoothing=0.5, fully_score=6)
    prompts = {"title_prompt": lambda query: [*query, MARK], "score_prompt": lambda query: [MARK, *query]}
    queries = [np.random.default_rng(seed).integers(0, 90, 3 + 5 * seed).tolist() for seed in range(3)]
    seal = dw.Seal(engine, index, params, **prompts)
    told, answers = seal.keys(queries), seal.search(queries, k=99)
    stats = engine.stats()
    assert stats.pages_free == stats.pages_total
    for query, keys, found in zip(queries, told, answers, strict=True):
        expected = expected_keys(module, documents, query, params)
        first = reference.log_softmax(logits(module, query)[-1])
        reference.check(documents, expected, first, params, keys, found)


def test_every_generated_ngram_occurs_alone_and_beside_other_texts(tiny, tmp_path):
    _, engine = tiny
    documents = corpus(2, 30)
    index = dw.FMIndex.build(documents, path=tmp_path / "a.dwx", title_end=TITLE_END)
    seal = dw.Seal(engine, index, title_prompt=lambda query: [*query, MARK])
    keys = seal.keys([50, 51, 52])
    assert len(keys) > 100
    assert sum(key.is_title for key in keys) >= 10
    assert all(reference.count(documents, key.token_ids, key.is_title) for key in keys)
    # Rows of the native executor do not depend on their company.
    together = seal.keys([[50, 51, 52], [3, 4], [60] * 40])[0]
    if engine.executor.caps.name.startswith("native"):
        assert [(key.token_ids, key.log_prob) for key in together] == [(key.token_ids, key.log_prob) for key in keys]
