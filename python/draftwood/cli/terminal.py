"""Where output goes: answers to stdout, everything about them to stderr; no control codes where nobody looks."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from ..errors import DraftwoodError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["INTERRUPTED", "Interrupt", "Terminal", "printable"]

INTERRUPTED = 130
"""Exit status after ctrl-C, as shells count it: 128 + SIGINT."""
_FAILED = 2
_PIPE_WIDTH = 100


class Terminal:
    """The two consoles of a command. `out` is silent in JSON mode, where stdout holds one document and nothing else."""

    def __init__(self, *, as_json: bool = False, debug: bool = False) -> None:
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")
        self.as_json, self.debug = as_json, debug
        self.out = _console(sys.stdout, quiet=as_json)
        self.err = _console(sys.stderr)

    @property
    def watched(self) -> bool:
        """Whether somebody sees stderr, so that bars and live panels are worth drawing."""
        return self.err.is_terminal and not self.err.is_dumb_terminal

    def note(self, text: str) -> None:
        """A line about what happens, to stderr."""
        self.err.print(text, markup=False, soft_wrap=True)

    def document(self, value: Any) -> None:
        """The JSON document of the command; nothing outside JSON mode."""
        if self.as_json:
            sys.stdout.write(json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
            sys.stdout.flush()

    @contextmanager
    def wait(self, text: str) -> Iterator[None]:
        """A spinner with the seconds so far; one plain line where nobody watches."""
        if not self.watched:
            self.note(text)
            yield
            return
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
        with Progress(*columns, console=self.err, transient=True) as progress:
            progress.add_task(text)
            yield

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Turns what the library raises into one line, a hint and an exit status."""
        import typer

        try:
            yield
        except DraftwoodError as error:
            if self.debug:
                raise
            self._report(error)
            raise typer.Exit(_FAILED) from None
        except KeyboardInterrupt:
            self.note("stopped")
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            # The reader has gone (`| head`): say nothing, and let the interpreter's last flush go nowhere.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(128 + signal.SIGPIPE) from None

    def _report(self, error: DraftwoodError) -> None:
        hint = error.hint or ""
        message = " ".join(str(error).split())
        if hint:
            message = message.removesuffix(" ".join(hint.split())).rstrip("; ")
        self.err.print("error:", printable(message), style="red", markup=False, soft_wrap=True)
        if hint:
            self.err.print("hint: ", printable(hint), markup=False, soft_wrap=True)
        self.document({"error": {"class": type(error).__name__, "message": message, "hint": hint or None}})


class Interrupt:
    """Inside this context the first ctrl-C only sets `pressed`, so that a step ends whole; the second one raises."""

    def __init__(self) -> None:
        self.pressed = False

    def __enter__(self) -> Interrupt:
        self._is_main = threading.current_thread() is threading.main_thread()
        if self._is_main:
            self._before = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_main:
            signal.signal(signal.SIGINT, self._before)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.pressed:
            raise KeyboardInterrupt
        self.pressed = True


def printable(text: str) -> str:
    """`text` without characters that would steer the terminal: generated text is not trusted with that."""
    return "".join(char if char in "\n\t" or char.isprintable() else "�" for char in text)


def _console(file: Any, *, quiet: bool = False) -> Console:
    from rich.console import Console

    console = Console(file=file, quiet=quiet, highlight=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _PIPE_WIDTH
    return console


def _plain(value: Any) -> Any:
    """Arrays as lists, and null for numbers that JSON does not have."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
