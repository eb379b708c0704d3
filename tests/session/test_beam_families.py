"""Every search of the engine is that of the step function: groups, rules, scorers, draws."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import draftwood as dw
from support.beam_engine import ORACLE, PARAMS, engine
from support.beams import assert_close, log_softmax, shape
from support.idle import idle
from support.toy import prompts


class Texts(list):
    def select(self, rows):
        return Texts([list(self[row]) for row in rows])


def step(tokens, texts):
    texts = Texts([[*text, int(token)] for text, token in zip(texts, tokens, strict=True)])
    return np.stack([log_softmax(ORACLE.logits(text)) for text in texts]), texts


class CountsOnes:
    """A scorer that likes even tokens."""

    def log_prob(self, ids):
        return [-sum(token % 2 for token in one) / len(one) for one in ids]

    def accepts(self, ids):
        return ids[0] % 2 == 0


class Even:
    """A rule in Python that counts its states."""

    def init(self, ids):
        return len(ids)

    def fork(self, state):
        return state

    def advance(self, state, token):
        return state + 1

    def mask(self, state):
        return (np.arange(48) % 3 != state % 3) | np.isin(np.arange(48), (3, 17, 40))


FAMILY = {
    "groups": {"num_beam_groups": 2, "diversity_penalty": 0.7},
    "cumulative": {"num_beam_groups": 4, "diversity": "cumulative"},
    "ngram": {"num_beam_groups": 2, "diversity": "ngram"},
    "embedding": {
        "num_beam_groups": 2,
        "diversity": "embedding",
        "diversity_embedding": np.random.default_rng(5).standard_normal((48, 6)).astype(np.float32),
    },
    "trie": {"processors": [dw.search.Trie([[5, 6], [5, 7, 8, 9], [30], [31, 2, 11]])]},
    "phrases": {"processors": [dw.search.Phrases([[10, 11], [[20], [21, 22]]])], "num_beams": 8},
    "blocked": {"processors": [dw.search.BlockNgrams([[a, b] for a in range(48) for b in range(0, 48, 5)], 2)]},
    "scorer": {"scorer": CountsOnes(), "scorer_weight": 2.0},
    "a rule in Python": {"processors": [Even()]},
    "both": {"processors": [dw.search.Phrases([[10, 11]]), Even(), dw.processors.NoRepeatNgrams(2)]},
    "sequences": {"stochastic": "sequences", "seed": 3},
    "first tokens": {"stochastic": "first_token", "seed": 3, "do_sample": True, "top_k": 5},
}


@pytest.mark.parametrize("name", FAMILY)
def test_every_search_of_the_engine_is_that_of_the_step_function(name):
    params = dataclasses.replace(PARAMS, **FAMILY[name])
    some = prompts(5, 48, seed=20)
    changed = 0
    with engine(cache=dw.CacheConfig(page_size=4)) as e:
        for prompt, ours in zip(some, e.beam_search(some, params), strict=True):
            functional = dataclasses.replace(params, bos_token_id=prompt[-1])
            if prompt[:-1] and (params.processors or params.stochastic):
                # A rule sees the prompt and noise knows positions, of which a step function has one token.
                start = [prompt[-1]]
                ours = e.beam_search(start, params)
                found = dw.search.beam(step, Texts([[]]), functional)
            else:
                found = dw.search.beam(step, Texts([prompt[:-1]]), functional)
            assert_close(shape(ours), shape(found))
            assert [h.group for h in ours] == [h.group for h in found]
            for a, b in zip(ours, found, strict=True):
                assert abs(a.raw_score - b.raw_score) < 1e-4
                assert (a.log_weight is None) == (b.log_weight is None)
            changed += shape(ours) != shape(e.beam_search(prompt, PARAMS))
        assert idle(e)
    assert changed == 5


@pytest.mark.parametrize("name", ["groups", "sequences", "trie"])
def test_a_batch_of_the_family_equals_its_prompts_alone(name):
    params = dataclasses.replace(PARAMS, **FAMILY[name])
    some = prompts(4, 48, seed=21)
    with engine() as e:
        together = e.beam_search(some, params)
        for prompt, ours in zip(some, together, strict=True):
            assert shape(ours) == shape(e.beam_search(prompt, params))
