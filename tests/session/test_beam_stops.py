"""Stop strings end beams, as a slow search with stops does."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import draftwood as dw
from draftwood import _core
from draftwood.loading import Parts
from draftwood.models.toy import ToyExecutor
from support.beam_engine import PARAMS, draw, engine
from support.beams import log_softmax
from support.toy import Oracle
from support.variants import search


class Letters:
    """Eight tokens with letters, some of several."""

    SPELLED = (b"a", b"b", b"ab", b"ba", b"c", b"cab", b"", b"aa")

    def __init__(self):
        self.token_bytes = _core.TokenBytes.from_bytes(list(self.SPELLED), [])

    def decode(self, ids):
        return b"".join(self.SPELLED[int(i)] for i in ids).decode()


@pytest.mark.parametrize("groups", [1, 2])
def test_stop_strings_end_beams(groups):
    sizes = {"vocab_size": 8, "context_weight": 0.8}
    oracle, letters = Oracle(**sizes), Letters()
    stopped = total = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        stop = [["c", "bab"], ["ab"], ["aa", "cb"]][seed % 3]
        params = dataclasses.replace(
            draw(rng),
            num_beams=2 * groups * int(rng.integers(1, 3)),
            num_return=2 * groups,
            num_beam_groups=groups,
            eos_token_id=[6],
            stop=stop,
            min_new_tokens=int(rng.integers(0, 3)),
            max_new_tokens=8,
        )
        prompt = rng.integers(0, 8, 5).tolist()

        def row(tokens, prompt=prompt):
            return log_softmax(oracle.logits([*prompt, *tokens]))

        def halts(tokens, stop=stop, least=params.min_new_tokens):
            # An occurrence that ends in the last token: one that was complete before has not ended the text.
            text, before = letters.decode(tokens), len(letters.decode(tokens[:-1]))
            return len(tokens) >= least and any(text.find(one, max(0, before - len(one) + 1)) >= 0 for one in stop)

        parts = Parts(ToyExecutor(max_context=256, **sizes), "toy", (6,), tokenizer=letters)
        with dw.Engine(parts) as e:
            found = e.beam_search(prompt, params)
        reference, margin = search(row, params, [6], 8, stops=halts)
        if margin < 1e-5:
            continue
        assert [h.token_ids.tolist() for h in found] == [list(tokens) for tokens, *_ in reference]
        for h, (_, score, _, _) in zip(found, reference, strict=True):
            total += 1
            assert abs(h.score - score) < 1e-4
            if isinstance(h.stop_reason, str):
                stopped += 1
                whole = letters.decode(h.token_ids)
                before = len(letters.decode(h.token_ids[:-1]))
                at = whole.find(h.stop_reason, max(0, before - len(h.stop_reason) + 1))
                assert h.text == whole[:at]
                assert h.finish_reason == "stop"
                assert not any(one in h.text for one in stop) or params.min_new_tokens
    assert 0.15 * total < stopped < total


def test_stop_strings_need_a_tokenizer():
    with engine() as e, pytest.raises(dw.UnsupportedModel, match="a stop string without a tokenizer"):
        e.beam_search([1], dataclasses.replace(PARAMS, stop="x"))
    parts = Parts(ToyExecutor(max_context=256, vocab_size=8), "toy", (6,), tokenizer=Letters())
    with dw.Engine(parts) as e:
        for fields, words in [({"stop": [3]}, "stop must be strings"), ({"stop": [""]}, "stop")]:
            with pytest.raises(dw.InvalidArgument, match=words):
                e.beam_search([1], dataclasses.replace(PARAMS, eos_token_id=6, **fields))
