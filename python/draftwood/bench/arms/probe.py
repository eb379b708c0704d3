"""The arm that measures what the machine gives: the two sides of a roofline, in the threads that the arms have."""

from __future__ import annotations

from time import perf_counter
from typing import Any

Frame = dict[str, Any]

_SIDE = 768
_PRODUCTS = 12


class Arm:
    """`settings`: "threads" and "bytes", how much memory to read."""

    def __init__(self, settings: Frame) -> None:
        self._threads, self._bytes = settings["threads"], settings["bytes"]

    def about(self) -> Frame:
        """The instruction set of our kernels."""
        from draftwood import _core

        return {"isa": _core.isa()}

    def run(self, work: Frame) -> Frame:
        """`work["kind"]`: `bandwidth` gives bytes per second, `arithmetic` multiply-adds per second."""
        return {"value": self._bandwidth() if work["kind"] == "bandwidth" else self._arithmetic()}

    def _bandwidth(self) -> float:
        from draftwood import _core

        return _core.read_bandwidth(self._threads, self._bytes)

    def _arithmetic(self) -> float:
        """The best of a few float32 products of matrices that lie in the caches, by the library that NumPy uses."""
        import numpy as np

        left, right = np.ones((_SIDE, _SIDE), np.float32), np.ones((_SIDE, _SIDE), np.float32)
        out = np.empty_like(left)
        best = float("inf")
        for _ in range(_PRODUCTS):
            begin = perf_counter()
            np.matmul(left, right, out=out)
            best = min(best, perf_counter() - begin)
        return _SIDE**3 / best
