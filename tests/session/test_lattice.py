"""What `keep_lattice` hands out: a tree that holds all hypotheses, whoever drives the search."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import draftwood as dw
from draftwood.loading import Parts
from draftwood.models.toy import ToyExecutor
from support.variants import START, random_model, stepper

KINDS = {
    "plain": {},
    "sampled": {"do_sample": True, "temperature": 1.5, "seed": 3},
    "groups": {"num_beam_groups": 2, "diversity_penalty": 0.7},
    "sequences": {"stochastic": "sequences", "seed": 5},
    "first tokens": {"stochastic": "first_token", "seed": 5},
    "backspace": {"backspace_token_id": 4},
}


@pytest.fixture(scope="module")
def engine():
    executor = ToyExecutor(vocab_size=48, max_context=2048, context_weight=0.8)
    with dw.Engine(Parts(executor, "toy", (3,)), drafter=None) as engine:
        yield engine


def depths(lattice):
    found = [0]
    for parent in lattice.parents[1:]:
        found.append(found[parent] + 1)
    return np.array(found)


@pytest.mark.parametrize("kind", KINDS)
def test_hypotheses_are_paths_of_the_lattice(engine, kind):
    rng = np.random.default_rng(len(kind))
    for _ in range(20):
        width = 2 * int(rng.integers(1, 5))
        ends = [int(token) for token in rng.integers(5, 48, 6)]
        params = dw.BeamParams(
            num_beams=width,
            num_return=width,
            max_new_tokens=int(rng.integers(1, 10)),
            eos_token_id=ends,
            keep_lattice=True,
            **KINDS[kind],
        )
        beams = engine.beam_search(rng.integers(5, 48, 6).tolist(), params)
        tree = beams.lattice
        assert (tree.parents[0], tree.tokens[0], tree.ended[0]) == (-1, -1, False)
        assert all(0 <= tree.parents[i] < i for i in range(1, len(tree)))
        places = {(p, t, g): i for i, (p, t, g) in enumerate(zip(tree.parents, tree.tokens, tree.groups, strict=True))}
        assert len(places) == len(tree), "no text comes twice within a group"
        for one in beams:
            at = 0
            for token, score, beam in zip(one.token_ids, one.step_scores, one.beam_indices, strict=True):
                at = places[at, token, one.group]
                assert (tree.step_scores[at], tree.beam_indices[at]) == (score, beam)
            assert tree.ended[at] or one.finish_reason == "constraint"
        assert not tree.ended[tree.parents[1:]].any(), "what has ended has no continuation"
        level = depths(tree)
        if kind != "backspace":  # there a level is no step
            assert max(np.bincount(level[~tree.ended])) <= width + (kind == "sequences")
            assert max(np.bincount(level)) <= 2 * width + 1
        without = engine.beam_search([1, 2, 3], dataclasses.replace(params, keep_lattice=False))
        assert without.lattice is None


def test_the_functional_search_has_one_too():
    rng = np.random.default_rng(2)
    row = random_model(rng, 8)
    params = dw.BeamParams(
        num_beams=3, num_return=3, max_new_tokens=5, bos_token_id=0, eos_token_id=[1], keep_lattice=True
    )
    found = dw.search.beam(stepper(row), START, params)
    assert found.lattice.ended.sum() >= 3
    first = found.lattice.parents == 0
    assert np.allclose(found.lattice.step_scores[first], row([])[found.lattice.tokens[first]])
    with pytest.raises(dw.InvalidArgument, match="keep_lattice must be left out of an exact search"):
        dw.search.exact(stepper(row), START, params)
