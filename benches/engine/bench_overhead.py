"""What a step costs besides the executor's forward and head: one text, greedy, trees of 64 nodes, V = 49,152."""

from __future__ import annotations

import statistics
from time import perf_counter_ns

import numpy as np

import draftwood as dw
from draftwood.loading import Parts
from draftwood.models.toy import ToyExecutor

NODES = 64
LIMIT_US = 300.0


def prompt_with_many_continuations(vocab_size):
    """Random text over eight tokens: every n-gram has been followed by several others."""
    return [int(t) for t in np.random.default_rng(0).integers(0, 8, 1200) + 100 % vocab_size]


def overheads(engine, prompt, tokens):
    """Microseconds besides `forward` of each step that ran a full tree."""
    inner, rows, spent = engine.executor.forward, [], []

    def forward(plan, hidden=()):
        start = perf_counter_ns()
        result = inner(plan, hidden)
        rows.append((plan.rows, perf_counter_ns() - start))
        return result

    engine.executor.forward = forward
    step = engine._session.step

    def timed():
        start, before = perf_counter_ns(), len(rows)
        events = step()
        if len(rows) > before and rows[-1][0] == NODES:
            spent.append((perf_counter_ns() - start - rows[-1][1]) * 1e-3)
        return events

    engine._session.step = timed
    try:
        engine.generate(prompt, dw.SamplingParams(max_new_tokens=tokens, ignore_eos=True))
    finally:
        del engine.executor.forward, engine._session.step
    return spent


def report(name, spent, isa):
    median, p90 = statistics.median(spent), statistics.quantiles(spent, n=10)[-1]
    print(f"\n{name}: {median:.0f} µs median, {p90:.0f} µs p90 over {len(spent)} steps of {NODES} nodes ({isa})")
    return median


def test_overhead_on_smollm2(smollm2, isa, benchmark):
    module, _ = smollm2
    with dw.Engine(module, executor="transformers", drafter=dw.drafters.NGram(min_prob=0.0, max_nodes=NODES)) as engine:
        prompt = prompt_with_many_continuations(49152)
        spent = benchmark.pedantic(overheads, args=(engine, prompt, 64), rounds=1)
    assert len(spent) >= 10
    benchmark.extra_info["overhead_us"] = report("SmolLM2-135M, f32, transformers", spent, isa)
    assert benchmark.extra_info["overhead_us"] <= LIMIT_US


def test_overhead_on_the_toy(isa, benchmark):
    vocab_size = 256
    executor = ToyExecutor(vocab_size, context_weight=3.0)
    with dw.Engine(Parts(executor, "toy"), drafter=dw.drafters.NGram(min_prob=0.0, max_nodes=NODES)) as engine:
        executor._table[:, :100] -= 50.0  # it stays within the prompt's eight tokens, so that every tree is full
        executor._table[:, 108:] -= 50.0
        prompt = prompt_with_many_continuations(vocab_size)
        spent = benchmark.pedantic(overheads, args=(engine, prompt, 600), rounds=1)
    assert len(spent) >= 50
    benchmark.extra_info["overhead_us"] = report(f"toy, V = {vocab_size}", spent, isa)
    assert benchmark.extra_info["overhead_us"] <= LIMIT_US
