"""Fixtures that several tests of models share."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module", params=["t5", "bart", "marian", "whisper"])
def run(request):
    """A family, its model, ragged prompts and their references."""
    torch = pytest.importorskip("torch")
    from support.seq2seq import greedy, sources, tiny

    torch.set_num_threads(1)
    model, some = tiny(request.param), sources(request.param, 8, seed=1)
    return request.param, model, some, [greedy(model, source, 24) for source in some]
