"""The command line: `draftwood generate | compare | bench | doctor | index`. Importing it imports no typer, no rich."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Runs the command line and ends the process with its status: 0, 1 (texts differ), 2 (error), 130 (ctrl-C)."""
    from .app import run

    raise SystemExit(run())
