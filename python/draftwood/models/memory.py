"""Whether weights of files are copied into the kernels' order or read where they are mapped."""

from __future__ import annotations

import os
from collections.abc import Iterable

from .._core import GgufFile, SafeTensors
from ..errors import InvalidArgument

__all__ = ["free_memory", "is_mapped"]


def free_memory() -> int:
    """Bytes that programs can still have without others being pushed out."""
    try:
        with open("/proc/meminfo") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) << 10
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def is_mapped(files: GgufFile | SafeTensors, wanted: str, dtype: str) -> bool:
    """`weights=` of `Engine.load`, decided: "auto" maps what is larger than half of the free memory.

    Errors
        InvalidArgument for "map" of weights that float32 would have to be made of.
    """
    float32 = dtype != "float32" or all(kind == "F32" for kind in _kinds(files))
    if wanted == "auto":
        return float32 and 2 * sum(os.path.getsize(path) for path in files.files()) > free_memory()
    if wanted == "map" and not float32:
        others = ", ".join(sorted(_kinds(files) - {"F32"}))
        hint = 'activations="float32" multiplies such weights as if they were float32'
        raise InvalidArgument.of("dtype", f'"auto" with weights="map" of {others}', '"float32"', hint)
    return wanted == "map"


def _kinds(files: GgufFile | SafeTensors) -> set[str]:
    tensors: Iterable[tuple[str, tuple[int, ...], str]] = files.tensors()
    return {kind for _, dims, kind in tensors if len(dims) > 1}
