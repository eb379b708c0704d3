"""Drafters: where the proposals come from. Any object with `propose(view) -> Tree | None` is one."""

from .ngram import NGram

__all__ = ["NGram"]
