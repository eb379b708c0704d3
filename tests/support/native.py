"""Logits of the native executor, from plans of our own."""

from __future__ import annotations

import numpy as np

from support.hf_plans import Feed, Pool, Text, make_plan


def native_logits(engine, ids, chunk):
    """Logits [T, V] of a text that is fed in chunks through plans of our own."""
    executor = engine.executor
    executor.allocate(64, 16)
    text, rows = Text(Pool(64, 16)), []
    for at in range(0, len(ids), chunk):
        some = list(ids[at : at + chunk])
        rows.append(executor.forward(make_plan([Feed(text, some, read="all")])).logits.copy())
        text.tokens += some
    return np.concatenate(rows)
