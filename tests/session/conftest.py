"""Fixtures for tests of the session."""

from __future__ import annotations

import gc

import pytest

import draftwood as dw


@pytest.fixture
def leaks(monkeypatch):
    """Every engine of a test must end with all pages free."""
    made = []
    start = dw.Engine.__init__

    def noted(self, *args, **settings):
        start(self, *args, **settings)
        made.append(self)

    monkeypatch.setattr(dw.Engine, "__init__", noted)
    yield
    gc.collect()
    for one in made:
        stats = one.stats()
        assert (stats.running, stats.waiting, stats.pages_free) == (0, 0, stats.pages_total)
