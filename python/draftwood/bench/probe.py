"""What the machine gives, measured in a worker like the arms', so that it disturbs nobody and stops with them."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import InternalError
from .arm import Arm, ArmFailed, ArmSpec

__all__ = ["Probe", "probe_bytes"]

_ADAPTER = Path(__file__).with_name("arms") / "probe.py"
_CACHES, _LEAST_BYTES = 8, 256 << 20
_TIMEOUT = 120.0


def probe_bytes() -> int:
    """Eight last-level caches, so that reading them is reading memory; at most an eighth of the memory."""
    from ..cli.machine import last_level_cache, total_memory

    return min(max(_LEAST_BYTES, _CACHES * (last_level_cache() or 0)), total_memory() // 8)


class Probe:
    """Bandwidth and arithmetic of `threads` threads."""

    def __init__(self, threads: int, bytes: int | None = None) -> None:
        size = probe_bytes() if bytes is None else bytes
        self._arm = Arm(ArmSpec("probe", _ADAPTER, {"bytes": size}, install="reinstall draftwood"), threads, _TIMEOUT)

    def __enter__(self) -> Probe:
        try:
            self._arm.open()
        except ArmFailed as failure:
            raise _error(failure) from failure
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._arm.close()

    @property
    def process_id(self) -> int | None:
        """The worker's."""
        return self._arm.process_id

    @property
    def isa(self) -> str:
        """The instruction set of our kernels on this machine."""
        return str(self._arm.about["isa"])

    def bandwidth(self, bytes: int | None = None) -> float:
        """Bytes per second of reading memory; of `bytes` of it, again and again, if that is given."""
        return self._value({"kind": "bandwidth", "bytes": bytes})

    def arithmetic(self, kind: str) -> float:
        """Multiply-adds per second of our kernel for a type of weights, inside the caches."""
        return self._value({"kind": "arithmetic", "type": kind})

    def _value(self, work: dict[str, Any]) -> float:
        try:
            return float(self._arm.ask({"do": "run", "work": work})["value"])
        except ArmFailed as failure:
            raise _error(failure) from failure


def _error(failure: ArmFailed) -> InternalError:
    return InternalError(f"the probe of the machine failed: {failure}")
