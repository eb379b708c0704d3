"""The error tree: every variant of the core has its Python class, with its parts as attributes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import draftwood as dw
from draftwood import _core, errors

ROOT = Path(__file__).parents[2]


def session(**more):
    sizes = {"vocab": 16, "max_context": 32, "page_size": 4, "pages": 9, "max_step_rows": 8, "tree_budget": 4}
    return _core.Session(**(sizes | more), end_tokens=[])


def test_the_catalogue_is_complete():
    source = (ROOT / "rust/base/src/error.rs").read_text(encoding="utf-8")
    body = source[source.index("pub enum Error {") : source.index("impl Error {")]
    variants = set(re.findall(r"^    ([A-Z]\w+)(?:\(| \{)", body, re.MULTILINE))
    mapped = (ROOT / "rust/bindings/src/errors.rs").read_text(encoding="utf-8")
    assert variants == set(re.findall(r"Error::([A-Z]\w+)", mapped))
    for name in re.findall(r'"([A-Z]\w+)"', mapped):
        assert issubclass(getattr(dw, name), dw.DraftwoodError)
    assert set(errors.__all__) == {name for name in dw.__all__ if name in errors.__all__}
    assert len(errors.__all__) == 8


def test_parts_of_the_message_are_attributes():
    with pytest.raises(dw.InvalidArgument) as e:
        session(pages=1)
    assert (e.value.what, e.value.got) == ("pages", "1")
    assert str(e.value).startswith(f"pages must be {e.value.expected}, got 1")
    assert isinstance(e.value, ValueError)


def test_calls_out_of_order_are_internal_errors_and_not_panics():
    core = session()
    with pytest.raises(dw.InternalError, match=r"plan\(\) must follow begin\(\).*please report it"):
        core.plan(None, np.zeros(core.plan_capacity, np.int32))
    with pytest.raises(dw.InternalError):
        core.commit()
    views = core.begin()
    assert views.idle
    with pytest.raises(dw.InvalidArgument, match="a view must be below 0"):
        views.view(0)


def test_blocks_of_the_caller_are_checked():
    core = session()
    for block in (np.zeros(1, np.int32), np.zeros(99, np.int64), b"", np.zeros((99, 2), np.int32)[:, 0]):
        core.begin()
        with pytest.raises(dw.InvalidArgument, match="block must be"):
            core.plan(None, block)
