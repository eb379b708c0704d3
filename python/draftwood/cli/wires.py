"""Lines between two columns of a lattice, drawn with the characters for boxes."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["BEST", "DIM", "KEPT", "gutter"]

DIM, KEPT, BEST = 0, 1, 2
"""Of a line: leads to nothing, to a hypothesis, to the best one, which has heavy strokes."""

_UP, _DOWN, _LEFT, _RIGHT = 1, 2, 4, 8
_LIGHT = {
    _LEFT | _RIGHT: "─", _UP | _DOWN: "│", _DOWN | _RIGHT: "╭", _LEFT | _DOWN: "╮", _LEFT | _UP: "╯", _UP | _RIGHT: "╰",
    _LEFT | _RIGHT | _DOWN: "┬", _LEFT | _RIGHT | _UP: "┴", _UP | _DOWN | _RIGHT: "├", _UP | _DOWN | _LEFT: "┤",
    _UP | _DOWN | _LEFT | _RIGHT: "┼",
}  # fmt: skip
_HEAVY = {"─": "━", "┬": "┯", "┴": "┷", "┼": "┿"}


def gutter(edges: Sequence[tuple[int, int, int]], rows: int) -> list[list[tuple[str, int]]]:
    """Draws the lines from rows of one column to rows of the next.

    Each parent has one vertical stroke, in a track left or right of its neighbours' so that no two lines cross.

    Shapes
        edges: (row of the parent, row of the child, rank), children in order, theirs being that of their parents.
    Returns
        Per row as many (character, rank) as there are tracks, and one on each side.
    """
    children: dict[int, list[int]] = {}
    for parent, child, _ in edges:
        children.setdefault(parent, []).append(child)
    track = _tracks(children)
    size = max(track.values(), default=0) + 3
    strokes = [[0] * size for _ in range(rows)]
    ranks = [[DIM] * size for _ in range(rows)]
    for parent, child, rank in edges:
        at = track[parent] + 1
        path = [(parent, x, _LEFT | _RIGHT) for x in range(at)]
        path += [(child, x, _LEFT | _RIGHT) for x in range(at + 1, size)]
        path += [(parent, at, _LEFT), (child, at, _RIGHT)]
        low, high = sorted((parent, child))
        path += [(row, at, _DOWN) for row in range(low, high)] + [(row, at, _UP) for row in range(low + 1, high + 1)]
        for row, x, stroke in path:
            strokes[row][x] |= stroke
            ranks[row][x] = max(ranks[row][x], rank)
    drawn = []
    for row in range(rows):
        chars = [_LIGHT.get(stroke, " ") for stroke in strokes[row]]
        pairs = zip(chars, ranks[row], strict=True)
        drawn.append([(_HEAVY.get(char, char) if rank == BEST else char, rank) for char, rank in pairs])
    return drawn


def _tracks(children: dict[int, list[int]]) -> dict[int, int]:
    """A track for the vertical stroke of each parent. Of two strokes that meet, the one whose line comes in where the
    other passes must be in front of it."""
    order = list(children)
    track = dict.fromkeys(order, 0)
    for _ in order:  # no chain of such pairs is longer than this
        for i, upper in enumerate(order):
            for lower in order[i + 1 :]:
                if max(children[upper]) >= lower:  # the upper one goes down past the lower one
                    track[upper] = max(track[upper], track[lower] + 1)
                elif min(children[lower]) <= upper:
                    track[lower] = max(track[lower], track[upper] + 1)
    return track
