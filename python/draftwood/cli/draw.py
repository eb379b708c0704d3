"""A token tree as lines of text, the accepted path marked."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["CHECK", "accepted_path", "draw_tree", "elided", "visible"]

_INDENT = 3
CHECK = "✓"
"""Marks what became text where there are no colours."""
_REPLACED = {"\n": "⏎", "\r": "␍", "\t": "⇥", "\x1b": "␛"}


def visible(token: bytes | str) -> str:
    """A token as it can stand in a line: a leading or trailing space is `·`, a line end `⏎`, other controls `�`."""
    text = token.decode("utf-8", "replace") if isinstance(token, bytes) else token
    inner = text.strip(" ")
    before, after = len(text) - len(text.lstrip(" ")), len(text) - len(text.rstrip(" "))
    if not inner:
        return "·" * len(text) if text else "∅"
    shown = "".join(_REPLACED.get(char, char if char.isprintable() else "�") for char in inner)
    return "·" * before + shown + "·" * after


def elided(text: str, width: int) -> str:
    """At most `width` columns of a text, with … where it was cut."""
    from rich.cells import cell_len, set_cell_size

    return text if cell_len(text) <= width else set_cell_size(text, width - 1).rstrip() + "…"


def accepted_path(tokens: Sequence[int], parents: Sequence[int], emitted: Sequence[int]) -> list[int]:
    """The nodes below the root that became text: the longest path whose tokens begin `emitted`.

    Shapes
        tokens, parents [N] of one tree, parents[0] = −1, siblings distinct; emitted: the tokens that the step gave.
    Returns
        Node numbers from depth 1 on; `emitted[len(path)]`, if it is there, is the token that the model chose itself.
    """
    path: list[int] = []
    for token in emitted:
        last = path[-1] if path else 0
        child = next((i for i in range(1, len(tokens)) if parents[i] == last and tokens[i] == token), None)
        if child is None:
            break
        path.append(child)
    return path


def draw_tree(labels: Sequence[str], parents: Sequence[int], accepted: Collection[int], width: int = 80) -> list[Text]:
    """One line per branch: a chain of only children stays on its line, each of several children begins a new one.

    Shapes
        labels, parents [N] in topological order, parents[0] = −1; accepted: nodes to mark; width: most columns.
    Returns
        Lines of `rich.text.Text`; `line.plain` has no styles. The mark ✓ does not depend on colour.
    Example
        >>> for line in draw_tree(["a", "b", "c", "d"], [-1, 0, 1, 0], {1}):
        ...     print(line.plain)
        a
        ├─ b✓ c
        └─ d
    """
    children: list[list[int]] = [[] for _ in labels]
    for node in range(1, len(labels)):
        children[parents[node]].append(node)
    lines: list[Text] = []
    stack = [(0, "", "")]
    while stack:
        node, first, later = stack.pop()
        chain = [node]
        while len(children[chain[-1]]) == 1:
            chain.append(children[chain[-1]][0])
        below = children[chain[-1]]
        lines += _wrapped(labels, chain, accepted, first, later + ("│  " if below else ""), width)
        branches = [
            (child, later + ("└─ " if child == below[-1] else "├─ "), later + ("   " if child == below[-1] else "│  "))
            for child in below
        ]
        stack += reversed(branches)
    return lines


def _wrapped(
    labels: Sequence[str], chain: Sequence[int], accepted: Collection[int], first: str, later: str, width: int
) -> list[Text]:
    from rich.cells import cell_len
    from rich.text import Text

    lines = [Text(first, style="default")]
    room = max(width, len(first) + 2 * _INDENT)
    for place, node in enumerate(chain):
        is_accepted = node in accepted
        text = labels[node] + (CHECK if is_accepted else "")
        if place and cell_len(lines[-1].plain) + 1 + cell_len(text) > room:
            lines.append(Text(later + " " * _INDENT, style="default"))
        elif place:
            lines[-1].append(" ")
        style = "bold" if node == 0 else "bold green" if is_accepted else "dim"
        lines[-1].append(text, style=style)
    return lines
