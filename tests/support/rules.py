"""Rules in Python that tests build on."""

from __future__ import annotations


class GeneratedText:
    """A rule whose state is the text that has been generated; `apply(state, row)` is its user's."""

    def init(self, ids):
        return []

    def fork(self, state):
        return list(state)

    def advance(self, state, token):
        state.append(token)
