"""The case `retrieval`: an index over Python's own library beside scans over the same tokens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .arm import ArmSpec

if TYPE_CHECKING:
    from .cases import Case, Setting

__all__ = ["retrieval_case"]

_ADAPTER = Path(__file__).with_name("arms") / "retrieval.py"
_QUERIES, _WRITTEN = 64, 192


def retrieval_case(name: str, about: str, setting: Setting) -> Case:
    """Works: 64 counts of three tokens, followers of two, places of eight; four constrained steps of 15 beams; the
    drafts of 192 tokens. What the scans say is what the index must say; they are no peer, but what one has without it.
    """
    from .cases import Case, Work

    works = (
        Work("count, 64 n-grams", "count", (), _QUERIES),
        Work("distinct followers, 64 n-grams", "distinct", (), _QUERIES),
        Work("locate, 64 n-grams", "locate", (), _QUERIES),
        Work("constrained steps, 15 beams", "step", ()),
        Work("appends and drafts, 192 tokens", "drafts", (), _WRITTEN),
    )
    arms = (
        ArmSpec("draftwood index", _ADAPTER, {"who": "index"}, exact=True),
        ArmSpec("NumPy scans", _ADAPTER, {"who": "scan"}, ours=False, exact=True),
    )
    return Case(name, about, "none", works, arms, setting.threads, kind="none")
