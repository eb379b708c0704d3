"""`dw.search.beam` over step functions of all kinds, and the processors that both drivers share."""

from __future__ import annotations

import dataclasses
from collections import namedtuple

import numpy as np
import pytest

import draftwood as dw
from support.beams import SlowBeams, assert_close, log_softmax, shape
from support.toy import Oracle

VOCAB = 40
PARAMS = dw.BeamParams(num_beams=4, num_return=4, max_new_tokens=8, bos_token_id=1, eos_token_id=[2, 9])


class Gru:
    """A GRU in NumPy, one row of hidden state per beam."""

    def __init__(self, width=24, seed=0):
        rng = np.random.default_rng(seed)
        self.embedding = rng.standard_normal((VOCAB, width)).astype(np.float32)
        self.weights = [rng.standard_normal((2 * width, width)).astype(np.float32) * 0.5 for _ in range(3)]
        self.head = rng.standard_normal((width, VOCAB)).astype(np.float32)
        self.width = width

    def start(self):
        return np.zeros((1, self.width), np.float32)

    def __call__(self, tokens, state):
        both = np.concatenate([self.embedding[tokens], state], axis=1)
        update, reset = (1 / (1 + np.exp(-both @ w)) for w in self.weights[:2])
        new = np.tanh(np.concatenate([self.embedding[tokens], reset * state], axis=1) @ self.weights[2])
        state = update * state + (1 - update) * new
        logits = (state @ self.head).astype(np.float64)
        return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32), state

    def row(self, generated):
        """Without keeping states: the slow way."""
        state = self.start()
        for token in [1, *generated]:
            row, state = self(np.array([token]), state)
        return row[0]


GRU = Gru()


class InPlace:
    """A state that step updates, and that follows its beams by `select`."""

    def __init__(self, hidden):
        self.hidden = hidden

    def select(self, rows):
        assert rows.dtype == np.int64
        return InPlace(self.hidden[rows])


@pytest.mark.parametrize("width", [1, 2, 3, 8, 33, 64])
def test_a_gru_at_every_width(width):
    params = dataclasses.replace(PARAMS, num_beams=width, num_return=width, eos_token_id=None)
    free = dw.search.beam(GRU, GRU.start(), params)
    ends = sorted({int(free[0].token_ids[4]), int(free[-1].token_ids[3])})
    params = dataclasses.replace(params, eos_token_id=ends)
    found = dw.search.beam(GRU, GRU.start(), params)
    slow = SlowBeams(GRU.row, params, ends)
    reference = slow.run()
    assert slow.margin > 1e-6
    assert_close(shape(found), reference)
    assert found.stats.prompt_tokens == 1
    assert any(h.finish_reason == "stop" for h in found)


Pair = namedtuple("Pair", "hidden other")


@pytest.mark.parametrize("kind", ["in place", "dict", "nested", "namedtuple", "frozen", "jax", "torch"])
def test_states_of_all_kinds_follow_their_beams(kind):
    want = shape(dw.search.beam(GRU, GRU.start(), PARAMS))
    if kind == "in place":

        def step(tokens, state):
            rows, state.hidden = GRU(tokens, state.hidden)
            return rows

        start = InPlace(GRU.start())
    elif kind == "torch":
        torch = pytest.importorskip("torch")

        def step(tokens, state):
            rows, hidden = GRU(tokens, state.numpy())
            return torch.from_numpy(rows).requires_grad_(), torch.from_numpy(hidden)

        start = torch.from_numpy(GRU.start())
    elif kind == "jax":
        jax = pytest.importorskip("jax")

        def step(tokens, state):
            rows, hidden = GRU(tokens, np.asarray(state))
            return jax.numpy.asarray(rows), jax.numpy.asarray(hidden)

        start = jax.numpy.asarray(GRU.start())
    elif kind == "frozen":

        def step(tokens, state):
            both = GRU(tokens, state)
            for array in both:
                array.flags.writeable = False
            return both

        start = GRU.start()
    else:
        wrap, unwrap = {
            "dict": (lambda h: {"h": h, "none": None}, lambda s: s["h"]),
            "nested": (lambda h: ([h], (h, InPlace(h))), lambda s: s[1][1].hidden),
            "namedtuple": (lambda h: Pair(h, [h]), lambda s: s.hidden),
        }[kind]

        def step(tokens, state):
            rows, hidden = GRU(tokens, unwrap(state))
            return rows, wrap(hidden)

        start = wrap(GRU.start())
    assert shape(dw.search.beam(step, start, PARAMS)) == want


def test_the_first_call_has_one_row_and_later_ones_as_many_as_live():
    seen = []

    def step(tokens, state):
        seen.append((tokens.dtype, tokens.tolist()))
        row = np.full(VOCAB, -np.inf, np.float32)
        row[[3, 4]] = np.log([0.75, 0.25])
        return np.tile(row, (len(tokens), 1))

    found = dw.search.beam(step, None, dataclasses.replace(PARAMS, max_new_tokens=3, eos_token_id=None))
    assert [len(tokens) for _, tokens in seen] == [1, 2, 4]
    assert seen[0] == (np.int64, [1])
    assert found[0].token_ids.tolist() == [3, 3, 3]
    assert np.isclose(found[0].score, np.log(0.75))
    assert {h.finish_reason for h in found} == {"length"}


def test_the_engine_and_a_step_function_find_the_same():
    oracle = Oracle(vocab_size=VOCAB, context_weight=0.8)
    prompt = [1]

    def step(tokens, texts):
        texts = [[*text, int(token)] for text, token in zip(texts.tolist(), tokens, strict=True)]
        return np.stack([log_softmax(oracle.logits(text)) for text in texts]), np.array(texts)

    found = dw.search.beam(step, np.zeros((1, 0), np.int64), PARAMS)
    with dw.testing.toy_engine(VOCAB, context_weight=0.8) as engine:
        ours = engine.beam_search(prompt, dataclasses.replace(PARAMS, bos_token_id=None))
    assert_close(shape(ours), shape(found))


def test_sampled_beams_are_named_by_their_seed():
    params = dataclasses.replace(PARAMS, do_sample=True, temperature=2.0, seed=1)
    first = shape(dw.search.beam(GRU, GRU.start(), params))
    assert first == shape(dw.search.beam(GRU, GRU.start(), params))
    assert first != shape(dw.search.beam(GRU, GRU.start(), dataclasses.replace(params, seed=2)))


# ── processors ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Parity:
    """Tokens alternate between even and odd ones; the state is mutable and checks that forks are its own."""

    def __init__(self, how):
        self.forks = 0
        if how == "apply in place":
            self.apply = self._in_place
        elif how == "apply returning":
            self.apply = lambda state, row: np.where(self.mask(state), row, -np.inf)

    def init(self, ids):
        assert ids.dtype == np.int32
        return {"text": ids.tolist()}

    def fork(self, state):
        self.forks += 1
        return {"text": list(state["text"])}

    def advance(self, state, token):
        state["text"].append(token)

    def mask(self, state):
        return np.arange(VOCAB) % 2 != state["text"][-1] % 2

    def _in_place(self, state, row):
        row[~self.mask(state)] = -np.inf


@pytest.mark.parametrize("how", ["mask", "apply in place", "apply returning"])
def test_rules_of_our_protocol(how):
    rule = Parity(how)
    params = dataclasses.replace(PARAMS, processors=[rule], min_new_tokens=2)

    def row(generated):
        law = np.array(GRU.row(generated))
        law[np.arange(VOCAB) % 2 == [1, *generated][-1] % 2] = -np.inf
        return law

    found = dw.search.beam(GRU, GRU.start(), params)
    assert_close(shape(found), SlowBeams(row, params, (2, 9)).run())
    assert shape(found) != shape(dw.search.beam(GRU, GRU.start(), dataclasses.replace(params, processors=())))
    assert rule.forks > 0
    for h in found:
        assert all((a + b) % 2 == 1 for a, b in zip([1, *h.token_ids], h.token_ids, strict=False))


def test_a_rule_that_allows_nothing_ends_with_the_best_prefix():
    class Two:
        def init(self, ids):
            return 0

        def fork(self, state):
            return state

        def advance(self, state, token):
            return state + 1

        def mask(self, state):
            return np.full(VOCAB, state < 2)

    params = dataclasses.replace(PARAMS, processors=[Two()], eos_token_id=None)
    found = dw.search.beam(GRU, GRU.start(), params)
    assert len(found) == 1
    assert (found[0].finish_reason, len(found[0].token_ids)) == ("constraint", 2)
    free = dw.search.beam(GRU, GRU.start(), dataclasses.replace(params, max_new_tokens=2, processors=()))
    assert found[0].token_ids.tolist() == free[0].token_ids.tolist()
    with dw.testing.toy_engine(VOCAB) as engine:
        beams = engine.beam_search([1, 2], dataclasses.replace(params, bos_token_id=None))
        assert beams[0].finish_reason == "constraint"
        stats = engine.stats()
        assert stats.pages_free == stats.pages_total


class Broken(Parity):
    def __init__(self, **methods):
        super().__init__("mask")
        for name, method in methods.items():
            setattr(self, name, method)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Broken(mask=lambda s: np.ones(VOCAB)), "the mask of Broken must be bool"),
        (Broken(mask=lambda s: np.ones(3, bool)), "the mask of Broken must be bool"),
        (Broken(apply=lambda s, row: row[:5]), "what Broken returns must be of shape"),
        (Broken(apply=lambda s, row: row * np.nan), "the log-probabilities of beam 0 must be finite or -inf, got NaN"),
        (Broken(advance=None), "the processor Broken must be an object with init, fork, advance and apply or mask"),
    ],
)
def test_broken_rules(rule, words):
    with pytest.raises(dw.InvalidArgument, match=words), np.errstate(invalid="ignore"):
        dw.search.beam(GRU, GRU.start(), dataclasses.replace(PARAMS, processors=[rule]))


def test_what_a_rule_raises_comes_out_and_ends_only_its_search():
    def fail(state):
        raise KeyError("my own")

    rule = Broken(mask=fail)
    with pytest.raises(KeyError, match="my own"):
        dw.search.beam(GRU, GRU.start(), dataclasses.replace(PARAMS, processors=[rule]))
    plain = dataclasses.replace(PARAMS, bos_token_id=None)
    with dw.testing.toy_engine(VOCAB) as engine:
        with pytest.raises(KeyError, match="my own"):
            engine.beam_search([1], dataclasses.replace(plain, processors=[rule]))
        bad, good = engine.beam_search([[1], [2]], [dataclasses.replace(plain, processors=[rule]), plain])
        assert isinstance(bad.error, KeyError)
        assert shape(good) == shape(engine.beam_search([2], plain))


# ── bad input ───────────────────────────────────────────────────────────────────────────────────────────────────────


def changing(tokens, state):
    """One column more in each step."""
    width = VOCAB + state[0, 0]
    return np.full((len(tokens), width), -1.0), state + 1


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (lambda t, s: np.zeros(VOCAB), r"the log-probs of step must be floats of shape \(1, V\), got float64 \(40,\)"),
        (lambda t, s: np.zeros((2, VOCAB)), r"the log-probs of step must be floats of shape \(1, V\)"),
        (lambda t, s: np.zeros((1, VOCAB), int), "the log-probs of step must be floats"),
        (lambda t, s: None, "the log-probs of step must be floats"),
        (lambda t, s: (np.zeros((1, VOCAB)), s, s), "what step returns must be log-probs or a pair with the state"),
        (lambda t, s: np.full((1, VOCAB), np.nan), "the log-probabilities of beam 0 must be finite or -inf, got NaN"),
        (lambda t, s: np.full((1, VOCAB), np.inf), "the log-probabilities of beam 0 must be finite or -inf, got inf"),
        (lambda t, s: np.zeros((1, 0)), "the vocabulary size must be 1 … 262144, got 0"),
        (lambda t, s: (np.full((len(t), VOCAB), -1.0), 5), "the state must be arrays, or an object with select"),
        (lambda t, s: (np.full((len(t), VOCAB), -1.0), np.array(5)), "an array of the state must be indexed by rows"),
        (changing, "the vocabulary size must be 40, as in the steps before, got 41"),
    ],
)
def test_steps_that_break_the_contract(step, words):
    with pytest.raises(dw.InvalidArgument, match=words):
        dw.search.beam(step, np.zeros((1, 1), int), PARAMS)


def test_what_step_raises_comes_out_unchanged():
    error = ZeroDivisionError("mine")

    def step(tokens, state):
        if len(tokens) > 1:
            raise error
        return np.zeros((1, VOCAB))

    with pytest.raises(ZeroDivisionError) as raised:
        dw.search.beam(step, None, PARAMS)
    assert raised.value is error

    def interrupted(tokens, state):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dw.search.beam(interrupted, None, PARAMS)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"bos_token_id": None}, "bos_token_id must be the id of the first token, got None"),
        ({"bos_token_id": -1}, "bos_token_id must be 0 … 2147483647, got -1"),
        ({"num_beams": 0}, "num_beams must be 1 … 4096, got 0"),
    ],
)
def test_bad_parameters(fields, words):
    with pytest.raises(dw.InvalidArgument, match=words):
        dw.search.beam(GRU, GRU.start(), dataclasses.replace(PARAMS, **fields))


def test_beams_are_a_sequence():
    found = dw.search.beam(GRU, GRU.start(), PARAMS)
    assert len(found) == 4
    assert [h.score for h in found] == sorted([h.score for h in found], reverse=True)
    assert found[-1] is list(found)[3]
    assert list(found[1:3]) == [found[1], found[2]]
