"""Two searches of which one may have speculated: everything that a caller sees is equal, bit for bit."""

from __future__ import annotations

import numpy as np


def assert_same(ours, plain):
    """`Beams` of both; steps of the plain search are forwards."""
    assert ours.error is None and plain.error is None
    assert len(ours) == len(plain)
    for a, b in zip(ours, plain, strict=True):
        assert a.token_ids.tolist() == b.token_ids.tolist()
        assert (a.score, a.raw_score, a.text, a.group) == (b.score, b.raw_score, b.text, b.group)
        assert (a.finish_reason, a.stop_reason) == (b.finish_reason, b.stop_reason)
        assert np.array_equal(a.step_scores, b.step_scores)
        assert np.array_equal(a.beam_indices, b.beam_indices)
    assert len(ours.candidates) == len(plain.candidates)
    for one, other in zip(ours.candidates, plain.candidates, strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(one, other, strict=True))
    assert (ours.lattice is None) == (plain.lattice is None)
    if ours.lattice is not None:
        for name in ("parents", "tokens", "beam_indices", "groups", "step_scores", "ended"):
            assert np.array_equal(getattr(ours.lattice, name), getattr(plain.lattice, name)), name
    assert plain.stats.beam_steps == plain.stats.steps == ours.stats.beam_steps
    assert ours.stats.steps <= plain.stats.steps


def saved(beams):
    """Forwards that speculation has saved."""
    return beams.stats.beam_steps - beams.stats.steps
