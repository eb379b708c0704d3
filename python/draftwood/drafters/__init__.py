"""Drafters: where the proposals come from. Any object with `propose(view) -> Tree | None` is one."""

from typing import TYPE_CHECKING, Any

from .mix import Mix
from .ngram import NGram
from .suffix import Suffix

if TYPE_CHECKING:
    from .outputs import Outputs
    from .retrieval import Retrieval
    from .trigram import Trigram

__all__ = ["Mix", "NGram", "Outputs", "Retrieval", "Suffix", "Trigram"]


def __getattr__(name: str) -> Any:
    """Those beside the default ones are read at their first use: `import draftwood` stays quick."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{name.lower()}", __name__), name)
