"""Whether torch's threads go on spinning after an operation, on the cores that the native executor's threads want."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

__all__ = ["find_openmp", "spinning", "torch_warning"]

_SETTING = "OMP_WAIT_POLICY=PASSIVE"
_FEW_SPINS = 10_000
"""Turns of GNU's waiting loop that pass in less than the 0.5 ms for which our own threads wait."""
_GNU_DEFAULT, _INTEL_DEFAULT = "300,000 turns of a loop, milliseconds", "200 ms"
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def torch_warning(environ: Mapping[str, str] = os.environ) -> str | None:
    """What to set so that torch and native engines of one process do not take the cores from each other; None if
    nothing. Imports nothing.

    Torch runs its operations on threads of an OpenMP library, which spin after each one before they sleep. A native
    step that begins meanwhile shares its cores with them.
    """
    spec = find_spec("torch")
    if spec is None:
        return None
    openmp = find_openmp([Path(place) for place in spec.submodule_search_locations or ()])
    why = None if openmp is None else spinning(openmp, environ)
    if why is None:
        return None
    return (
        f"torch's threads ({openmp}) spin on after each operation, {why}, beside the threads of the native executor; "
        f"where one process runs both, set {_SETTING} before Python starts"
    )


def find_openmp(folders: list[Path]) -> str | None:
    """The OpenMP library that torch, installed in these folders, brings: "gomp", "iomp5" or "omp"."""
    for folder in folders:
        for place in (folder / "lib", folder.parent / "torch.libs"):
            for path in sorted(place.glob("lib*omp*")):
                found = re.match(r"lib(gomp|iomp5|omp)\b", path.name.replace("-", "."))
                if found:
                    return found[1]
    return None


def spinning(openmp: str, environ: Mapping[str, str]) -> str | None:
    """For how long threads of this library spin, in words; None if they are alone or sleep at once."""
    told = {name: environ.get(name, "").strip().lower() for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY")}
    if told["OMP_NUM_THREADS"].partition(",")[0].strip() == "1":
        return None
    if openmp == "gomp":
        return _gnu(environ.get("GOMP_SPINCOUNT", ""), told["OMP_WAIT_POLICY"])
    return _intel(environ.get("KMP_BLOCKTIME", ""), told["OMP_WAIT_POLICY"])


def _gnu(spins: str, policy: str) -> str | None:
    """libgomp: GOMP_SPINCOUNT goes before OMP_WAIT_POLICY."""
    value = spins.strip().lower()
    if value.startswith("infinit"):
        return "for ever (GOMP_SPINCOUNT)"
    count = re.fullmatch(r"(\d+)\s*([kmgt]?)", value)
    if count:
        turns = int(count[1]) * _UNITS[count[2]]
        return None if turns <= _FEW_SPINS else f"{turns:,} turns of a loop (GOMP_SPINCOUNT)"
    if policy == "passive":
        return None
    return "for minutes (OMP_WAIT_POLICY=ACTIVE)" if policy == "active" else _GNU_DEFAULT


def _intel(blocktime: str, policy: str) -> str | None:
    """Intel's and LLVM's: KMP_BLOCKTIME, in milliseconds unless it says µs, goes before OMP_WAIT_POLICY."""
    value = blocktime.strip().lower()
    if value.startswith("infinit"):
        return "for ever (KMP_BLOCKTIME)"
    count = re.fullmatch(r"(\d+)\s*(us|ms|s)?", value)
    if count:
        return None if int(count[1]) == 0 else f"{count[1]} {count[2] or 'ms'} (KMP_BLOCKTIME)"
    if policy == "passive":
        return None
    return "for ever (OMP_WAIT_POLICY=ACTIVE)" if policy == "active" else _INTEL_DEFAULT
