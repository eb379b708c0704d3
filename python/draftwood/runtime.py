"""What runs where."""

from __future__ import annotations

__all__ = ["backend"]


def backend() -> dict[str, str]:
    """Which implementations are in use and why.

    Returns
        A dict: `cpu` (the instruction set of the Rust kernels), `torch`, `cuda`, each with its version or what is
        missing. Imports nothing.
    Example
        >>> import draftwood as dw
        >>> sorted(dw.runtime.backend())
        ['cpu', 'cuda', 'torch', 'transformers']
    """
    from importlib.metadata import PackageNotFoundError, version

    from . import _core

    def installed(package: str, extra: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return f"not installed: pip install 'draftwood[{extra}]'"

    return {
        "cpu": _core.isa(),
        "torch": installed("torch", "torch"),
        "transformers": installed("transformers", "torch"),
        "cuda": "no kernels in this version: the CPU runs",
    }
