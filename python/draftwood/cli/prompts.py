"""The prompts of `draftwood compare`: several kinds, those that drafts cannot help included."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from ..errors import InvalidArgument

__all__ = ["Kind", "Prompt", "choose", "read_kinds"]


@dataclass(frozen=True, slots=True)
class Prompt:
    """One text of a kind; either chat messages or raw text."""

    source: str
    content: Any
    """As `Engine.encode` takes it."""
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Kind:
    """Prompts of one kind, and the sampling that makes it what it is."""

    name: str
    about: str
    params: dict[str, Any]
    prompts: tuple[Prompt, ...]


def read_kinds() -> list[Kind]:
    """All kinds of the packaged file, in the order of the table."""
    data = json.loads((files("draftwood.cli") / "prompts.json").read_text(encoding="utf-8"))
    return [
        Kind(entry["kind"], entry["about"], entry["params"], tuple(map(_prompt, entry["prompts"])))
        for entry in data["kinds"]
    ]


def choose(names: str | None) -> list[Kind]:
    """The kinds that a comma-separated list names; all without one."""
    kinds = read_kinds()
    if names is None:
        return kinds
    by_name = {kind.name: kind for kind in kinds}
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in by_name:
            raise InvalidArgument.of("--kinds", "some of " + ", ".join(by_name), repr(name), "quote names with spaces")
    if not wanted:
        raise InvalidArgument.of("--kinds", "some of " + ", ".join(by_name), repr(names))
    return [by_name[name] for name in dict.fromkeys(wanted)]


def _prompt(entry: dict[str, Any]) -> Prompt:
    return Prompt(entry["source"], entry.get("messages") or entry["text"], tuple(entry.get("stop", ())))
