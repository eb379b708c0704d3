"""Commands as somebody at a terminal sees them."""

from __future__ import annotations

import os
import pty
import subprocess
import sys


def in_a_terminal(*arguments: str, **environment: str) -> str:
    """What a command writes to a terminal of 80 columns."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "draftwood", *arguments],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", **environment},
    )
    os.close(slave)
    written = b""
    try:
        while piece := os.read(master, 4096):
            written += piece
    except OSError:
        pass  # Linux says so when the other end is closed
    process.wait()
    os.close(master)
    return written.decode()
