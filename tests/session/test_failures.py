"""Cancellation and exceptions at any moment: nothing leaks, nobody else is harmed, the next result is exact."""

from __future__ import annotations

import numpy as np
import pytest

import draftwood as dw
from draftwood.loading import Parts
from draftwood.models.toy import ToyExecutor
from support.drafters import Chain, RandomTrees
from support.toy import Oracle, prompts

VOCAB = 64
TOY = {"vocab_size": VOCAB, "context_weight": 0.3}
ORACLE = Oracle(**TOY)


class Broken(RuntimeError):
    """What the unreliable executor raises."""


class Unreliable(ToyExecutor):
    """Raises at random: before or after it has stored rows, and halfway through moves."""

    def __init__(self, seed, rate, **sizes):
        super().__init__(**sizes)
        self.rng, self.rate = np.random.default_rng(seed), rate

    def _maybe(self):
        if self.rng.random() < self.rate:
            raise Broken

    def forward(self, plan, hidden=()):
        self._maybe()
        rows = super().forward(plan, hidden)
        self._maybe()
        return rows

    def apply(self, moves):
        if self.rng.random() < self.rate:
            super().apply(moves[:, : moves.shape[1] // 2])
            raise Broken
        super().apply(moves)


def engine_over(executor, drafter, **more):
    return dw.Engine(Parts(executor, "toy", **more), drafter=drafter, draft_policy="always")


def test_a_thousand_generations_cancelled_at_random_with_forwards_that_raise():
    rng = np.random.default_rng(0)
    drafter = RandomTrees(VOCAB, 12, 3, ORACLE.greedy)
    model = engine_over(Unreliable(1, 0.05, **TOY), drafter)
    texts = prompts(50, VOCAB, seed=1)
    expected = {i: ORACLE.greedy(text, 12) for i, text in enumerate(texts)}
    live, started, ended, raised = [], 0, 0, 0
    while started < 1000 or live:
        while started < 1000 and len(live) < 6:
            which = int(rng.integers(0, len(texts)))
            live.append((which, model.stream(texts[which], dw.SamplingParams(max_new_tokens=12)), []))
            started += 1
        at = int(rng.integers(0, len(live)))
        which, stream, got = live[at]
        if rng.random() < 0.08:
            stream.close()
            live.pop(at)
            continue
        try:
            got.extend(next(stream).token_ids.tolist())
        except Broken:
            raised += 1  # the stream may simply be read again
        except StopIteration:
            assert got == expected[which]
            ended += 1
            live.pop(at)
    assert raised > 100
    assert ended > 300
    model.executor.rate = 0.0
    assert model.generate(texts[0], dw.SamplingParams(max_new_tokens=12)).token_ids.tolist() == expected[0]
    stats = model.stats()
    assert (stats.running, stats.waiting) == (0, 0)
    assert stats.pages_free == stats.pages_total


def test_a_failed_move_feeds_the_tokens_again():
    class FailsOnce(ToyExecutor):
        left = 3

        def apply(self, moves):
            if self.left:
                self.left -= 1
                raise Broken
            super().apply(moves)

    model = engine_over(FailsOnce(**TOY), RandomTrees(VOCAB, 24, 5, ORACLE.greedy))
    prompt = prompts(1, VOCAB, seed=2)[0]
    stream, got, failures = model.stream(prompt, dw.SamplingParams(max_new_tokens=40)), [], 0
    while True:
        try:
            got.extend(next(stream).token_ids.tolist())
        except Broken:
            failures += 1
        except StopIteration:
            break
    assert failures == 3
    assert got == ORACLE.greedy(prompt, 40)


def test_generate_gives_up_its_own_requests_when_a_forward_raises_and_streams_go_on():
    model = engine_over(Unreliable(3, 0.0, **TOY), "auto")
    stream = model.stream([1, 2, 3], dw.SamplingParams(max_new_tokens=10))
    got = next(stream).token_ids.tolist()
    model.executor.rate = 1.0
    with pytest.raises(Broken):
        model.generate([[4, 5], [6]])
    model.executor.rate = 0.0
    for event in stream:
        got.extend(event.token_ids.tolist())
    assert got == ORACLE.greedy([1, 2, 3], 10)
    assert model.stats().running == 0
    assert model.stats().pages_free == model.stats().pages_total


class NotFinite(ToyExecutor):
    """Gives NaN logits for texts that contain token 7 as their last one."""

    value = np.nan

    def forward(self, plan, hidden=()):
        rows = super().forward(plan, hidden)
        rows.logits[plan.tokens[plan.head_rows] == 7, 5] = self.value
        return rows


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_not_finite_end_that_text_alone(value):
    executor = NotFinite(**TOY)
    executor.value = value
    with engine_over(executor, "auto") as model:
        with pytest.raises(dw.InvalidArgument, match=r"the logits after 2 tokens must be finite.*vocabulary id 5") as e:
            model.generate([1, 7])
        assert e.value.output.finish_reason == "error"
        assert e.value.hint
        bad, good = model.generate([[1, 7], [2, 3]], dw.SamplingParams(max_new_tokens=3))
        assert isinstance(bad.error, dw.InvalidArgument)
        assert good.error is None
        assert good.token_ids.tolist()[:1] == ORACLE.greedy([2, 3], 1)
        with pytest.raises(dw.InvalidArgument):
            list(model.stream([1, 7]))
        assert model.stats().pages_free == model.stats().pages_total


def test_a_text_keeps_what_was_accepted_before_the_error():
    texts = ((prompt, ORACLE.greedy(prompt, 40)) for prompt in prompts(100, VOCAB, seed=4))
    prompt, free = next((prompt, free) for prompt, free in texts if 7 in free[3:] and 7 not in prompt)
    with engine_over(NotFinite(**TOY), Chain(ORACLE.greedy)) as model:
        with pytest.raises(dw.InvalidArgument) as e:
            model.generate(prompt, dw.SamplingParams(max_new_tokens=40))
        assert e.value.output.token_ids.tolist() == free[: free.index(7) + 1]


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        (lambda root: dw.Tree([root, 1, 2], [-1, 2, 1]), "parent of tree node 1 must be 0 … 0, got 2"),
        (lambda root: dw.Tree([root, VOCAB], [-1, 0]), f"token of tree node 1 must be 0 … {VOCAB - 1}, got {VOCAB}"),
        (lambda root: dw.Tree([root, 1, 1], [-1, 0, 0]), "children of tree node 0 must be distinct tokens"),
        (lambda root: dw.Tree([root + 1], [-1]), "token of tree node 0 must be"),
        (lambda root: dw.Tree([root] * 99, list(range(-1, 98))), "number of tree nodes must be 1 … 16, got 99"),
        (lambda root: dw.Tree([root, 1], [-1]), "lengths of tokens and parents must be equal"),
        (lambda root: dw.Tree([root, 1.5], [-1, 0]), "Tree.tokens must be a sequence of integers"),
        (lambda root: dw.Tree([root, 1], [-1, 0], [1.0, 2.0]), "Tree.prob must be 2 values in 0 … 1"),
        (lambda root: "nonsense", "a drafter's proposal must be a draftwood.Tree or None, got str"),
    ],
)
def test_a_drafter_that_returns_nonsense_ends_that_text_with_a_typed_error(tree, words):
    class Nonsense:
        def propose(self, view):
            return tree(int(view.token_ids[-1])) if view.token_ids[0] == 1 else None

    with dw.testing.toy_engine(**TOY, drafter=Nonsense()) as model:
        bad, good = model.generate([[1, 2, 3], [2, 3]], dw.SamplingParams(max_new_tokens=3))
        assert words in str(bad.error)
        assert isinstance(bad.error, dw.InvalidArgument)
        assert bad.finish_reason == "error"
        assert good.token_ids.tolist() == ORACLE.greedy([2, 3], 3)
        with pytest.raises(dw.InvalidArgument):
            model.generate([1, 2, 3])
        assert model.stats().pages_free == model.stats().pages_total


def test_a_drafter_that_raises_ends_that_text_with_its_own_exception():
    class Raises:
        def propose(self, view):
            if view.token_ids[0] == 1:
                raise KeyError("mine")

    with dw.testing.toy_engine(**TOY, drafter=Raises()) as model:
        bad, good = model.generate([[1, 2], [2, 3]], dw.SamplingParams(max_new_tokens=3))
        assert isinstance(bad.error, KeyError)
        assert good.token_ids.tolist() == ORACLE.greedy([2, 3], 3)
