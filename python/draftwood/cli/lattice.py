"""A beam lattice as lines of text: a column per step, a line of each column per beam, the best text along the top."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .draw import CHECK, elided
from .wires import BEST, DIM, KEPT, gutter

if TYPE_CHECKING:
    from rich.text import Text

    from ..types import Hypothesis, Lattice

__all__ = ["LEGEND", "draw_lattice"]

LEGEND = "✓ best, ■1 ■2 … returned, ■ finished, not returned, × crowded out, ○ unfinished at the end"
_STYLES = {DIM: "dim", KEPT: "default", BEST: "bold green"}
_PROMPT, _ENDED, _DEAD, _OPEN = "•", "■", "×", "○"
_LABEL_MOST, _LABEL_LEAST = 16, 4
_NARROW = 36
"""Columns below which there is no room for scores."""


@dataclass(slots=True)
class _Node:
    """A text of the lattice: what its cell says, and where it stands in its column."""

    label: str
    mark: str
    score: str
    parent: _Node | None
    children: list[_Node] = field(default_factory=list)
    slot: int = 0
    rank: int = DIM
    best: int = 1 << 30
    """The best hypothesis below it, counted from 0."""
    reach: int = 0
    """How many steps its longest text has."""


def draw_lattice(
    lattice: Lattice, hypotheses: Sequence[Hypothesis], label: Callable[[int], str], width: int = 80
) -> list[Text]:
    """The texts that were beams, from the prompt • on; columns that do not fit go on in a block below.

    A column lists the beams of a step and the texts that ended in it, each as token, mark and sum of log-probabilities;
    lines lead from parents to children and never cross, since siblings stand together. The best hypothesis is the line
    along the top, in heavy strokes; what leads to no hypothesis is dim. Groups of beams are drawn one by one.

    Shapes
        lattice: N nodes; hypotheses: those of the same search, best first; width: most columns, which a single step
        exceeds only where its lines alone do.
    Returns
        Lines of `rich.text.Text`; `line.plain` has no styles, and the marks do not depend on them.
    Example
        >>> import draftwood as dw
        >>> engine = dw.testing.toy_engine()
        >>> beams = engine.beam_search([1, 2], dw.BeamParams(num_beams=2, max_new_tokens=2, keep_lattice=True))
        >>> for line in draw_lattice(beams.lattice, beams, str):
        ...     print(line.plain)
        step  1              2
        • ━┯━ 150✓ -1.36 ━━━ 242✓■1 -1.62
           ╰─ 252 -2.07 ──── 203■ -3.65
    """
    from rich.text import Text

    groups = sorted({int(group) for group in lattice.groups})
    lines: list[Text] = []
    for group in groups:
        if len(groups) > 1:
            lines.append(Text(f"group {group}", style="cyan"))
        named = [(rank, one) for rank, one in enumerate(hypotheses, 1) if one.group == group]
        columns = _columns(_tree(lattice, group, named, label))
        lines += _blocks(columns, width)
    return lines


def _tree(lattice: Lattice, group: int, named: Sequence[tuple[int, Hypothesis]], label: Callable[[int], str]) -> _Node:
    """The nodes of one group below the prompt, best children first."""
    root = _Node(_PROMPT, "", "", None, rank=BEST)
    nodes, sums, depth = {0: root}, {0: 0.0}, {0: 0}
    found: dict[tuple[int, int], int] = {}
    for i in range(1, len(lattice)):
        parent, token = int(lattice.parents[i]), int(lattice.tokens[i])
        if int(lattice.groups[i]) != group:
            continue
        sums[i] = sums[parent] + float(lattice.step_scores[i])
        depth[i] = depth[parent] + 1
        mark = _ENDED if lattice.ended[i] else ""
        nodes[i] = _Node(label(token), mark, _number(sums[i]), nodes[parent])
        nodes[parent].children.append(nodes[i])
        found[parent, token] = i
    for place, (rank, one) in enumerate(named):
        at, path = 0, []
        for token in one.token_ids.tolist():
            at = found[at, token]
            path.append(nodes[at])
        if path:
            path[-1].mark = f"{_ENDED}{rank}"
        for node in path:
            node.best = min(node.best, place)
            node.rank = max(node.rank, KEPT if place else BEST)
    deepest = max(depth.values())
    for i, node in reversed(nodes.items()):
        if node.parent is not None:
            node.parent.reach = max(node.parent.reach, node.reach + 1)
        if node.rank == BEST and node is not root:
            node.mark = CHECK + node.mark
        elif not node.children and not node.mark:
            node.mark = _OPEN if depth[i] == deepest else _DEAD
        node.children.sort(key=lambda child: (child.best, -child.reach))
    return root


def _columns(root: _Node) -> list[list[_Node]]:
    """The nodes of each step in an order in which no two lines cross."""
    columns = [[root]]
    while below := [child for node in columns[-1] for child in node.children]:
        for slot, node in enumerate(below):
            node.slot = slot
        columns.append(below)
    return columns


def _blocks(columns: Sequence[Sequence[_Node]], width: int) -> list[Text]:
    """As many columns side by side as fit, then the next ones below."""
    from rich.text import Text

    has_scores = width >= _NARROW
    most = min(_LABEL_MOST, max(_LABEL_LEAST, width // 5))
    drawn = [_column(columns, step, has_scores, most, width) for step in range(1, len(columns))]
    lines: list[Text] = []
    step = 0
    while step < len(drawn):
        margin = f"{_PROMPT} " if step == 0 else "  " if has_scores else ""
        block = [Text("step" if step == 0 else "", style="dim"), Text(margin)]
        first, used = step, len(margin)
        while step < len(drawn) and (step == first or used + drawn[step].width <= width):
            column = drawn[step]
            step += 1
            block[0].append(" " * (used + column.indent - block[0].cell_len) + str(step))
            for row, line in enumerate(column.lines, 1):
                if row == len(block):
                    block.append(Text())
                block[row].append(" " * (used - block[row].cell_len)).append_text(line)
            used += column.width
        lines += block if step == len(drawn) else [*block, Text()]
    for line in lines:
        line.rstrip()
    return lines


@dataclass(frozen=True, slots=True)
class _Column:
    """A step, drawn: the lines that lead to it, and its cells, which lead on to the next."""

    lines: list[Text]
    indent: int
    width: int


def _column(columns: Sequence[Sequence[_Node]], step: int, has_scores: bool, most: int, width: int) -> _Column:
    from rich.cells import cell_len
    from rich.text import Text

    before, nodes = columns[step - 1], columns[step]
    edges = [(node.parent.slot, node.slot, node.rank) for node in nodes if node.parent is not None]
    wires = gutter(edges, max(len(before), len(nodes)))
    indent = len(wires[0]) + 1 if wires else 1
    tails = [f"{node.mark} {node.score}" if has_scores else node.mark for node in nodes]
    most = max(1, min(most, width - len("• ") - indent - 1 - max(map(len, tails))))
    texts = [elided(node.label, most) + tail for node, tail in zip(nodes, tails, strict=True)]
    size = max(map(cell_len, texts)) + 1
    lines = []
    for row, chars in enumerate(wires):
        line = Text()
        for char, rank in chars:
            line.append(char, style=_STYLES[rank])
        if row < len(nodes):
            node = nodes[row]
            line.append(" ").append(texts[row], style=_STYLES[node.rank])
            leads = max((child.rank for child in node.children), default=None)
            rest = size - cell_len(texts[row]) - 1
            stroke = " " if leads is None else "━" if leads == BEST else "─"
            line.append(" ").append(stroke * rest, style=_STYLES[leads or DIM])
        lines.append(line)
    return _Column(lines, indent, indent + size)


def _number(value: float) -> str:
    """Five characters for most sums."""
    return f"{value:.2f}" if value > -9.995 else f"{value:.1f}"
