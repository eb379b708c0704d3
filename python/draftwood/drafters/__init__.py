"""Drafters: where the proposals come from. Any object with `propose(view) -> Tree | None` is one."""

from .mix import Mix
from .ngram import NGram
from .retrieval import Retrieval
from .suffix import Suffix
from .trigram import Trigram

__all__ = ["Mix", "NGram", "Retrieval", "Suffix", "Trigram"]
