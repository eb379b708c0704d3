"""A picture of the rows: ratios with their intervals, and a roofline of what has a floor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InvalidArgument

__all__ = ["check_path", "plot"]

_FORMATS = (".png", ".svg", ".pdf")
_EXTRA = "pip install 'draftwood[bench]'"
_OURS, _THEIRS = "#1b6e53", "#8a8f98"
_WIDTH, _LINE, _LEAST = 9.0, 0.36, 2.4


def check_path(path: Path) -> None:
    """Refuses, before anything is measured, what could not be drawn after it."""
    from importlib.util import find_spec

    if path.suffix.lower() not in _FORMATS:
        raise InvalidArgument.of("--plot", "a file ending in " + ", ".join(_FORMATS), str(path))
    if find_spec("matplotlib") is None:
        raise InvalidArgument.of("--plot", "used with matplotlib installed", "none", _EXTRA)


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Writes the picture; arms without figures are named with what became of them."""
    from matplotlib.figure import Figure

    bars = [row for row in rows if not row["reference"]]
    roofs = [row for row in rows if row["floor"] is not None]
    height = max(_LEAST, _LINE * (len(bars) + 2))
    figure = Figure(figsize=(_WIDTH, height + (4.0 if roofs else 0.0)), layout="constrained")
    parts = figure.subplots(2 if roofs else 1, 1, squeeze=False, height_ratios=[height, 4.0] if roofs else [1])
    _ratios(parts[0, 0], bars)
    if roofs:
        _roofline(parts[1, 0], roofs)
    if rows:
        first = rows[0]
        where = (first["machine"]["processor"], first["isa"], f"threads: {first['threads']}", first["time"][:10])
        figure.suptitle(", ".join(where), fontsize=10)
    figure.savefig(path, dpi=150)


def _ratios(axes: Any, rows: Sequence[dict[str, Any]]) -> None:
    for place, row in enumerate(rows):
        color = _OURS if row["ours"] else _THEIRS
        ratio = row["ratio"]
        if ratio is None:
            _label(axes, row["status"], 1.0, place)
            continue
        error = [[ratio["median"] - ratio["low"]], [ratio["high"] - ratio["median"]]]
        axes.barh(place, ratio["median"], color=color, height=0.6, alpha=1.0 if ratio["claim"] else 0.5)
        axes.errorbar(ratio["median"], place, xerr=error, color="black", capsize=3, linewidth=1)
        _label(axes, f"{ratio['median']:.2f}×", ratio["high"], place)
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [f"{row['case']}: {row['arm']}" for row in rows], fontsize=8)
    axes.set_ylim(max(len(rows), 1) - 0.4, -0.6)
    axes.margins(x=0.12)
    axes.set_xlim(left=0.0)
    axes.set_xlabel("seconds over the reference's, 95 % interval; pale: no claim", fontsize=8)


def _roofline(axes: Any, rows: Sequence[dict[str, Any]]) -> None:
    """Multiply-adds per second over multiply-adds per byte: memory limits under the slope, arithmetic on top."""
    import numpy as np

    points = [(row["floor"]["multiply_adds"] / row["floor"]["bytes"], row) for row in rows]
    bandwidth = max(row["bandwidth"]["bytes_per_second"] for row in rows)
    rate = max(row["multiply_adds_per_second"] for row in rows)
    ridge = rate / bandwidth
    xs = np.geomspace(min(ridge, *(x for x, _ in points)) / 3, max(ridge, *(x for x, _ in points)) * 3, 200)
    axes.plot(xs, np.minimum(xs * bandwidth, rate) / 1e9, color="black", linewidth=1)
    for x, row in points:
        y = row["floor"]["multiply_adds"] / row["spread"]["median"] / 1e9
        axes.plot(x, y, "o", color=_OURS if row["ours"] else _THEIRS, markersize=5)
        _label(axes, f"{row['case']}: {row['arm']}, {row['floor']['share']:.0%}", x, y)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("multiply-adds per byte of weights and cache", fontsize=8)
    axes.set_ylabel("billion multiply-adds per second", fontsize=8)
    axes.set_title(f"roof: {bandwidth / 1e9:.1f} GB/s, {rate / 1e9:.0f} billion multiply-adds/s", fontsize=9)


def _label(axes: Any, text: str, x: float, y: float) -> None:
    axes.annotate(text, (x, y), (5, 0), textcoords="offset points", va="center", fontsize=7)
