"""The draft-length policy through the engine: it never changes a text, and says what it chose and why."""

from __future__ import annotations

import time

import pytest

import draftwood as dw
from draftwood.loading import Parts
from draftwood.models.toy import ToyExecutor
from support.drafters import Chain, RandomTrees
from support.toy import Oracle, prompts

TOY = {"vocab_size": 64, "context_weight": 0.3}
ORACLE = Oracle(**TOY)
SETTINGS = [("auto", "auto"), ("auto", "always"), (None, "auto")]


class Scripted(ToyExecutor):
    """Sleeps so many seconds for the first row of a step, and for each further one."""

    def __init__(self, first: float, further: float, **sizes):
        super().__init__(**sizes)
        self.first, self.further = first, further

    def forward(self, plan, hidden=()):
        time.sleep(self.first + self.further * (plan.rows - plan.sequences))
        return super().forward(plan, hidden)


@pytest.mark.parametrize("params", [{}, {"temperature": 0.9, "top_k": 9}], ids=["greedy", "sampled"])
def test_the_text_is_the_same_with_any_policy(params):
    some = prompts(8, 64, seed=4)
    each = [dw.SamplingParams(max_new_tokens=40, seed=i, **params) for i in range(len(some))]
    texts = []
    for drafter, policy in [*SETTINGS, (RandomTrees(64, 16, 1, ORACLE.greedy), "auto")]:
        with dw.testing.toy_engine(**TOY, drafter=drafter, draft_policy=policy) as engine:
            batch = [output.token_ids.tolist() for output in engine.generate(some, each)]
            alone = [engine.generate(p, its).token_ids.tolist() for p, its in zip(some, each, strict=True)]
        assert batch == alone
        texts.append(batch)
    assert all(text == texts[0] for text in texts)


def test_rows_that_cost_a_step_are_not_drafted_and_free_ones_are():
    sizes = {"vocab_size": 64, "context_weight": 0.0}
    told = []
    for further in (4e-3, 0.0):
        with dw.Engine(Parts(Scripted(2e-3, further, **sizes), "toy"), max_context=512) as engine:
            output = engine.generate([1, 2, 3], dw.SamplingParams(max_new_tokens=150))
            told.append((output.stats, engine.stats().drafts))
    (dear, why), (free, _) = told
    assert dear.drafted < 20
    assert dear.steps > 130
    assert free.steps < 60
    assert why.policy == "auto"
    assert why.proposed > 100
    assert (why.steps, why.drafted, why.accepted) == (dear.steps, dear.drafted, dear.accepted)
    assert why.seconds_by_rows[1] == pytest.approx(2e-3, rel=0.5)
    assert 1.0 <= why.rows_per_step < 1.2


def test_a_drafter_that_is_slow_and_wrong_is_hardly_asked():
    asked = []

    class Wrong:
        def propose(self, view):
            asked.append(len(view.token_ids))
            time.sleep(2e-3)
            last = int(view.token_ids[-1])
            wrong = (ORACLE.greedy(view.token_ids, 1)[0] + 1) % 64
            return dw.Tree([last, wrong], [-1, 0])

    with dw.Engine(Parts(Scripted(2e-3, 0.0, **TOY), "toy"), drafter=Wrong()) as engine:
        engine.generate([1, 2, 3], dw.SamplingParams(max_new_tokens=200))
        assert len(asked) < 40
        # And one that has become useful is noticed.
        Wrong.propose = Chain(ORACLE.greedy).propose
        Wrong.continuation, Wrong.max_nodes = staticmethod(ORACLE.greedy), 16
        output = engine.generate([4, 5, 6], dw.SamplingParams(max_new_tokens=400))
    assert output.stats.steps < 300


def test_always_forwards_what_is_proposed():
    drafter = Chain(lambda tokens, n: [0] * n, max_nodes=8)
    with dw.Engine(Parts(Scripted(0.0, 1e-3, **TOY), "toy"), drafter=drafter, draft_policy="always") as engine:
        output = engine.generate([1, 2, 3], dw.SamplingParams(max_new_tokens=20))
        drafts = engine.stats().drafts
    assert output.stats.drafted == drafts.proposed == drafts.drafted > 100
    with dw.testing.toy_engine(drafter=None) as engine:
        engine.generate([1, 2, 3], dw.SamplingParams(max_new_tokens=5))
        drafts = engine.stats().drafts
    assert (drafts.policy, drafts.drafted, drafts.steps) == ("none", 0, 5)


def test_another_policy_is_refused():
    with pytest.raises(dw.InvalidArgument, match='draft_policy must be "auto" or "always", got "never"'):
        dw.testing.toy_engine(draft_policy="never")
