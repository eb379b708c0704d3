"""What a step may cost: calls into the core, copies, waits, Python lists of tokens (DESIGN §2)."""

from __future__ import annotations

import numpy as np
import pytest

import draftwood as dw
from draftwood.loading import Parts
from draftwood.models.toy import ToyExecutor
from draftwood.session import Session
from support.drafters import RandomTrees
from support.toy import Oracle, prompts

TOY = {"vocab_size": 64, "context_weight": 0.3}
ORACLE = Oracle(**TOY)


class Counting:
    """Passes everything on to a core session and counts the calls."""

    def __init__(self, core):
        self._core, self.calls = core, []

    def __getattr__(self, name):
        value = getattr(self._core, name)
        if not callable(value):
            return value

        def counted(*args, **more):
            self.calls.append(name)
            result = value(*args, **more)
            for part in result if isinstance(result, tuple) else (result,):
                assert not (isinstance(part, list) and len(part) > 14), "a list of tokens crossed the boundary"
            return result

        return counted


class CountingExecutor(ToyExecutor):
    """Counts forwards and moves; checks that the plan is always the same memory."""

    def __init__(self, **sizes):
        super().__init__(**sizes)
        self.forwards = self.moves = 0
        self.blocks = set()

    def forward(self, plan, hidden=()):
        self.forwards += 1
        base = plan.tokens.base
        self.blocks.add((base.ctypes.data, base.nbytes))
        for name in ("tokens", "positions", "parents", "slots", "pages", "masks", "head_rows", "chain", "context"):
            array = getattr(plan, name)
            assert array.dtype == np.int32
            assert np.shares_memory(array, base) or array.size == 0, f"{name} is a copy"
        return super().forward(plan, hidden)

    def apply(self, moves):
        self.moves += 1
        assert moves.size
        super().apply(moves)


@pytest.mark.parametrize("policy", ["auto", "always"])
@pytest.mark.parametrize(
    "drafter", ["auto", None, RandomTrees(64, 32, 1, ORACLE.greedy)], ids=["auto", "none", "python"]
)
def test_four_calls_one_block_and_moves_only_when_there_are_any(drafter, policy):
    executor = CountingExecutor(**TOY)
    with dw.Engine(Parts(executor, "toy"), drafter=drafter, draft_policy=policy) as model:
        session: Session = model._session
        session.core = counting = Counting(session.core)
        outputs = model.generate(prompts(8, 64, seed=2), dw.SamplingParams(max_new_tokens=30))
        submits = counting.calls.count("submit")
        steps = counting.calls[submits:]
        assert steps == ["begin", "plan", "verify", "commit"] * executor.forwards
        assert executor.forwards == session.steps
        assert len(executor.blocks) == 1, "one block of memory serves every step"
        compacted = model.stats().rows_compacted
        assert (executor.moves > 0) == (compacted > 0)
        assert executor.moves <= executor.forwards
        if drafter is not None and policy == "always":
            assert sum(o.stats.accepted for o in outputs) > 0


def test_samples_and_backspaces_cost_no_further_calls():
    executor = CountingExecutor(**TOY)
    fields = {"max_new_tokens": 30, "temperature": 1.0, "seed": 1, "n": 3}
    for more in ({}, {"backspace_token_id": 7, "allowed_tokens": [1, 2, 7]}):
        with dw.Engine(Parts(executor, "toy"), draft_policy="always") as model:
            session: Session = model._session
            session.core = counting = Counting(session.core)
            model.generate(prompts(4, 64, seed=2), dw.SamplingParams(**fields, **more))
            steps = counting.calls[counting.calls.count("submit") :]
            assert steps == ["begin", "plan", "verify", "commit"] * session.steps


def test_an_idle_engine_does_nothing():
    executor = CountingExecutor(**TOY)
    with dw.Engine(Parts(executor, "toy")) as model:
        assert model._session.step() == []
        assert executor.forwards == 0
