"""What long tests find outside the clone: weights of `make peers`, and text collections that are not ours to copy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA = Path(__file__).parents[1] / "data"
ROOT = Path(__file__).resolve().parents[2]


def peers():
    """The folder of `make peers`."""
    folder = Path(os.environ.get("DRAFTWOOD_PEERS") or ROOT / ".peers")
    if not (folder / "llama-cpp/bin/python").exists():
        pytest.skip(f"no llama.cpp in {folder}: make peers builds it, DRAFTWOOD_PEERS names another folder")
    return folder


def weights(name):
    """A file that `benches/baselines/weights.py` makes."""
    path = peers() / "weights" / name
    if not path.exists():
        pytest.skip(f"no {path}: make peers makes it")
    return path


def texts(name):
    """A file of the folder that DRAFTWOOD_DATA names."""
    path = Path(os.environ.get("DRAFTWOOD_DATA") or ROOT / "shared/data") / name
    if not path.exists():
        pytest.skip(f"no {path}: DRAFTWOOD_DATA names the folder of text collections, see benches/README.md")
    return path
