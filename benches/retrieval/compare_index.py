"""Our index beside the one that SEAL uses, on a corpus of `make_corpus.py`: answers first, then rounds in turn.

    python benches/retrieval/compare_index.py FOLDER [ROUNDS]

Needs cargo, g++ and libsdsl-dev, or its unpacked packages at $SDSL (with usr/include and usr/lib). ROUNDS 0 times
nothing. Ratios are sdsl's time over ours in the same round; figures of a busy machine claim nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

import draftwood as dw

HERE = Path(__file__).parent
SDSL = Path(os.environ.get("SDSL", "/"))
QUERIES = 20_000
# Ours → the peer's line that does the same.
PAIRS = {
    "extend 3-grams": "extend 3-grams",
    "extend 3-grams, sixteen at once": "extend 3-grams",
    "extend 10-grams": "extend 10-grams",
    "extend 10-grams, sixteen at once": "extend 10-grams",
    "distinct of 10 rows": "distinct of 10 rows",
    "distinct of 10 rows, SEAL's": "distinct of 10 rows, as SEAL allocates",
    "distinct of 1000 rows": "distinct of 1000 rows",
}


def built(folder: Path) -> tuple[list[str], list[str]]:
    """The two programs, and their indexes if they are not there."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parents[1] / "target"))
    cargo = ["cargo", "build", "--release", "--quiet", "-p", "draftwood-retrieve", "--example", "index_speed"]
    subprocess.run(cargo, cwd=HERE.parents[1], check=True)
    peer, libraries = folder / "sdsl_index", next(SDSL.glob("usr/lib/x86_64-linux-gnu"), SDSL / "usr/lib")
    flags = ["-O3", "-march=native", "-DNDEBUG", "-std=c++17", f"-isystem{SDSL / 'usr/include'}", f"-L{libraries}"]
    flags += [f"-isystem{one}" for one in SDSL.glob("usr/include/*-linux-gnu")]
    link = [f"-Wl,-rpath,{libraries}", "-lsdsl", "-ldivsufsort", "-ldivsufsort64", "-o", str(peer)]
    subprocess.run(["g++", *flags, str(HERE / "sdsl_index.cpp"), *link], check=True)
    ours = [str(target / "release/examples/index_speed"), str(folder)]
    for program, index in ((ours, "standard.dwx"), ([str(peer), str(folder)], "sdsl.index")):
        if not (folder / index).exists():
            told = lines([*program, "build"])
            seconds, (size, tokens) = told["build"][0] / 1e9, told["bytes"]
            print(f"{index}: {tokens:,} tokens in {seconds:.1f} s, {size / tokens:.2f} bytes per token")
    return ours, [str(peer), str(folder)]


def lines(command: list[str]) -> dict[str, tuple[float, int]]:
    """What a program prints: name → (nanoseconds, answer)."""
    told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    rows = (line.split("\t") for line in told.splitlines())
    return {name: (float(nanoseconds), int(answer)) for name, nanoseconds, answer in rows}


def write_queries(folder: Path) -> Path:
    """n-grams of the corpus: of 3 and 10 tokens, and such as occur about 10 and about 1,000 times."""
    tokens = np.fromfile(folder / "corpus.u16", "<u2")
    index, rng = dw.FMIndex.open(folder / "standard.dwx"), np.random.default_rng(1)

    def drawn(length: int) -> np.ndarray:
        while True:
            at = int(rng.integers(0, len(tokens) - length))
            if (gram := tokens[at : at + length]).all():
                return gram

    parts = []
    for length in (3, 10):
        parts += [np.array([0, length, QUERIES]), *(drawn(length) for _ in range(QUERIES))]
    for rows in (10, 1000):
        for length in (1, 2, 3):
            tries = (drawn(length) for _ in range(QUERIES))
            found = [gram for gram in tries if 0.8 * rows <= index.count(gram.astype(np.uint32)) <= 1.2 * rows]
            if len(found) >= 200:
                parts += [np.array([rows, length, len(found)]), *found]
                break
    path = folder / "queries.u32"
    np.concatenate(parts).astype("<u4").tofile(path)
    return path


def main(folder: Path, rounds: int) -> None:
    ours, peer = built(folder)
    queries = str(write_queries(folder))
    a, b = lines([*ours, queries]), lines([*peer, queries])
    a |= {f"{name}, SEAL's": value for name, value in a.items() if name.startswith("distinct")}
    for mine, its in PAIRS.items():
        if mine in a and a[mine][1] != b[its][1]:
            raise SystemExit(f"{mine}: ours answers {a[mine][1]}, sdsl {b[its][1]}")
    print("equal answers:", ", ".join(name for name in PAIRS if name in a))
    ratios: dict[str, list[float]] = {name: [] for name in PAIRS}
    for _ in range(rounds):
        a, b = lines([*ours, queries]), lines([*peer, queries])
        for mine, its in PAIRS.items():
            ratios[mine].append(b[its][0] / a[mine.removesuffix(", SEAL's")][0])
    for name, values in ratios.items() if rounds else ():
        print(f"{name:36} {np.median(values):6.1f} times ({min(values):.1f} … {max(values):.1f})")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 9)
