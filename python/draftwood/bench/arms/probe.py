"""The arm that measures what the machine gives: the two sides of a roofline, in the threads that the arms have."""

from __future__ import annotations

from typing import Any

from draftwood import _core

Frame = dict[str, Any]


class Arm:
    """`settings`: "threads" and "bytes", how much memory to read."""

    def __init__(self, settings: Frame) -> None:
        self._threads, self._bytes = settings["threads"], settings["bytes"]

    def about(self) -> Frame:
        """The instruction set of our exact kernels."""
        return {"isa": _core.NativeExecutor.machine()}

    def run(self, work: Frame) -> Frame:
        """`work["kind"]`: `bandwidth` gives bytes per second, `arithmetic` multiply-adds per second of a "type"."""
        if work["kind"] == "bandwidth":
            return {"value": _core.read_bandwidth(self._threads, work.get("bytes") or self._bytes)}
        return {"value": _core.multiply_rate(self._threads, work["type"])}
