"""Plans for executor tests, made the slow and obvious way: a page list per text, one Python loop per row.

Also the oracle: the logits of a text by a full forward of the untouched module, without any cache.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

VOCAB = 256


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Tiny matrices on a busy machine: several threads wait for each other ten times longer than they compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tiny_model(family, seed=0, **changes):
    """A random 2-layer model; the weights are spread out, because fresh ones give flat rows that hide mistakes."""
    torch.manual_seed(seed)
    common = {
        "vocab_size": VOCAB,
        "hidden_size": 96,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 6,
        "num_key_value_heads": 3,
        "head_dim": 16,
        "max_position_embeddings": 512,
    }
    if family == "llama":
        model = LlamaForCausalLM(LlamaConfig(**common | changes))
    elif family == "mistral":
        model = MistralForCausalLM(MistralConfig(**common | {"sliding_window": None} | changes))
    elif family == "qwen2":
        model = Qwen2ForCausalLM(Qwen2Config(**common | {"num_attention_heads": 4, "num_key_value_heads": 2} | changes))
    elif family == "qwen3":
        model = Qwen3ForCausalLM(Qwen3Config(**common | changes))
    else:
        gpt2 = {"vocab_size": VOCAB, "n_embd": 96, "n_layer": 2, "n_head": 4, "n_positions": 512}
        model = GPT2LMHeadModel(GPT2Config(**gpt2 | changes))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "wpe" not in name:
                parameter.mul_(5)
            elif name.endswith("bias"):
                parameter.normal_(std=0.1)
    return model.eval()


@torch.no_grad()
def full_logits(model, tokens):
    """Logits [T, V] of every position of one text."""
    return model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0].float()


class Pool:
    """Free pages in random order, as after a long day."""

    def __init__(self, pages, page_size, seed=0, shuffled=True):
        self.page_size, self.free = page_size, list(range(pages))[::-1]
        if shuffled:
            random.Random(seed).shuffle(self.free)


@dataclass
class Text:
    """A text that owns pages; `tokens` are those whose rows are cached."""

    pool: Pool
    tokens: list[int] = field(default_factory=list)
    pages: list[int] = field(default_factory=list)

    def slot(self, index):
        """Where row `index` lives; takes a free page if need be."""
        size = self.pool.page_size
        while index // size >= len(self.pages):
            self.pages.append(self.pool.free.pop())
        return self.pages[index // size] * size + index % size


@dataclass
class Feed:
    """What one text does in a step: known tokens, then the nodes below the root (the last known token).

    `tree_tokens[i]` and `tree_parents[i]` describe node i + 1; a parent is a node, 0 the root.
    """

    text: Text
    chain: list[int]
    tree_tokens: list[int] = field(default_factory=list)
    tree_parents: list[int] = field(default_factory=list)
    read: str = "tree"
    """"tree": the root and all nodes; "all": every row; "none"."""
    request: int = 0

    def path(self, node):
        """The tokens from the beginning of the text to a node."""
        tail = []
        while node > 0:
            tail.append(self.tree_tokens[node - 1])
            node = self.tree_parents[node - 1]
        return self.text.tokens + self.chain + tail[::-1]


def make_plan(feeds):
    """The step's arrays, as the core would fill them."""
    rows = {name: [] for name in ("tokens", "positions", "parents", "slots", "masks", "head_rows")}
    row_offsets, page_offsets, pages = [0], [0], []
    nodes = max(len(feed.tree_tokens) for feed in feeds) + 1
    words = -(-nodes // 32)
    for feed in feeds:
        first, context, chain = row_offsets[-1], len(feed.text.tokens), len(feed.chain)
        count = chain + len(feed.tree_tokens)
        seen = {0: 1}
        for row in range(count):
            node = row - chain + 1
            if node <= 0:
                token, depth, parent, bits = feed.chain[row], row, first + row - 1 if row else -1, int(node == 0)
            else:
                up = feed.tree_parents[node - 1]
                token, depth = feed.tree_tokens[node - 1], len(feed.path(node)) - context - 1
                parent, bits = first + chain - 1 + up, seen[up] | 1 << node
                seen[node] = bits
            rows["tokens"].append(token)
            rows["positions"].append(context + depth)
            rows["parents"].append(parent)
            rows["slots"].append(feed.text.slot(context + row))
            rows["masks"].append([bits >> 32 * word & 0xFFFFFFFF for word in range(words)])
            if feed.read == "all" or (feed.read == "tree" and node >= 0):
                rows["head_rows"].append(first + row)
        row_offsets.append(first + count)
        pages += feed.text.pages
        page_offsets.append(len(pages))
    plan = {name: np.array(values, np.int64).astype(np.uint32).view(np.int32) for name, values in rows.items()}
    plan["masks"] = plan["masks"].reshape(-1, words)
    for name, values in (
        ("row_offsets", row_offsets),
        ("page_offsets", page_offsets),
        ("pages", pages),
        ("chain", [len(feed.chain) for feed in feeds]),
        ("context", [len(feed.text.tokens) for feed in feeds]),
        ("requests", [feed.request for feed in feeds]),
    ):
        plan[name] = np.array(values, np.int32)
    for array in plan.values():
        array.flags.writeable = False
    return SimpleNamespace(
        rows=row_offsets[-1],
        sequences=len(feeds),
        page_size=feeds[0].text.pool.page_size,
        mask_words=words,
        selector="full",
        embedded=None,
        **plan,
    )


def expected_logits(model, feed):
    """What a full recompute gives for the rows that the feed reads, in order."""
    chain = full_logits(model, feed.text.tokens + feed.chain)[-len(feed.chain) :]
    rows = list({"tree": chain[-1:], "all": chain, "none": chain[:0]}[feed.read])
    if feed.read != "none":
        rows += [full_logits(model, feed.path(node))[-1] for node in range(1, len(feed.tree_tokens) + 1)]
    return torch.stack(rows) if rows else chain[:0]


def accept(feed, node):
    """Keeps the path to a node as the text; returns the moves [2, M] that bring its rows into place."""
    context, chain = len(feed.text.tokens), len(feed.chain)
    nodes, at = [], node
    while at > 0:
        nodes.append(at)
        at = feed.tree_parents[at - 1]
    moves = [
        (feed.text.slot(context + chain - 1 + source), feed.text.slot(context + chain + depth))
        for depth, source in enumerate(nodes[::-1])
    ]
    feed.text.tokens = feed.path(node)
    feed.chain, feed.tree_tokens, feed.tree_parents = [], [], []
    moves = [(source, target) for source, target in moves if source != target]
    return np.array(moves, np.int32).reshape(-1, 2).T


def random_tree(rng, nodes):
    """Tokens and parents of a random tree with `nodes` nodes below the root; siblings are distinct."""
    tokens, parents, used = [], [], set()
    for node in range(1, nodes + 1):
        parent = rng.choice([rng.randrange(node), node - 1])
        token = rng.randrange(VOCAB)
        while (parent, token) in used:
            token = rng.randrange(VOCAB)
        used.add((parent, token))
        tokens.append(token)
        parents.append(parent)
    return tokens, parents


def random_tokens(rng, count):
    """`count` random token ids."""
    return [rng.randrange(VOCAB) for _ in range(count)]
