"""What this machine is: cores, memory, and how fast memory can be read."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

__all__ = ["describe", "read_bandwidth"]

_CACHE_MULTIPLE = 8
_LEAST_BYTES = 256 << 20


def describe() -> dict[str, Any]:
    """Processor, usable cores, instruction set, memory and huge pages; None for what the system does not tell."""
    from ..runtime import backend, num_threads

    return {
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "python": platform.python_version(),
        "processor": _processor(),
        "instruction_set": backend()["cpu"],
        "kernels": backend()["kernels"],
        "fast_numerics": backend()["fast"],
        "weights": backend()["weights"],
        "threads": num_threads(),
        "cores": usable_cores(),
        "cpu_quota": _quota(),
        "last_level_cache_mib": _mib(last_level_cache()),
        "memory_gib": round(total_memory() / 2**30, 1),
        "huge_pages": _chosen(Path("/sys/kernel/mm/transparent_hugepage/enabled")),
    }


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def total_memory() -> int:
    """Bytes of the machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def last_level_cache() -> int | None:
    """Bytes of the largest cache of core 0."""
    sizes = [
        _bytes(text) for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size") if (text := _read(path))
    ]
    return max(sizes, default=None)


def read_bandwidth(bytes: int | None = None) -> float:
    """Bytes per second of reading memory with the native executor's threads, as its kernels read it.

    8 last-level caches or more, so that each pass comes from memory, as the weights do in decoding; or `bytes`.
    """
    from .._core import num_threads
    from .._core import read_bandwidth as read

    wanted = max(_LEAST_BYTES, _CACHE_MULTIPLE * (last_level_cache() or 0)) if bytes is None else bytes
    return read(num_threads(), min(wanted, total_memory() // 8))


def _processor() -> str:
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _quota() -> float | None:
    """Cores that the control group allows, None without a limit."""
    quota, _, period = _read(Path("/sys/fs/cgroup/cpu.max")).partition(" ")
    if not period:
        quota = _read(Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"))
        period = _read(Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us"))
    try:
        return float(quota) / float(period) if float(quota) > 0 else None
    except ValueError:
        return None


def _chosen(path: Path) -> str | None:
    """The bracketed word of a setting such as `always [madvise] never`."""
    return _read(path).partition("[")[2].partition("]")[0] or None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _bytes(size: str) -> int:
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    return int(size.rstrip("KMG")) * units.get(size[-1], 1)


def _mib(count: int | None) -> float | None:
    return None if count is None else count / 2**20
