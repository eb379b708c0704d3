"""Scorers that read hidden states: the search of a token scorer that computes the same states slowly."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import draftwood as dw
from draftwood.loading import Parts
from draftwood.models.toy import ToyExecutor
from support.beams import assert_close, log_softmax, shape
from support.idle import idle
from support.same_beams import assert_same
from support.toy import Oracle, prompts

SIZES = {"vocab_size": 48, "context_weight": 0.8}
ORACLE = Oracle(**SIZES)
WIDTH = 6
PARAMS = dw.BeamParams(num_beams=4, num_return=4, max_new_tokens=10, eos_token_id=[3, 17, 40])


def state_of(logits):
    """A hidden state that depends on the whole text, as the logits do."""
    return np.tanh(np.asarray(logits, np.float32)[..., :WIDTH])


class Shown(ToyExecutor):
    """The executor of hashes with hidden states, which counts the rows of its forwards."""

    def __init__(self):
        super().__init__(max_context=2048, **SIZES)
        self.caps = dataclasses.replace(self.caps, hidden_states=True)
        self.forwards = []

    def forward(self, plan, hidden=()):
        rows = super().forward(plan)
        self.forwards.append((plan.rows, hidden))
        return dataclasses.make_dataclass("Rows", ["logits", "hidden"])(rows.logits, state_of(rows.logits))


def engine(executor=None, drafter=None, **more):
    return dw.Engine(Parts(Shown() if executor is None else executor, "toy", (3,)), drafter=drafter, **more)


def judge(states):
    """log c of states [n, d]: more than half of the spread of texts is up to it."""
    return (states @ np.arange(1, WIDTH + 1, dtype=np.float32)) * 0.4


class Reader:
    """Reads hidden states, and notes what it was shown."""

    needs_hidden = True

    def __init__(self):
        self.calls = []

    def log_prob(self, ids, hidden=None):
        self.calls.append(([list(one) for one in ids], hidden.copy()))
        return judge(hidden)

    def accepts(self, ids):
        return ids[0] % 4 != 1


class Slow:
    """The same scorer over tokens."""

    accepts = Reader.accepts

    def __init__(self, prompt):
        self.prompt = prompt

    def log_prob(self, ids):
        return judge(np.stack([state_of(ORACLE.logits([*self.prompt, *one])) for one in ids]))


def draw(rng):
    beams = int(rng.integers(1, 6))
    return dataclasses.replace(
        PARAMS,
        num_beams=beams,
        num_return=int(rng.integers(1, beams + 1)),
        max_new_tokens=int(rng.integers(1, 12)),
        min_new_tokens=int(rng.integers(0, 2)),
        length_penalty=float(rng.choice([0.0, 1.0, 2.0])),
        early_stopping=[True, False, "never"][rng.integers(3)],
        eos_token_id=[int(t) for t in rng.integers(0, 48, rng.integers(1, 4))],
        scorer_weight=float(rng.choice([0.5, 1.0, 3.0])),
        scorer_top_k=int(rng.integers(0, 7)),
    )


@pytest.mark.parametrize("page_size", [1, 4, 16])
def test_random_searches_equal_those_of_a_token_scorer(page_size):
    rng = np.random.default_rng(page_size)
    changed = 0
    with engine(cache=dw.CacheConfig(page_size=page_size)) as e:
        for _ in range(25):
            some = prompts(int(rng.integers(1, 5)), 48, seed=int(rng.integers(1 << 30)))
            each = [dataclasses.replace(draw(rng), scorer=Reader()) for _ in some]
            for prompt, params, ours in zip(some, each, e.beam_search(some, each), strict=True):
                slow = e.beam_search(prompt, dataclasses.replace(params, scorer=Slow(prompt)))
                assert_close(shape(ours), shape(slow))
                for a, b in zip(ours, slow, strict=True):
                    assert a.beam_indices.tolist() == b.beam_indices.tolist()
                assert ours.stats.beam_steps == ours.stats.steps == slow.stats.steps
                changed += shape(ours) != shape(e.beam_search(prompt, dataclasses.replace(params, scorer=None)))
            assert idle(e)
    assert changed > 25


@pytest.mark.parametrize(
    "fields",
    [
        {"processors": [dw.search.Trie([[5, 6], [5, 7, 8, 9], [30], [31, 2, 11]])]},
        {"no_repeat_ngram_size": 1, "repetition_penalty": 1.2},
        {"processors": [dw.search.AllowedPrefix(lambda ids: [int(ids[-1] * k + 1) % 48 for k in (1, 2, 3)] + [3])]},
    ],
    ids=["trie", "penalties", "python"],
)
def test_rules_beside_it(fields):
    params = dataclasses.replace(PARAMS, **fields)
    with engine() as e:
        for prompt in prompts(4, 48, seed=2):
            ours = e.beam_search(prompt, dataclasses.replace(params, scorer=Reader()))
            slow = e.beam_search(prompt, dataclasses.replace(params, scorer=Slow(prompt)))
            assert_close(shape(ours), shape(slow))
        assert idle(e)


def test_one_call_and_one_forward_per_step():
    executor, scorer = Shown(), Reader()
    params = dataclasses.replace(PARAMS, scorer=scorer, scorer_top_k=3, eos_token_id=[3])
    with engine(executor) as e:
        prompt = [5, 6, 7]
        found = e.beam_search(prompt, params)
        assert len(scorer.calls) == found.stats.beam_steps == found.stats.steps
        assert found.stats.speculation == "off: a scorer" and found.stats.prefill_steps == 1
        rows = [rows for rows, _ in executor.forwards]
        assert all(hidden == ("last",) for _, hidden in executor.forwards)
        assert rows == [len(prompt), *(len(ids) for ids, _ in scorer.calls)], "all continuations, none twice"
        assert max(rows[1:]) <= 4 * (3 + 1) and max(rows) > 4
        for ids, hidden in scorer.calls:
            assert hidden.dtype == np.float32 and hidden.shape == (len(ids), WIDTH)
            assert all(
                np.array_equal(row, state_of(ORACLE.logits([*prompt, *one])))
                for one, row in zip(ids, hidden, strict=True)
            )
        executor.forwards.clear()
        e.beam_search(prompt, PARAMS)
        assert {hidden for _, hidden in executor.forwards} == {()}, "nobody else pays for the states"


def test_alone_or_in_a_batch_beside_texts_and_other_searches():
    some = prompts(3, 48, seed=9)
    scored = dataclasses.replace(PARAMS, scorer=Reader())
    with engine(drafter=dw.drafters.NGram(max_nodes=4), draft_policy="always") as e:
        alone = [e.beam_search(some[0], scored), e.beam_search(some[1], PARAMS), e.beam_search(some[2], scored)]
        stream = e.stream([1, 2, 3], dw.SamplingParams(max_new_tokens=20, ignore_eos=True))
        next(stream)
        together = e.beam_search(some, [scored, PARAMS, scored])
        stream.close()
        for ours, theirs in zip(together, alone, strict=True):
            assert shape(ours) == shape(theirs)
        assert together[1].stats.speculation == "on"
        assert idle(e)


def test_without_weight_it_is_a_plain_search_and_nobody_is_asked():
    scorer = Reader()
    params = dataclasses.replace(PARAMS, scorer=scorer, scorer_weight=0.0)
    scorer.accepts = lambda ids: True
    with engine() as e:
        assert_same(e.beam_search([1, 2], params), e.beam_search([1, 2], PARAMS))
    assert not scorer.calls


def test_the_context_ends_texts():
    executor = Shown()
    executor.caps = dataclasses.replace(executor.caps, max_context=12)
    with engine(executor, cache=dw.CacheConfig(bytes=1 << 14)) as e:
        found = e.beam_search([1, 2, 3, 4], dataclasses.replace(PARAMS, scorer=Reader(), eos_token_id=[]))
        assert {(len(h.token_ids), h.finish_reason) for h in found} == {(8, "length")}
        assert idle(e)


class Bad(Reader):
    """Says something else in its third call."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def log_prob(self, ids, hidden=None):
        right = super().log_prob(ids, hidden)
        return right if len(self.calls) < 3 else self.value(ids)


def boom(ids):
    raise ZeroDivisionError("the scorer's own")


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (lambda ids: [np.nan] * len(ids), dw.InvalidArgument, "the scorer's log-probabilities must be finite or -inf"),
        (lambda ids: [np.inf] * len(ids), dw.InvalidArgument, "the scorer's log-probabilities must be finite or -inf"),
        (lambda ids: [0.0], dw.InvalidArgument, r"what scorer.log_prob returns must be numbers of shape \(\d+,\)"),
        (lambda ids: np.zeros((len(ids), 2)), dw.InvalidArgument, "what scorer.log_prob returns must be numbers of"),
        (boom, ZeroDivisionError, "the scorer's own"),
    ],
)
def test_bad_answers_end_their_search_alone(value, error, words):
    some = prompts(2, 48, seed=4)
    good = dataclasses.replace(PARAMS, scorer=Reader())
    with engine() as e:
        with pytest.raises(error, match=words):
            e.beam_search(some[0], dataclasses.replace(PARAMS, scorer=Bad(value)))
        assert idle(e)
        other, bad = e._beams.open(some[1], good), e._beams.open(some[0], dataclasses.replace(good, scorer=Bad(value)))
        e._beams.advance(other)
        e._beams.advance(bad)
        for search in (other, bad):
            e._beams.core.release(search)
        assert isinstance(bad.error, error)
        assert shape(other.beams(None)) == shape(e.beam_search(some[1], good))
        assert idle(e)


def test_what_cannot_be_asked_is_refused():
    scored = dataclasses.replace(PARAMS, scorer=Reader())
    with dw.testing.toy_engine() as e:
        with pytest.raises(dw.UnsupportedModel, match=r"needs hidden states on toy .* has none"):
            e.beam_search([1], scored)
        assert idle(e)
    table = np.tile(log_softmax(np.zeros(5, np.float32)), (5, 1))
    functional = dataclasses.replace(scored, bos_token_id=0, eos_token_id=None)
    with pytest.raises(dw.InvalidArgument, match=r"scorer.needs_hidden must be False: a step function .*use an engine"):
        dw.search.beam(lambda tokens, state: table[tokens], None, functional)
    with engine(drafter=dw.drafters.NGram(max_nodes=16)) as e:
        for fields, words in [
            ({"processors": [dw.search.Phrases([[4, 5]])]}, r"processors with .* must be rules without progress"),
            ({"num_beams": 8}, r"num_beams · \(scorer_top_k \+ end tokens\) must be at most 32, .*got 88"),
        ]:
            with pytest.raises(dw.DraftwoodError, match=words):
                e.beam_search([1], dataclasses.replace(scored, **fields))
        assert idle(e)
