"""What beams cost in memory and in bytes moved: forks share pages, a beam that parts copies one page at most."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

import draftwood as dw
from draftwood.loading import Parts
from draftwood.models.toy import ToyExecutor
from support.tiny_gguf import tiny_file

SIZES = {"vocab_size": 48, "context_weight": 0.8}
TOKENS = ["<unk>", "<s>", "</s>", *(f"▁w{i}" for i in range(253))]
WIDTH, ENTRY = 8, 4
"""Beams; bytes of an entry of a page table."""


class Counting:
    """An executor that counts the bytes it is told to move, and the rows it computes."""

    def __init__(self, inner):
        self._inner, self.moved, self.rows = inner, 0, 0

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def apply(self, moves):
        self.moved += moves.shape[1] * self._inner.caps.slot_bytes
        self._inner.apply(moves)

    def forward(self, plan, hidden=()):
        self.rows += plan.rows
        return self._inner.forward(plan, hidden)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return str(tiny_file(tmp_path_factory.mktemp("tiny") / "tiny.gguf", TOKENS, context=2048))


def load(kind, file, page_size, drafter=None):
    """An engine of either executor."""
    cache = dw.CacheConfig(bytes=1 << 24, page_size=page_size)
    if kind == "toy":
        executor, tokenizer = ToyExecutor(max_context=2048, **SIZES), None
    else:
        with dw.Engine.load(file, executor="native", dtype="float32", drafter=None, cache=cache) as first:
            executor, tokenizer = first.executor, first.tokenizer
    parts = Parts(Counting(executor), kind, tokenizer=tokenizer)
    return dw.Engine(parts, drafter=drafter, draft_policy="always", cache=cache)


class Watch:
    """What happens in each step of an engine: bytes moved, pages held, page tables."""

    def __init__(self, engine):
        self.engine, self.moved, self.held, self.tables = engine, [], [], []
        engine.on_step(self._stepped)

    def _stepped(self, plan, events):
        stats = self.engine.stats()
        self.moved.append(self.engine.executor.moved - sum(self.moved))
        self.held.append(stats.pages_total - stats.pages_free)
        borders = plan.page_offsets
        self.tables.append([plan.pages[a:b].tolist() for a, b in pairwise(borders)])


def parting(lattice, steps):
    """Of each step but the last, how many beams go on that share their parent with a better one."""
    level, found = [0], [Counter() for _ in range(steps + 1)]
    for i in range(1, len(lattice)):
        level.append(level[lattice.parents[i]] + 1)
        if not lattice.ended[i]:
            found[level[i]][int(lattice.parents[i])] += 1
    return [sum(one.values()) - len(one) for one in found[1:steps]]


@pytest.mark.parametrize(("kind", "page_size"), [("toy", 4), ("toy", 16), ("toy", 64), ("native", 16)])
@pytest.mark.parametrize("prompt", [1024, 1030])
def test_bytes_moved_per_step_are_counted(kind, page_size, prompt, file):
    """A step moves the filled part of one page per parting beam, to the byte, and edits one entry per page table."""
    rng = np.random.default_rng(prompt)
    ids = rng.integers(3, 48, prompt).tolist()
    steps = 40
    with load(kind, file, page_size) as engine:
        watch, slot = Watch(engine), engine.executor.caps.slot_bytes
        params = dw.BeamParams(num_beams=WIDTH, max_new_tokens=steps, eos_token_id=[], keep_lattice=True)
        beams = engine.beam_search(ids, params)
        assert beams.stats.steps == steps
        assert engine.executor.rows == prompt + WIDTH * (steps - 1), "the prompt is read once"
        reading = beams.stats.prefill_steps + 1
        assert sum(watch.moved[:reading]) == 0
        apart = parting(beams.lattice, steps)
        assert apart[0] == WIDTH - 1 and sum(apart) > steps // 2, "beams must part, or nothing is shown"
        for t, parted in enumerate(apart):
            length = prompt + t  # tokens that are cached when the beams part
            assert watch.moved[reading + t] == parted * (length % page_size) * slot
            before, after = watch.tables[reading + t - 1], watch.tables[reading + t]
            edits = sum(min(distance(table, old) for old in before) for table in after)
            assert edits <= WIDTH
            bound = parted * (page_size * slot) + WIDTH * ENTRY
            assert watch.moved[reading + t] + edits * ENTRY <= bound
        assert sum(watch.moved) > 0


def distance(table, old):
    """Entries to write, to make one page table of another."""
    return sum(a != b for a, b in zip(table, old, strict=False)) + max(0, len(table) - len(old))


@pytest.mark.parametrize(("kind", "drafter"), [("toy", None), ("toy", "auto"), ("native", None), ("native", "auto")])
def test_eight_beams_of_a_long_prompt_take_little_more_than_one_text(kind, drafter, file):
    """1,024 tokens that all share: until the beams part they hold what one text holds, then a page each; speculation
    keeps up to as many texts again."""
    ids = np.random.default_rng(1).integers(3, 48, 1024).tolist()
    held = {}
    for width in (1, WIDTH):
        with load(kind, file, 16, drafter) as engine:
            watch = Watch(engine)
            params = dw.BeamParams(num_beams=width, max_new_tokens=12, eos_token_id=[])
            beams = engine.beam_search(ids, params)
            together = watch.held[: beams.stats.prefill_steps + 1]
            held[width] = max(together), max(watch.held)
            assert (beams.stats.speculation == "on") == (drafter is not None)
            assert engine.stats().pages_free == engine.stats().pages_total
    (one, one_in_all), (shared, in_all) = held[1], held[WIDTH]
    assert shared == one == 1024 // 16, "eight texts, the pages of one"
    assert in_all <= one_in_all + (2 * WIDTH if drafter else WIDTH)
    assert drafter is not None or in_all <= 1.2 * one_in_all


def test_speculation_moves_no_more_than_pages_of_its_texts(file):
    """Kept rows are moved within the bound that forks have: a page per text, of which there are 2 · B at most."""
    ids = np.random.default_rng(2).integers(3, 48, 1024).tolist()
    with load("toy", file, 16, "auto") as engine:
        watch, slot = Watch(engine), engine.executor.caps.slot_bytes
        beams = engine.beam_search(ids, dw.BeamParams(num_beams=WIDTH, max_new_tokens=60, eos_token_id=[]))
        assert beams.stats.beam_steps > beams.stats.steps
        assert 0 < max(watch.moved) <= 2 * WIDTH * 16 * slot
