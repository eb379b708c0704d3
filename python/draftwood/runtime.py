"""What runs where."""

from __future__ import annotations

__all__ = ["backend", "num_threads", "set_num_threads"]


def backend() -> dict[str, str]:
    """Which implementations are in use and why.

    Returns
        A dict: `cpu` (the vector instruction set, as `DRAFTWOOD_ISA` spells it), `kernels` (the same with what exact
        products use beside it: "avx512+vnni"), `fast` (what numerics="fast" computes with), `weights` (whether files
        are copied or mapped), `torch`, `transformers`, `cuda`, each with its version or what is missing. Imports
        nothing.
    Example
        >>> import draftwood as dw
        >>> sorted(dw.runtime.backend())
        ['cpu', 'cuda', 'fast', 'kernels', 'torch', 'transformers', 'weights']
    """
    from importlib.metadata import PackageNotFoundError, version

    from . import _core
    from .models.memory import free_memory

    def installed(package: str, extra: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return f"not installed: pip install 'draftwood[{extra}]'"

    return {
        "cpu": _core.isa(),
        "kernels": _core.NativeExecutor.machine(),
        "fast": "bf16 products" if _core.bf16_products() else "no bf16 products here: the exact kernels run",
        "weights": f"repacked; read as mapped from {free_memory() / 2e9:.1f} GB on, half of the free memory",
        "torch": installed("torch", "torch"),
        "transformers": installed("transformers", "torch"),
        "cuda": "no kernels in this version: the CPU runs",
    }


def num_threads() -> int:
    """Threads of the native executor: `set_num_threads`, `DRAFTWOOD_THREADS`, or what the system allows.

    The system allows the least of affinity mask, cgroup quota (rounded down) and physical cores. The threads start with
    the first step; a forked child starts its own. They wait 0.5 ms for the next step and then sleep, so that an idle
    engine takes no processor time from torch or anyone else.
    """
    from . import _core

    return _core.num_threads()


def set_num_threads(threads: int) -> None:
    """Lets later steps of all engines run on so many threads; texts do not depend on it.

    Errors
        InvalidArgument unless it is from 1 to 1024.
    Example
        >>> import draftwood as dw
        >>> dw.runtime.set_num_threads(2)
        >>> dw.runtime.num_threads()
        2
    """
    from . import _core
    from .errors import InvalidArgument

    if not isinstance(threads, int) or not 1 <= threads <= 1024:
        raise InvalidArgument.of("threads", "1 … 1024", repr(threads))
    _core.set_num_threads(threads)
