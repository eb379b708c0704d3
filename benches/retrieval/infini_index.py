"""infini-gram's index of the corpus, in an environment of its own (`pip install infini-gram numpy`).

    python infini_index.py FOLDER build        reads FOLDER/corpus.{u16,docs}, writes FOLDER/infini
    python infini_index.py FOLDER QUERIES      one round: every line is a name, its nanoseconds and its answer

It is asked as a program would ask it, from Python, one count at a time; it has no call for many.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ASKED = 400


def build(folder: Path, out: Path) -> None:
    tokens, offsets = np.fromfile(folder / "corpus.u16", "<u2"), np.fromfile(folder / "corpus.docs", "<u8")
    (out / "data").mkdir(parents=True, exist_ok=True)
    # Its separator comes before a document, ours after.
    starts = offsets[:-1].astype(np.int64)
    moved = np.empty_like(tokens)
    moved[1:] = tokens[:-1]
    moved[starts] = 0xFFFF
    moved.tofile(out / "tokenized.0")
    (starts * 2).astype("<u8").tofile(out / "offset.0")
    command = [sys.executable, "-m", "infini_gram.indexing", "--data_dir", str(out / "data"), "--save_dir", str(out)]
    command += ["--token_dtype", "u16", "--cpus", str(os.cpu_count()), "--mem", "8", "--ulimit", "4096"]
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    print(f"build\t{(time.perf_counter() - start) * 1e9:.0f}\t{len(tokens)}")
    size = sum((out / f"{part}.0").stat().st_size for part in ("tokenized", "table", "offset"))
    print(f"bytes\t{size}\t{len(tokens)}")


def ask(out: Path, queries: Path) -> None:
    from infini_gram.engine import InfiniGramEngine

    start = time.perf_counter()
    engine = InfiniGramEngine(index_dir=[str(out)], eos_token_id=0, vocab_size=49152, version=4, token_dtype="u16")
    print(f"open\t{(time.perf_counter() - start) * 1e9:.0f}\t0")
    words = np.fromfile(queries, "<u4")
    at = 0
    while at < len(words):
        kind, length, count = words[at : at + 3].tolist()
        grams = words[at + 3 : at + 3 + length * count].reshape(count, length)
        at += 3 + length * count
        if kind == 0:
            asked = grams[:ASKED].tolist()
            start = time.perf_counter()
            total = sum(engine.count(gram)["count"] for gram in asked)
            each = (time.perf_counter() - start) * 1e9 / len(asked)
            print(f"count {length}-grams from Python\t{each:.1f}\t{total}")
        elif kind == 10:
            asked = grams[:ASKED].tolist()
            start = time.perf_counter()
            told = [engine.ntd(gram, max_support=1000)["result_by_token_id"] for gram in asked]
            each = (time.perf_counter() - start) * 1e9 / len(asked)
            # What its separator is told as is the end of a document, which is no token of ours.
            total = sum(one["cont_cnt"] for gram in told for token, one in gram.items() if 0 < token < 49152)
            print(f"followers of {kind} rows from Python\t{each:.1f}\t{total}")


if __name__ == "__main__":
    where = Path(sys.argv[1])
    if sys.argv[2] == "build":
        build(where, where / "infini")
    else:
        ask(where / "infini", Path(sys.argv[2]))
