"""A language model that a function writes: the executor finds out what each row sees, the function says what comes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from draftwood.types import ExecutorCaps


class ScriptedExecutor:
    """`script(tokens)` gives the logits [V] after a text. It keeps the token of every slot, and reads chains only."""

    def __init__(self, vocab_size, script, max_context=512):
        self.caps = ExecutorCaps(vocab_size=vocab_size, max_context=max_context, slot_bytes=4, name="scripted")
        self.script, self.forwards = script, 0

    def allocate(self, pages, page_size):
        self._slots = np.full(pages * page_size, -1, np.int64)

    def forward(self, plan, hidden=()):
        self.forwards += 1
        self._slots[plan.slots] = plan.tokens
        rows = {}
        for s in range(plan.sequences):
            first, last = plan.row_offsets[s], plan.row_offsets[s + 1]
            pages = plan.pages[plan.page_offsets[s] : plan.page_offsets[s + 1]]
            logical = np.arange(plan.context[s] + last - first)
            seen = self._slots[pages[logical // plan.page_size] * plan.page_size + logical % plan.page_size]
            for row in range(first, last):
                rows[row] = seen[: plan.context[s] + row - first + 1].tolist()
        logits = [self.script(rows[row]) for row in plan.head_rows]
        return SimpleNamespace(logits=np.array(logits, np.float32).reshape(-1, self.caps.vocab_size))

    def apply(self, moves):
        self._slots[moves[1]] = self._slots[moves[0]]
