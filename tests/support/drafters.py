"""Drafters for tests: they propose the right continuation, a wrong one, or anything at all."""

from __future__ import annotations

import numpy as np

import draftwood as dw


class Chain:
    """Proposes `continuation(token_ids, n)` as a chain."""

    def __init__(self, continuation, max_nodes=16):
        self.continuation, self.max_nodes = continuation, max_nodes

    def propose(self, view):
        room = min(view.budget - 1, view.max_depth)
        tokens = [int(view.token_ids[-1]), *(int(t) for t in self.continuation(view.token_ids, room))]
        return dw.Tree(tokens, list(range(-1, len(tokens) - 1)))


class RandomTrees:
    """Random trees; with `continuation` some branches are right. Node order and sibling order are random."""

    def __init__(self, vocab, max_nodes, seed=0, continuation=None):
        self.vocab, self.max_nodes, self.continuation = vocab, max_nodes, continuation
        self.rng = np.random.default_rng(seed)

    def propose(self, view):
        rng, root = self.rng, int(view.token_ids[-1])
        right = [] if self.continuation is None else list(self.continuation(view.token_ids, 8))
        tokens, parents, used, on_path = [root], [-1], {}, {0: 0}
        for _ in range(int(rng.integers(0, view.budget))):
            parent = int(rng.integers(0, len(tokens)))
            depth = on_path.get(parent)
            follow = depth is not None and depth < len(right) and rng.random() < 0.7
            token = int(right[depth]) if follow else int(rng.integers(0, self.vocab))
            if token in used.setdefault(parent, set()):
                continue
            used[parent].add(token)
            if depth is not None and depth < len(right) and token == right[depth]:
                on_path[len(tokens)] = depth + 1
            tokens.append(token)
            parents.append(parent)
        return dw.Tree(tokens, parents)


def all_drafters(vocab, continuation):
    """Every kind that issue-sized tests run through, by name."""

    def wrong(tokens, n):
        return [(t + 1) % vocab for t in continuation(tokens, n)]

    return {
        "none": None,
        "auto": "auto",
        "right": Chain(continuation),
        "wrong": Chain(wrong),
        "random": RandomTrees(vocab, 16, 1, continuation),
        "one node": Chain(lambda tokens, n: [], max_nodes=1),
        "64 nodes": RandomTrees(vocab, 64, 2, continuation),
        "64 chain": Chain(continuation, max_nodes=64),
    }
