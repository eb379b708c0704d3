"""An engine on the toy executor for tests of its beam search, and the slow search that judges it."""

from __future__ import annotations

import dataclasses

import draftwood as dw
from draftwood.loading import Parts
from draftwood.models.toy import ToyExecutor
from support.beams import SlowBeams, log_softmax
from support.toy import Oracle

SIZES = {"vocab_size": 48, "context_weight": 0.8}
ORACLE = Oracle(**SIZES)
PARAMS = dw.BeamParams(num_beams=4, num_return=4, max_new_tokens=10, eos_token_id=[3, 17, 40])


def engine(executor=None, drafter="auto", **more):
    executor = ToyExecutor(max_context=2048, **SIZES) if executor is None else executor
    return dw.Engine(Parts(executor, "toy", (3,)), drafter=drafter, **more)


def slow(prompt, params, ends=None):
    row = lambda tokens: log_softmax(ORACLE.logits([*prompt, *tokens]))  # noqa: E731
    return SlowBeams(row, params, params.eos_token_id if ends is None else ends).run()


def draw(rng):
    beams = int(rng.integers(1, 9))
    return dataclasses.replace(
        PARAMS,
        num_beams=beams,
        num_return=int(rng.integers(1, beams + 1)),
        max_new_tokens=int(rng.integers(1, 14)),
        min_new_tokens=int(rng.integers(0, 2)),
        length_penalty=float(rng.choice([0.0, 1.0, 2.0])),
        early_stopping=[True, False, "never"][rng.integers(3)],
        eos_token_id=[int(t) for t in rng.integers(0, 48, rng.integers(1, 8))],
    )
