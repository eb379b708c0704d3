"""The peers' side of `replay_drafts.py`: the same arguments and the same lines as `replay_drafts.rs`.

    python replay_peer.py arctic|lookup TEXTS NODES
    python replay_peer.py arctic|lookup TEXTS long CONTEXT

`arctic` needs an environment with arctic-inference, `lookup` one with transformers and torch. A tree of N nodes counts
the last token, so the peers draft N − 1 tokens. arctic-inference runs with its own settings and with wider ones, with
and without the responses of earlier requests; prompt lookup with n-grams of 2 (transformers' default) and 3 tokens.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

APPENDED = 2000


def texts_of(path: Path) -> list[tuple[np.ndarray, int]]:
    words, texts, at = np.fromfile(path, "<u4").astype(np.int32), [], 0
    while at < len(words):
        prompt, output = int(words[at]), int(words[at + 1])
        texts.append((words[at + 2 : at + 2 + prompt + output], prompt))
        at += 2 + prompt + output
    return texts


class Arctic:
    """`keep`: whether responses of earlier requests are drafted from."""

    def __init__(self, nodes: int, *, factor: float, prob: float, keep: bool) -> None:
        from arctic_inference.suffix_decoding import SuffixDecodingCache

        self._cache = SuffixDecodingCache(max_tree_depth=64, max_cached_requests=-1 if keep else 0)
        self._settings = {"max_spec_tokens": nodes - 1, "max_spec_factor": factor, "min_token_prob": prob}

    def open(self, number: int, prompt: np.ndarray) -> None:
        self._cache.start_request(number, prompt)

    def append(self, number: int, tokens: np.ndarray) -> None:
        self._cache.add_active_response(number, tokens)

    def propose(self, number: int, context: np.ndarray) -> tuple[Any, Any]:
        draft = self._cache.speculate(number, context[-64:], use_tree_spec=True, **self._settings)
        return draft.token_ids, draft.parents

    def close(self, number: int) -> None:
        self._cache.stop_request(number)


class Lookup:
    """transformers' own generator of candidates."""

    def __init__(self, nodes: int, *, ngram: int) -> None:
        import torch
        from transformers.generation.candidate_generator import PromptLookupCandidateGenerator

        torch.set_num_threads(1)
        self._make = lambda ids: torch.from_numpy(ids.astype(np.int64))[None]
        self._generator = PromptLookupCandidateGenerator(
            num_output_tokens=nodes - 1, max_matching_ngram_size=ngram, max_length=2**30
        )

    def open(self, number: int, prompt: np.ndarray) -> None: ...
    def append(self, number: int, tokens: np.ndarray) -> None: ...
    def close(self, number: int) -> None: ...
    def propose(self, number: int, context: np.ndarray) -> tuple[Any, Any]:
        found = self._generator.get_candidates(self._make(context))[0][0, len(context) :].tolist()
        return found, list(range(-1, len(found) - 1))


def drafters(kind: str, nodes: int) -> dict[str, Any]:
    if kind == "lookup":
        return {f"lookup of {n}": Lookup(nodes, ngram=n) for n in (2, 3)}
    settings = [(1.0, 0.1), (2.0, 0.1), (4.0, 0.01), (16.0, 0.0)]
    return {
        f"arctic{', earlier requests too' if keep else ''} factor {factor:g} prob {prob:g}": Arctic(
            nodes, factor=factor, prob=prob, keep=keep
        )
        for keep in (False, True)
        for factor, prob in settings
    }


def replay(drafter: Any, number: int, tokens: np.ndarray, prompt: int) -> tuple[int, int]:
    """The text with every draft verified: steps, and nanoseconds of the drafter."""
    start = time.perf_counter_ns()
    drafter.open(number, tokens[:prompt])
    at, steps, spent = prompt, 0, time.perf_counter_ns() - start
    while at < len(tokens):
        start = time.perf_counter_ns()
        ids, parents = drafter.propose(number, tokens[:at])
        spent += time.perf_counter_ns() - start
        children = {(parent, token): i for i, (token, parent) in enumerate(zip(ids, parents, strict=True))}
        before, node = at, -1
        while at < len(tokens):
            child = children.get((node, int(tokens[at])))
            at += 1
            if child is None:
                break
            node = child
        start = time.perf_counter_ns()
        drafter.append(number, tokens[before:at])
        spent += time.perf_counter_ns() - start
        steps += 1
    drafter.close(number)
    return steps, spent


def clock() -> int:
    """Nanoseconds that reading the clock twice takes."""
    times = []
    for _ in range(10_001):
        start = time.perf_counter_ns()
        times.append(time.perf_counter_ns() - start)
    return int(np.median(times))


def long(kind: str, texts: list[tuple[np.ndarray, int]], context: int) -> None:
    all_tokens = np.resize(np.concatenate([text for text, _ in texts]), context + APPENDED)
    made, spent = drafters(kind, 32), clock()
    for name in list(made):
        drafter, append, propose = made.pop(name), [], []  # one at a time: each takes gigabytes
        start = time.perf_counter_ns()
        drafter.open(0, all_tokens[:context])
        bulk = time.perf_counter_ns() - start
        for end in range(context, len(all_tokens)):
            start = time.perf_counter_ns()
            drafter.append(0, all_tokens[end : end + 1])
            append.append(time.perf_counter_ns() - start - spent)
            start = time.perf_counter_ns()
            drafter.propose(0, all_tokens[: end + 1])
            propose.append(time.perf_counter_ns() - start - spent)
        print(f"{name}\t{bulk / context:.1f}\t{np.median(append):.0f}\t{np.median(propose):.0f}", flush=True)


def main(kind: str, texts: list[tuple[np.ndarray, int]], arguments: list[str]) -> None:
    if arguments[0] == "long":
        return long(kind, texts, int(arguments[1]))
    for name, drafter in drafters(kind, int(arguments[0])).items():
        for number, (tokens, prompt) in enumerate(texts):
            steps, spent = replay(drafter, number, tokens, prompt)
            print(f"{name}\t{number}\t{steps}\t{len(tokens) - prompt}\t{spent // max(steps, 1)}")
    return None


if __name__ == "__main__":
    main(sys.argv[1], texts_of(Path(sys.argv[2])), sys.argv[3:])
