"""Small corpora, and a toy model that is asked for their n-grams."""

from __future__ import annotations

import numpy as np

import draftwood as dw
from support import seal as reference
from support.toy import Oracle

V = 24
TITLE_END = (22, 23)


def corpus(seed, count=12, with_titles=True):
    """Documents of few tokens, so that n-grams repeat; titles in front of them, all different."""
    rng = np.random.default_rng(seed)
    documents = []
    for d in range(count):
        body = rng.integers(0, 9, int(rng.integers(3, 20))).tolist()
        title = [10 + d % 10, *rng.integers(10, 20, d // 10 + 1).tolist()] if with_titles else []
        documents.append([*title, *(TITLE_END if with_titles else ()), *body])
    return documents


def build(documents, path, parts=1, title_end=TITLE_END):
    cuts = np.linspace(0, len(documents), parts + 1).astype(int)
    paths = [f"{path}-{i}.dwx" for i in range(parts)]
    for one, a, b in zip(paths, cuts, cuts[1:], strict=False):
        dw.FMIndex.build(documents[a:b], path=one, title_end=title_end)
    return dw.FMIndex.open(paths)


def engine(**more):
    return dw.testing.toy_engine(V, drafter=None, context_weight=2.0, **more)


QUERY = [3, 1, 4, 1, 5]
TITLE_PROMPT = {"title_prompt": lambda query: [*query, 21]}


def expected_keys(documents, p, compat=False):
    """By masks over the vocabulary; `compat`: no title leads to the last document."""
    oracle = Oracle(vocab_size=V, context_weight=2.0)
    sizes = {"beam": p.beam, "stop_at_count": p.stop_at_count}
    body = reference.search(documents, lambda ids: oracle.logits([*QUERY, *ids]), length=p.length, **sizes)
    sizes |= {"anchored": True, "title_end": TITLE_END, "partial": p.partial_titles}
    sizes |= {"length": p.title_length, "unreached": documents[-1] if compat else ()}
    titles = reference.search(documents, lambda ids: oracle.logits([*QUERY, 21, *ids]), **sizes)
    keys = {(False, ids): score for ids, score in body.items()}
    return keys | {(True, ids): score for ids, score in titles.items()}
