"""Both sides of the case `retrieval`: our index, and scans over the same tokens, which also say what is right.

The corpus is Python's own library: words, spaces and signs, hashed to ids, so that no tokenizer is needed. Its last
files are not in it, they are what is written with drafts.
"""

from __future__ import annotations

import re
import sysconfig
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Frame = dict[str, Any]
Ids = NDArray[np.uint32]

VOCAB, BORDER = 1 << 15, 1 << 20
_BEAMS, _LENGTH, _SEED = 15, 4, 5
_HELD_OUT, _PROMPT = 4, 512


def documents() -> list[Ids]:
    """The files directly in the folder of the standard library, in the order of their names."""
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    texts = [file.read_text(encoding="utf-8", errors="replace") for file in files]
    words = [re.findall(r"\w+|\s+|[^\w\s]", text) for text in texts]
    return [np.array([zlib.crc32(word.encode()) % VOCAB for word in its], np.uint32) for its in words]


def log_probs() -> NDArray[np.float32]:
    """What a model that likes a few tokens says in each step, [steps, beams, V]."""
    rows = np.random.default_rng(_SEED).normal(0.0, 2.5, (_LENGTH, _BEAMS, VOCAB))
    return (rows - np.log(np.exp(rows).sum(axis=2, keepdims=True))).astype(np.float32)


class Arm:
    """`settings`: "who": "index", or "scan"; "threads"."""

    def __init__(self, settings: Frame) -> None:
        *kept, self._written = _cut(documents())
        self._side: Any = Indexed(kept, settings["threads"]) if settings["who"] == "index" else Scanned(kept)
        self._kept, self._rows = kept, log_probs()

    def about(self) -> Frame:
        """What the corpus holds."""
        return {"tokens": sum(map(len, self._kept)), "documents": len(self._kept), **self._side.about()}

    def run(self, work: Frame) -> Frame:
        """Does one of count, distinct, locate, step and drafts; "tokens" are numbers that depend on every answer."""
        kind, times = work["kind"], work["tokens"]
        if kind == "drafts":
            return self._side.drafts(self._written[: _PROMPT + times], _PROMPT)
        if kind == "step":
            return _timed(lambda: self._side.step(self._rows))
        queries = self._queries({"count": 3, "distinct": 2, "locate": 8}[kind], times)
        ask: Callable[[Ids], list[int]] = getattr(self._side, kind)
        return _timed(lambda: [number for query in queries for number in ask(query)])

    def close(self) -> None:
        """Removes the files."""
        self._side.close()

    def _queries(self, length: int, count: int) -> list[Ids]:
        """N-grams of the corpus, and of the text that is not in it."""
        rng = np.random.default_rng(_SEED)
        texts = [self._kept[i] for i in rng.integers(0, len(self._kept), count)]
        texts = [self._written if i % 4 == 0 or len(text) < 99 else text for i, text in enumerate(texts)]
        starts = [int(rng.integers(0, len(text) - length)) for text in texts]
        return [text[at : at + length] for text, at in zip(texts, starts, strict=True)]


def _cut(texts: list[Ids]) -> list[Ids]:
    return [*texts[:-_HELD_OUT], np.concatenate(texts[-_HELD_OUT:])]


def _timed(call: Callable[[], list[int]]) -> Frame:
    begin = perf_counter()
    numbers = call()
    return {"seconds": perf_counter() - begin, "tokens": numbers}


class Indexed:
    """Our index."""

    def __init__(self, kept: list[Ids], threads: int) -> None:
        import draftwood as dw

        dw.runtime.set_num_threads(threads)
        self._folder = tempfile.TemporaryDirectory(prefix="draftwood-bench-")
        begin = perf_counter()
        self._index = dw.FMIndex.build(kept, path=Path(self._folder.name) / "library.dwx")
        self._built = perf_counter() - begin

    def about(self) -> Frame:
        info = self._index.info()
        return {"tier": info["tier"], "bytes": info["bytes"], "build_seconds": self._built}

    def count(self, ids: Ids) -> list[int]:
        return [self._index.count(ids)]

    def distinct(self, ids: Ids) -> list[int]:
        following, counts = self._index.next_tokens(ids)
        return [*following.tolist(), *counts.tolist()]

    def locate(self, ids: Ids) -> list[int]:
        return self._index.locate(ids, limit=1 << 20).ravel().tolist()

    def step(self, log_probs: NDArray[np.float32]) -> list[int]:
        """Constrained steps of 15 beams."""
        from draftwood import _core

        sizes = {"anchored": False, "title_end": [], "end": None, "stop_at_count": 0, "without_last_document": False}
        search = _core.CorpusSearch(self._index.core, beam=_BEAMS, length=_LENGTH, **sizes)  # type: ignore[arg-type]
        told: list[int] = []
        for step in range(_LENGTH):
            rows = log_probs[step, : search.live]
            for beam, token, _ in search.step(rows, range(len(rows)), "log_probs"):
                told += [beam, token]
        return told

    def drafts(self, text: Ids, prompt: int) -> Frame:
        """Appends and proposals while the text is written: the time that the drafter takes of an engine's steps."""
        import draftwood as dw

        drafter = dw.drafters.Mix(dw.drafters.Suffix(), dw.drafters.Retrieval(self._index), max_nodes=16)
        with dw.Engine(Written(text), drafter=drafter, draft_policy="always") as engine:
            output = engine.generate(text[:prompt], dw.SamplingParams(max_new_tokens=len(text) - prompt))
        stats = output.stats
        # The first token of the text comes from the row of the prompt, which nobody drafts.
        counted = {"counted": stats.new_tokens, "steps": stats.steps}
        return {"seconds": stats.times.draft, "tokens": output.token_ids.tolist(), **counted}

    def close(self) -> None:
        self._folder.cleanup()


class Written:
    """An executor that knows what will be written: the row of a position says the token of the next one."""

    def __init__(self, text: Ids) -> None:
        from draftwood.types import ExecutorCaps

        self._text = np.append(text, 0).astype(np.int32)
        self.caps = ExecutorCaps(VOCAB, 1 << 14, 4, selectors=("full", "argmax"), name="a text that is known")

    def allocate(self, pages: int, page_size: int) -> None:
        """Nothing is kept."""

    def forward(self, plan: Any, hidden: tuple[str, ...] = ()) -> Any:
        last = np.minimum(plan.positions[plan.head_rows] + 1, len(self._text) - 1)
        told = self._text[last]
        if plan.selector == "argmax":
            best = np.stack([told, np.full_like(told, -1)], axis=1)
            return SimpleNamespace(best=np.ascontiguousarray(best), logits=None)
        logits = np.zeros((len(told), VOCAB), np.float32)
        logits[np.arange(len(told)), told] = 1.0
        return SimpleNamespace(logits=logits, best=None)

    def apply(self, moves: Any) -> None:
        """Nothing is kept."""


class Scanned:
    """The same answers from comparisons of whole arrays."""

    def __init__(self, kept: list[Ids]) -> None:
        closed = [np.append(text, np.uint32(BORDER)) for text in kept]
        self._tokens = np.concatenate(closed)
        self._starts = np.cumsum([0, *(len(text) for text in closed)])

    def about(self) -> Frame:
        return {"tier": None, "bytes": self._tokens.nbytes, "build_seconds": 0.0}

    def _places(self, ids: Ids) -> NDArray[np.int64]:
        tokens = self._tokens
        found = np.ones(len(tokens) - len(ids), bool)
        for i, token in enumerate(ids):
            found &= tokens[i : i + len(found)] == token
        return np.flatnonzero(found)

    def count(self, ids: Ids) -> list[int]:
        return [len(self._places(ids))]

    def distinct(self, ids: Ids) -> list[int]:
        after = self._tokens[self._places(ids) + len(ids)]
        following, counts = np.unique(after[after != BORDER], return_counts=True)
        return [*following.tolist(), *counts.tolist()]

    def locate(self, ids: Ids) -> list[int]:
        places = self._places(ids)
        document = np.searchsorted(self._starts, places, side="right") - 1
        return np.stack([document, places - self._starts[document]], axis=1).ravel().tolist()

    def step(self, log_probs: NDArray[np.float32]) -> list[int]:
        """Masks over the vocabulary."""
        live: list[tuple[list[int], np.float32]] = [([], np.float32(0))]
        told: list[int] = []
        for step in range(_LENGTH):
            rows = log_probs[step, : len(live)]
            masked = np.full(rows.shape, -np.inf, np.float32)
            for beam, (ids, score) in enumerate(live):
                after = self._tokens[self._places(np.array(ids, np.uint32)) + len(ids)]
                allowed = np.unique(after[after != BORDER])
                masked[beam, allowed] = score + rows[beam, allowed]
            flat = masked.ravel()
            best = np.argsort(-flat, kind="stable")[:_BEAMS]
            best = best[flat[best] > -np.inf]
            live = [([*live[at // VOCAB][0], int(at % VOCAB)], flat[at]) for at in best.tolist()]
            if step + 1 < _LENGTH:
                for at in best.tolist():
                    told += [at // VOCAB, at % VOCAB]
        return told

    def drafts(self, text: Ids, prompt: int) -> Frame:
        """A draft per token that is written: the longest suffix that the corpus holds, looked for from one token on."""
        begin = perf_counter()
        for at in range(prompt, len(text)):
            places = np.flatnonzero(self._tokens == text[at - 1])
            length = 1
            while len(places) and length < 16:
                places = places[(places >= length) & (self._tokens[places - length] == text[at - 1 - length])]
                length += 1
        seconds = perf_counter() - begin
        told = text[prompt:].tolist()
        return {"seconds": seconds, "tokens": told, "counted": len(told), "steps": len(told)}

    def close(self) -> None:
        """Nothing to free."""
