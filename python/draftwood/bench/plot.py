"""A picture of the rows: ratios with their intervals, and a roofline of what has a floor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InvalidArgument

__all__ = ["check_path", "plot"]

_FORMATS = (".png", ".svg", ".pdf")
_EXTRA = "pip install 'draftwood[bench]'"
_OURS, _THEIRS = "#1b6e53", ("#8a8f98", "#b5651d", "#4a6fa5", "#9b59b6")
_WIDTH, _LINE, _LEAST, _ROOF = 9.0, 0.36, 2.4, 4.0


def check_path(path: Path) -> None:
    """Refuses, before anything is measured, what could not be drawn after it."""
    from importlib.util import find_spec

    if path.suffix.lower() not in _FORMATS:
        raise InvalidArgument.of("--plot", "a file ending in " + ", ".join(_FORMATS), str(path))
    if find_spec("matplotlib") is None:
        raise InvalidArgument.of("--plot", "used with matplotlib installed", "none", _EXTRA)


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Writes the picture: ratios, one roofline per type of weights; arms without figures say what became of them."""
    from matplotlib.figure import Figure

    bars = [row for row in rows if not row["reference"]]
    roofs: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["floor"] is not None:
            roofs.setdefault(row["weights"], []).append(row)
    height = max(_LEAST, _LINE * (len(bars) + 2))
    heights = [height] + [_ROOF] * len(roofs)
    figure = Figure(figsize=(_WIDTH, sum(heights)), layout="constrained")
    parts = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    _ratios(parts[0], bars)
    for axes, (weights, some) in zip(parts[1:], roofs.items(), strict=True):
        _roofline(axes, weights, some)
    if rows:
        first = rows[0]
        where = (first["machine"]["processor"], first["isa"], f"threads: {first['threads']}", first["time"][:10])
        figure.suptitle(", ".join(where), fontsize=10)
    figure.savefig(path, dpi=150)


def _ratios(axes: Any, rows: Sequence[dict[str, Any]]) -> None:
    for place, row in enumerate(rows):
        color = _OURS if row["ours"] else _THEIRS[0]
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


def _roofline(axes: Any, weights: str, rows: Sequence[dict[str, Any]]) -> None:
    """Multiply-adds per second over multiply-adds per byte: memory limits under the slope, arithmetic on top.

    A step of n rows is a point of its own; the line through them is an arm's t(n).
    """
    import numpy as np

    bandwidth = max(row["bandwidth"]["bytes_per_second"] for row in rows)
    # A mixture of types has the rate that its products take together.
    floors = [row["floor"] for row in rows if row["floor"]["arithmetic_seconds"] > 0.0]
    rate = max(floor["multiply_adds"] / floor["arithmetic_seconds"] for floor in floors)
    ridge = rate / bandwidth
    drawn: list[dict[str, Any]] = []
    for row in rows:
        color = _OURS if row["ours"] else _THEIRS[sum(not other["ours"] for other in drawn) % len(_THEIRS)]
        points = _points(row)
        xs, ys = [x for x, _, _ in points], [y for _, y, _ in points]
        axes.plot(xs, ys, "o-", color=color, markersize=4, linewidth=0.8, label=f"{row['case']}: {row['arm']}")
        if row["ours"]:
            for x, y, text in points:
                axes.annotate(text, (x, y), (3, -9), textcoords="offset points", fontsize=6, color=color)
        drawn.append(row)
    every = [x for row in rows for x, _, _ in _points(row)]
    roof = np.geomspace(min(ridge, *every) / 2, max(ridge, *every) * 2, 200)
    axes.plot(roof, np.minimum(roof * bandwidth, rate) / 1e9, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("multiply-adds per byte of weights and cache", fontsize=8)
    axes.set_ylabel("billion multiply-adds per second", fontsize=8)
    axes.legend(fontsize=7, loc="lower right")
    limits = f"{bandwidth / 1e9:.1f} GB/s, {rate / 1e9:.0f} billion multiply-adds/s in cache"
    axes.set_title(f"{weights}: {limits}; beside our points rows and share of the roof", fontsize=9)


def _points(row: dict[str, Any]) -> list[tuple[float, float, str]]:
    """Intensity, billion multiply-adds per second and a label of each work; of a case of several texts, of all."""
    works = {work["name"]: work for work in row["works"]}
    steps = {name: one for name, one in row["by_work"].items() if works[name]["kind"] == "rows"}
    if not steps:
        steps = {row["case"]: {"floor": row["floor"], "median": row["spread"]["median"]}}
    points = []
    for name, one in steps.items():
        floor = one["floor"]
        label = f"{works[name]['rows'] if name in works else name}: {floor['share']:.0%}"
        points.append((floor["multiply_adds"] / floor["bytes"], floor["multiply_adds"] / one["median"] / 1e9, label))
    return points


def _label(axes: Any, text: str, x: float, y: float) -> None:
    axes.annotate(text, (x, y), (5, 0), textcoords="offset points", va="center", fontsize=7)
