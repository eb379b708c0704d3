"""What a model is on this machine, found by loading it: who runs it, on which kernels, what a step reads and takes."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from ..errors import DraftwoodError, UnsupportedModel
from .pages import Pages, pages_beyond, read_pages

if TYPE_CHECKING:
    from ..executors.native import NativeExecutor

__all__ = ["Examined", "examine"]

_STEPS, _SECONDS = 15, 0.3


@dataclass(frozen=True, slots=True)
class Examined:
    """What `Engine.load` makes of a source."""

    executor: str | None
    """As `Engine.stats()` names it; None if nothing here runs the model."""
    instruction_set: str | None
    """What the native kernels of these weights use."""
    step_bytes: int | None
    """Bytes of weights that decoding a token reads, as the executor keeps them."""
    step_seconds: float | None
    """Median of a step of one row in an empty cache, just now."""
    pages: Pages | None
    needs: tuple[str, ...] = ()
    """Packages that running it takes beside our own."""
    problem: str | None = None
    hint: str | None = None


def examine(source: str, float32_bytes: int | None) -> Examined:
    """Loads a model as `Engine.load` does and looks at it. `float32_bytes`: what transformers would read per token.

    Cost
        That of loading, and 0.3 s of steps. A model that the native executor does not know is not loaded.
    """
    from ..engine import Engine

    before = read_pages()
    try:
        with Engine.load(source, executor="native", drafter=None) as engine:
            native: NativeExecutor = engine.executor  # type: ignore[assignment]
            pages = pages_beyond(before)
            seconds = _step_seconds(native)
            return Examined(native.caps.name, native.instruction_set, native.step_bytes, seconds, pages)
    except UnsupportedModel as error:
        if Path(source).expanduser().is_dir():
            name = f"transformers in float32, since native does not know {error.what}"
            return Examined(name, None, float32_bytes, None, None, ("torch", "transformers"))
        return _problem(error)
    except DraftwoodError as error:
        return _problem(error)


def _problem(error: DraftwoodError) -> Examined:
    return Examined(None, None, None, None, None, (), str(error), error.hint)


def _step_seconds(executor: NativeExecutor) -> float:
    executor.probe(1)
    begin = perf_counter()
    steps: list[float] = []
    while len(steps) < _STEPS and (not steps or perf_counter() - begin < _SECONDS):
        start = perf_counter()
        executor.probe(1)
        steps.append(perf_counter() - start)
    return statistics.median(steps)
