"""The toy model seen from outside: what it says without a cache, and greedy continuations of it."""

from __future__ import annotations

import numpy as np

from draftwood.models.toy import ToyExecutor


class Oracle:
    """Greedy continuations by recomputing everything."""

    def __init__(self, **sizes):
        self.model = ToyExecutor(**sizes)

    def logits(self, tokens):
        return self.model.reference(np.asarray(tokens, np.int32))

    def greedy(self, tokens, n, ends=()):
        """The next n tokens, shorter if one of `ends` comes (included)."""
        text, new = list(tokens), []
        while len(new) < n:
            new.append(int(np.argmax(self.logits(text))))
            text.append(new[-1])
            if new[-1] in ends:
                break
        return new


def prompts(count, vocab, seed=0, longest=40):
    """Ragged random prompts, some of which repeat themselves."""
    rng = np.random.default_rng(seed)
    result = []
    for _ in range(count):
        piece = rng.integers(0, vocab, int(rng.integers(1, longest)))
        result.append([int(t) for t in (np.tile(piece, 2) if rng.random() < 0.5 else piece)])
    return result
