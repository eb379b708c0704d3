"""The torch executor against a full recompute by the untouched module: ≤ 1e-5 · max|logit|."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from draftwood.executors.hf import HfExecutor
from support.hf_plans import (
    Feed,
    Pool,
    Text,
    accept,
    expected_logits,
    make_plan,
    one_thread,  # noqa: F401
    random_tokens,
    random_tree,
    tiny_model,
)

FAMILIES = ("gpt2", "llama", "mistral", "qwen2", "qwen3")


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    return tiny_model(request.param)


def start(model, pages=512, page_size=4, seed=0, poisoned=True, shuffled=True):
    """An executor with a cache full of NaN: a row that is read before it is written spoils the result."""
    executor = HfExecutor(model)
    executor.allocate(pages, page_size)
    if poisoned:
        executor._cache.storage.fill_(float("nan"))
    return executor, Pool(pages, page_size, seed, shuffled)


def step(executor, model, feeds):
    """Runs a step, checks every read row, and lets the chains become text. Returns the rows."""
    wanted = torch.cat([expected_logits(model, feed) for feed in feeds])
    rows = executor.forward(make_plan(feeds))
    assert rows.logits.dtype == np.float32 and rows.logits.flags.c_contiguous
    assert rows.logits.shape == wanted.shape
    if len(wanted):
        assert (torch.from_numpy(rows.logits) - wanted).abs().max() <= 1e-5 * wanted.abs().max()
    return rows


def commit(executor, feeds, rng=None):
    """Ends the step: accepts a random node (or the root) of each feed and applies the moves of all."""
    moves = [accept(feed, rng.randrange(len(feed.tree_tokens) + 1) if rng else 0) for feed in feeds]
    executor.apply(np.concatenate(moves, axis=1))


@pytest.mark.parametrize("page_size", [1, 4, 16])
def test_random_chunks_then_single_rows(model, page_size):
    rng = random.Random(page_size)
    executor, pool = start(model, page_size=page_size)
    text = Text(pool)
    while len(text.tokens) < 60:
        feed = Feed(text, random_tokens(rng, rng.randrange(1, 20)), read=rng.choice(["all", "none", "tree"]))
        step(executor, model, [feed])
        commit(executor, [feed])
    for _ in range(8):
        feed = Feed(text, random_tokens(rng, 1))
        step(executor, model, [feed])
        commit(executor, [feed])


@pytest.mark.parametrize("nodes", [1, 2, 7, 31, 32, 33, 63])
def test_every_node_of_random_trees(model, nodes):
    rng = random.Random(nodes)
    executor, pool = start(model)
    text = Text(pool)
    for _ in range(3):
        feed = Feed(text, random_tokens(rng, rng.choice([1, 1, 9])), *random_tree(rng, nodes), read="all")
        step(executor, model, [feed])
        commit(executor, [feed], rng)


@pytest.mark.parametrize("page_size", [1, 4, 16])
@pytest.mark.parametrize("shuffled", [True, False])
def test_ragged_batches_of_eight(model, page_size, shuffled):
    rng = random.Random(page_size)
    executor, pool = start(model, pages=2048 // page_size, page_size=page_size, shuffled=shuffled)
    texts = [Text(pool) for _ in range(8)]
    for _ in range(5):
        feeds = [
            Feed(
                text,
                random_tokens(rng, rng.choice([1, 1, 2, 13])),
                *random_tree(rng, rng.choice([0, 0, 1, 12])),
                read=rng.choice(["all", "tree", "tree", "none"]),
            )
            for text in rng.sample(texts, rng.randrange(1, 9))
        ]
        step(executor, model, feeds)
        commit(executor, feeds, rng)


def test_texts_that_share_the_pages_of_a_prefix(model):
    rng = random.Random(5)
    executor, pool = start(model, page_size=4)
    root = Text(pool)
    feed = Feed(root, random_tokens(rng, 8), read="all")
    step(executor, model, [feed])
    commit(executor, [feed])
    forks = [replace(root, tokens=list(root.tokens), pages=list(root.pages)) for _ in range(3)]
    for _ in range(3):
        feeds = [Feed(text, random_tokens(rng, 2), *random_tree(rng, 5)) for text in forks]
        step(executor, model, feeds)
        commit(executor, feeds, rng)


def test_copy_on_write_then_both_continue(model):
    rng = random.Random(6)
    executor, pool = start(model, page_size=4)
    text = Text(pool)
    feed = Feed(text, random_tokens(rng, 6))
    step(executor, model, [feed])
    commit(executor, [feed])
    fork = replace(text, tokens=list(text.tokens), pages=[text.pages[0], pool.free.pop()])
    shared, own = text.pages[1] * 4, fork.pages[1] * 4
    executor.apply(np.array([[shared, shared + 1], [own, own + 1]], np.int32))
    step(executor, model, [Feed(text, random_tokens(rng, 3)), Feed(fork, random_tokens(rng, 5))])


def test_moves_read_all_sources_before_they_write():
    executor, _ = start(tiny_model("llama"), poisoned=False)
    storage = executor._cache.storage
    storage.copy_(torch.arange(storage.shape[2], dtype=torch.float32)[:, None, None].expand_as(storage))
    executor.apply(np.array([[1, 2, 3, 7], [2, 3, 1, 9]], np.int32))
    assert storage[1, 1, :10, 2, 5].tolist() == [0, 3, 1, 2, 4, 5, 6, 7, 8, 7]
    executor.apply(np.empty((2, 0), np.int32))


def test_hidden_states_of_read_rows_give_the_logits(model):
    rng = random.Random(7)
    executor, pool = start(model)
    feeds = [Feed(Text(pool), random_tokens(rng, 5), *random_tree(rng, 6), read="tree") for _ in range(2)]
    plan = make_plan(feeds)
    assert executor.forward(plan).hidden is None
    rows = executor.forward(plan, hidden=("last",))
    assert rows.hidden.shape == (14, 96)
    logits = torch.from_numpy(rows.logits.copy())
    assert torch.equal(executor.head(rows.hidden), logits)


def test_logits_leave_without_a_copy(model):
    executor, pool = start(model)
    logits = executor.forward(make_plan([Feed(Text(pool), [1, 2, 3], read="all")])).logits
    array = np.from_dlpack(logits)
    assert array.ctypes.data == logits.ctypes.data and array.flags.c_contiguous
    again = executor.forward(make_plan([Feed(Text(pool), [9, 8, 7], read="all")])).logits
    assert again.ctypes.data == logits.ctypes.data, "the rows of every step lie in the same, mapped memory"


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_bfloat16_keeps_the_choices_of_its_own_recompute(family):
    model = tiny_model(family).to(torch.bfloat16)
    rng = random.Random(8)
    executor, pool = start(model)
    feed = Feed(Text(pool), random_tokens(rng, 12), *random_tree(rng, 20), read="all")
    wanted = expected_logits(model, feed)
    logits = torch.from_numpy(executor.forward(make_plan([feed])).logits)
    assert logits.dtype == torch.float32
    assert (logits - wanted).abs().max() <= 0.05 * wanted.abs().max()


@pytest.mark.parametrize("rope", ["linear", "yarn", "llama3"])
def test_rope_tables_that_do_not_depend_on_the_call(rope):
    parameters = {"rope_type": rope, "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 128}
    if rope == "llama3":
        parameters |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
    model = tiny_model("llama", rope_parameters=parameters)
    rng = random.Random(9)
    executor, pool = start(model)
    text = Text(pool)
    for _ in range(3):
        feed = Feed(text, random_tokens(rng, 40), *random_tree(rng, 8), read="all")
        step(executor, model, [feed])
        commit(executor, [feed], rng)
