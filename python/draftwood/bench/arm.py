"""The parent's side of an arm: start, wake, ask, stop, end. An arm that fails says why and stays in the report."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any

from .check import FLOAT32_ROUNDING
from .worker import command, read_frame, write_frame

__all__ = ["Arm", "ArmFailed", "ArmSpec"]

_TOOLS = ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "RAYON", "DRAFTWOOD")
_LAST_LINES = 3
_PATIENCE = 5.0


class ArmFailed(Exception):
    """An arm died, hung, answered wrongly or is not installed."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True)
class ArmSpec:
    """One side of a comparison: an adapter, the Python that runs it, and its settings."""

    name: str
    adapter: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    python: str | None = None
    """The interpreter of a peer's own environment; None for the one that draftwood runs in."""
    ours: bool = True
    exact: bool = False
    """Whether its answers must equal the reference's without the excuse of a near-tie."""
    rounding: float = FLOAT32_ROUNDING
    """Largest difference of log-probabilities to the reference that is still rounding."""
    cache: str = "f32"
    """How it keeps keys and values: its floor counts the bytes of that."""
    compared: bool = True
    """Whether its answers must be the reference's; not for a peer that has only weights of its own rounding."""
    needs: tuple[Path, ...] = ()
    """Files that `install` makes."""
    install: str = "make peers"


class Arm:
    """A worker process, stopped unless it is asked something.

    Errors
        Every method but `close` raises `ArmFailed`; after that the process is gone and the arm only remembers why.
    """

    def __init__(self, spec: ArmSpec, threads: int, timeout: float) -> None:
        self.spec, self._timeout = spec, timeout
        self._settings = {"threads": threads, **spec.settings}
        self._process: subprocess.Popen[bytes] | None = None
        self._messages: Any = None
        self.failed: ArmFailed | None = None
        self.about: dict[str, Any] = {}

    def __enter__(self) -> Arm:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def process_id(self) -> int | None:
        """The worker's process id, which is also its group's."""
        return None if self._process is None else self._process.pid

    def open(self) -> None:
        """Starts the process and lets it read its weights."""
        environment = () if self.spec.python is None else (Path(self.spec.python),)
        for path in (*environment, *self.spec.needs):
            if not path.exists():
                raise self._fail("missing", f"nothing at {path}; {self.spec.install}")
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the arm
        try:
            self._process = subprocess.Popen(
                command(self.spec.python or sys.executable, str(self.spec.adapter)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._messages,
                env=_environment(self._settings["threads"], foreign=self.spec.python is not None),
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            raise self._fail("failed", f"could not be started: {error}")
        self.about = self.ask({"do": "open", "settings": self._settings})["about"]

    def ask(self, frame: Mapping[str, Any]) -> dict[str, Any]:
        """Wakes the worker, waits for its answer and stops it again."""
        if self.failed is not None:
            raise self.failed
        assert self._process is not None
        self._signal(signal.SIGCONT)
        reply = self._exchange(dict(frame))
        self._stop()
        if "missing" in reply:
            raise self._fail("missing", f"{reply['error']}; {self.spec.install}")
        if "error" in reply:
            raise self._fail("failed", reply["error"])
        return reply

    def fail(self, reason: str) -> ArmFailed:
        """Ends the arm for what its answers were."""
        return self._fail("failed", reason)

    def close(self) -> None:
        """Ends the process and whatever it started."""
        if self._process is None:
            return
        self._signal(signal.SIGKILL)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait()
        self._process = None
        self._messages.close()

    def _exchange(self, frame: dict[str, Any]) -> dict[str, Any]:
        assert self._process is not None and self._process.stdin is not None and self._process.stdout is not None
        try:
            write_frame(self._process.stdin, frame)
            reply = read_frame(_Patient(self._process.stdout.fileno(), self._timeout))  # type: ignore[arg-type]
        except TimeoutError:
            raise self._fail("failed", f"hung: no answer within {self._timeout:g} s to {frame['do']}")
        except BrokenPipeError:
            reply = None
        except ValueError as error:
            raise self._fail("failed", f"answered with bytes that are no message: {error}")
        if reply is None:
            raise self._fail("failed", f"died during {frame['do']}: {self._ending()}")
        return reply

    def _fail(self, status: str, reason: str) -> ArmFailed:
        if status == "failed" and self._messages is not None and (lines := self._last_lines()):
            reason = f"{reason}; its last lines: {lines}"
        self.failed = ArmFailed(status, reason)
        self.close()
        return self.failed

    def _ending(self) -> str:
        assert self._process is not None
        try:
            status = self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            return "it closed its pipe and went on"
        if status >= 0:
            return f"exit status {status}"
        known = {number.value: number.name for number in signal.Signals}
        return f"signal {known.get(-status, -status)}"

    def _last_lines(self) -> str:
        self._messages.seek(0)
        lines = self._messages.read().decode(errors="replace").strip().splitlines()
        return " | ".join(line.strip() for line in lines[-_LAST_LINES:])

    def _stop(self) -> None:
        """Returns when all threads stand still: on a busy machine a signal takes its time to arrive."""
        assert self._process is not None
        self._signal(signal.SIGSTOP)
        child = (os.P_PID, self._process.pid)
        # Without WNOWAIT a process that has ended instead would be gone before `Popen` learns how.
        state = os.waitid(*child, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        if state is not None and state.si_code == os.CLD_STOPPED:
            os.waitid(*child, os.WSTOPPED | os.WNOHANG)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            pass


class _Patient:
    """Reads a pipe with one deadline for the whole message."""

    def __init__(self, descriptor: int, seconds: float) -> None:
        self._descriptor, self._deadline = descriptor, monotonic() + seconds

    def read(self, count: int) -> bytes:
        got = bytearray()
        while len(got) < count:
            left = self._deadline - monotonic()
            if left <= 0 or not select.select([self._descriptor], [], [], left)[0]:
                raise TimeoutError
            piece = os.read(self._descriptor, min(count - len(got), 1 << 16))
            if not piece:
                break
            got += piece
        return bytes(got)


def _environment(threads: int, *, foreign: bool) -> dict[str, str]:
    """The same number of threads for everybody's libraries; a peer's environment sees none of our packages."""
    kept = {name: value for name, value in os.environ.items() if not (foreign and name.startswith("PYTHON"))}
    return {**kept, **{f"{tool}_NUM_THREADS": str(threads) for tool in _TOOLS}, "TOKENIZERS_PARALLELISM": "false"}
