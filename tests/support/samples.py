"""The toy engine that tests of several samples, and of texts that take tokens back, share."""

from __future__ import annotations

import draftwood as dw
from support.toy import Oracle

VOCAB = 64
TOY = {"vocab_size": VOCAB, "context_weight": 0.3}
ORACLE = Oracle(**TOY)
PARAMS = {"max_new_tokens": 20, "temperature": 1.0, "seed": 11}


def engine(drafter=None, **more):
    return dw.testing.toy_engine(**TOY, drafter=drafter, draft_policy="always", **more)


def texts_of(output):
    return [sample.token_ids.tolist() for sample in output.samples or (output,)]
