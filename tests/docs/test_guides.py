"""The Python blocks of each guide run, one after the other as a reader would; pictures are what the command draws."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
GUIDES = sorted(DOCS.glob("*.md"))


def run(*arguments, **more):
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=300, check=False, **more
    )
    assert done.returncode == 0, done.stderr
    return done


def blocks(path):
    return re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.name)
def test_python_blocks_of_a_guide_run(path):
    assert blocks(path)
    assert run("-c", "\n".join(blocks(path))).stdout.count("\n") >= len(blocks(path))


def test_the_lattice_of_the_guide_is_what_the_command_draws():
    text = (DOCS / "search.md").read_text(encoding="utf-8")
    fence = r"<!-- lattice: begin -->\n```\n\$ draftwood (.*?)\n(.*?)```\n<!-- lattice: end -->"
    picture = re.search(fence, text, re.DOTALL)
    assert picture is not None
    done = run("-m", "draftwood", *shlex.split(picture[1]), env={**os.environ, "COLUMNS": "98"})
    drawn = [line for line in done.stderr.splitlines() if not line.startswith(("reading ", "searching "))]
    assert [*drawn, *done.stdout.splitlines()] == picture[2].splitlines()
