"""Beam-shaped commits: no, one or several survivors per source, out of any parent, some finished."""

from __future__ import annotations

import numpy as np
import pytest

from draftwood import _core
from draftwood.errors import InvalidArgument
from draftwood.models.toy import ToyExecutor
from draftwood.step import StepPlan
from support.drafters import RandomTrees
from support.toy import Oracle

VOCAB = 32
ORACLE = Oracle(vocab_size=VOCAB, context_weight=0.5)


class Search:
    """Drives a session as a search would: own survivors, no verification."""

    def __init__(self, page_size, width=6, max_nodes=8):
        pages = 2 * width * -(-264 // page_size) + 1  # two requests at their widest
        self.width, self.max_nodes = width, max_nodes
        self.core = _core.Session(
            vocab=VOCAB,
            max_context=256,
            page_size=page_size,
            pages=pages,
            max_step_rows=96,
            tree_budget=max_nodes,
            end_tokens=[],
            draft_policy="always",
        )
        self.executor = ToyExecutor(VOCAB, 256, 0, 0.5)
        self.executor.allocate(pages, page_size)
        self.block = np.zeros(self.core.plan_capacity, np.int32)
        self.forest = _core.Forest()
        self.texts: dict[int, list[int]] = {}

    def submit(self, prompt):
        return self.core.submit(
            np.array(prompt, np.int32),
            temperature=0.0,
            top_k=0,
            top_p=1.0,
            min_p=0.0,
            seed=0,
            max_new_tokens=150,
            min_new_tokens=0,
            stop=[],
            ignore_eos=True,
            width=self.width,
        )

    def forward(self, trees):
        """One step up to the logits; checks every read row against a full recompute. Returns the trees by sequence."""
        views = self.core.begin()
        self.forest.clear()
        drafts = {}
        for i in range(len(views)):
            sequence, tokens, budget, _ = views.view(i)
            text = np.frombuffer(tokens, np.int32).tolist()
            assert self.texts.setdefault(sequence, text) == text
            tree = trees.propose(_View(np.array(text), min(budget, self.max_nodes)))
            drafts[sequence] = (list(tree.tokens), list(tree.parents))
            self.forest.add(views, i, np.array(tree.tokens, np.int64), np.array(tree.parents, np.int64))
        borders, words = self.core.plan(self.forest, self.block)
        plan = StepPlan(self.block, borders, words, self.core.page_size)
        if plan.copies.size:
            self.executor.apply(plan.copies)
        logits = self.executor.forward(plan).logits
        row = 0
        for sequence, (tokens, parents) in drafts.items():
            for node in range(len(tokens)):
                text = self.texts[sequence] + path(tokens, parents, node)
                assert np.array_equal(logits[row], ORACLE.logits(text)), (sequence, node)
                row += 1
        assert row == len(logits)
        return drafts

    def commit(self, drafts, survivors, finished):
        ids, events, moves = self.core.commit_paths(survivors, finished)
        if moves is not None:
            self.executor.apply(np.frombuffer(moves, np.int32).reshape(2, -1))
        before, self.texts = self.texts, {s: t for s, t in self.texts.items() if s not in drafts}
        for sequence, (source, leaf, token, _) in zip(ids, survivors, strict=True):
            self.texts[sequence] = before[source] + path(*drafts[source], leaf) + [token]
        for event, (source, leaf, token, _) in zip(events, finished, strict=True):
            assert np.frombuffer(event.tokens, np.int32).tolist() == [*path(*drafts[source], leaf), token]
        for sequence, text in self.texts.items():
            assert np.frombuffer(self.core.tokens(sequence), np.int32).tolist() == text
        return ids


class _View:
    def __init__(self, token_ids, budget):
        self.token_ids, self.budget = token_ids, budget


def path(tokens, parents, node):
    """Tokens from below the root to `node`."""
    found = []
    while node > 0:
        found.append(tokens[node])
        node = parents[node]
    return found[::-1]


def run_script(seed):
    rng = np.random.default_rng(seed)
    search = Search(page_size=int(rng.choice([1, 2, 4, 16])))
    trees = RandomTrees(VOCAB, search.max_nodes, seed)
    for _ in range(int(rng.integers(1, 3))):
        search.submit([int(t) for t in rng.integers(0, VOCAB, int(rng.integers(1, 130)))])
    families: dict[int, int] = {}
    for _ in range(int(rng.integers(3, 9))):
        if search.core.counts()["running"] + search.core.counts()["waiting"] == 0:
            break
        drafts = search.forward(trees)
        if rng.random() < 0.1:
            continue  # the plan is dropped: the next begin rolls it back
        survivors, finished, room = [], [], {}
        for source, (tokens, _) in drafts.items():
            family = families.setdefault(source, source)
            room.setdefault(family, search.width - sum(f == family and s not in drafts for s, f in families.items()))
            for _ in range(int(rng.choice([0, 1, 1, 1, 2, 3, 4]))):
                if room[family] == 0:
                    break
                room[family] -= 1
                survivors.append((source, int(rng.integers(0, len(tokens))), int(rng.integers(0, VOCAB)), 0.0))
            if rng.random() < 0.3:
                finished.append((source, int(rng.integers(0, len(tokens))), int(rng.integers(0, VOCAB)), 0.0))
        order = rng.permutation(len(survivors))
        survivors = [survivors[i] for i in order]
        ids = search.commit(drafts, survivors, finished)
        old, families = families, {s: f for s, f in families.items() if s not in drafts}
        families.update({sequence: old[s[0]] for sequence, s in zip(ids, survivors, strict=True)})
    search.core.begin()
    for request in range(2):
        search.core.cancel(request)
    search.core.begin()
    counts = search.core.counts()
    assert counts["running"] == 0
    assert counts["pages_free"] == counts["pages_total"]


@pytest.mark.parametrize("block", range(10))
def test_a_thousand_random_scripts_equal_recomputing_everything(block):
    for seed in range(100 * block, 100 * block + 100):
        run_script(seed)


def test_forks_share_pages_and_copy_the_last_one_on_their_first_append_only():
    search = Search(page_size=16, width=4)
    search.submit(list(range(20)))
    drafts = search.forward(RandomTrees(VOCAB, 1))
    (source,) = drafts
    search.commit(drafts, [(source, 0, token, 0.0) for token in range(4)], [])
    counts = search.core.counts()
    assert counts["rows_forked"] == counts["rows_copied_on_write"] == 0
    assert counts["pages_total"] - counts["pages_free"] == 2, "four texts share both pages of the prompt"
    drafts = search.forward(RandomTrees(VOCAB, 1))
    counts = search.core.counts()
    assert counts["rows_copied_on_write"] == 3 * (20 % 16), "three of four copy the four rows of the shared page"
    search.commit(drafts, [(s, 0, 1, 0.0) for s in drafts], [])
    search.forward(RandomTrees(VOCAB, 1))
    assert search.core.counts()["rows_copied_on_write"] == 12, "each text has a last page of its own now"
    assert search.core.counts()["pages_total"] - search.core.counts()["pages_free"] == 1 + 4


@pytest.mark.parametrize(
    ("survivor", "words"),
    [
        ((99, 0, 1, 0.0), "a survivor's source"),
        ((0, 50, 1, 0.0), "a survivor's leaf"),
        ((0, 0, VOCAB, 0.0), "a survivor's token"),
    ],
)
def test_survivors_that_the_step_does_not_have_are_refused(survivor, words):
    search = Search(page_size=4)
    search.submit([1, 2, 3])
    search.forward(RandomTrees(VOCAB, 1))
    with pytest.raises(InvalidArgument, match=words):
        search.core.commit_paths([survivor], [])
    assert len(search.commit({0: ([3], [-1])}, [(0, 0, 4, 0.0)], [])) == 1, "the step is still there"
