"""Watching an engine's steps: which trees were drafted, and what of them became text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .draw import accepted_path, draw_tree, visible

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.text import Text

    from ..engine import Engine
    from ..step import StepPlan

__all__ = ["StepTree", "label_of", "lines_of", "tree_of_step"]


@dataclass(frozen=True, slots=True)
class StepTree:
    """The tree of one text in one step: node 0 is the last known token; `emitted` is what the step gave."""

    tokens: list[int]
    parents: list[int]
    emitted: list[int]
    accepted: list[int]
    """Nodes that became text, from depth 1 on."""

    @property
    def drafted(self) -> int:
        """Nodes that a drafter proposed."""
        return len(self.tokens) - 1

    @property
    def branches(self) -> int:
        """Leaves of the tree."""
        return len(self.tokens) - len(set(self.parents) - {-1})

    @property
    def interest(self) -> tuple[bool, int, int]:
        """Which of several to show: one that branches, then most accepted, then most branches."""
        return (self.branches > 1, len(self.accepted), self.branches)

    def to_json(self) -> dict[str, Any]:
        """As the JSON documents have it."""
        names = ("tokens", "parents", "emitted", "accepted")
        return {name: list(getattr(self, name)) for name in names}


def tree_of_step(plan: StepPlan, events: list[Any], s: int = 0) -> StepTree:
    """The tree of sequence `s` of a step, copied out of the plan; `events` are those of that sequence."""
    first, last = int(plan.row_offsets[s]), int(plan.row_offsets[s + 1])
    root = first + int(plan.chain[s]) - 1
    tokens = plan.tokens[root:last].tolist()
    parents = [-1, *(plan.parents[root + 1 : last] - root).tolist()]
    emitted = [token for event in events for token in _int32(event.tokens)]
    return StepTree(tokens, parents, emitted, accepted_path(tokens, parents, emitted))


def label_of(engine: Engine) -> Callable[[int], str]:
    """How to write a token: its text, or its number when there is no tokenizer."""
    if engine.tokenizer is None:
        return str
    table = engine.tokenizer.token_bytes

    def label(token: int) -> str:
        if not table.exists(token) or table.is_control(token):
            return f"<{token}>"
        return visible(table.get(token))

    return label


def lines_of(tree: StepTree, label: Callable[[int], str], width: int) -> list[Text]:
    """The tree drawn, and below it what the model added itself."""
    from rich.text import Text

    lines = draw_tree([label(token) for token in tree.tokens], tree.parents, set(tree.accepted), width)
    own = tree.emitted[len(tree.accepted) :]
    if own:
        lines.append(Text.assemble("→ ", (" ".join(map(label, own)), "bold"), (" the model's own choice", "dim")))
    return lines


def _int32(data: bytes) -> list[int]:
    return memoryview(data).cast("i").tolist()
