"""Our index beside SEAL's (sdsl-lite) and infini-gram's, on a corpus of `make_corpus.py`: answers first, then rounds.

    python benches/retrieval/compare_index.py FOLDER [--rounds 9] [--infini PYTHON] [--tiers] [--json FILE] [--ungated]

Needs cargo, g++ and libsdsl-dev, or its unpacked packages at $SDSL (with usr/include and usr/lib); PYTHON is that of an
environment with infini-gram. Every program runs alone, in turn, one process per round. A round in which other processes
used more than an eighth of a core does not count; `--ungated` keeps all and claims nothing. Building takes 2 minutes at
50M tokens, mostly sdsl's, a round 10 seconds.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import draftwood as dw
from draftwood.bench.figures import ratio_of, spread_of
from draftwood.bench.gate import Gate, Watch
from draftwood.bench.rows import append_rows
from draftwood.cli.machine import describe

HERE = Path(__file__).parent
SDSL = Path(os.environ["SDSL"]) if "SDSL" in os.environ else None
QUERIES, ASKED = 20_000, 400
BUILDS, BUILD_RATIO = 3, 8.0
# Rows of a query for distinct followers → how many such queries. A pass over fewer is over in less than a clock tick of
# the scheduler, and one interrupt moves it.
WITH_ROWS = {10: 5000, 1000: 1000}
TIERS = ("tiny", "compact", "standard", "fast")
# Ours, whose, the line that does the same there, and the gate of the ratio theirs / ours.
PAIRS: list[tuple[str, str, str, float | None]] = [
    ("extend 3-grams", "sdsl", "extend 3-grams", 8.0),
    ("extend 10-grams", "sdsl", "extend 10-grams", 6.0),
    ("extend 3-grams, sixteen at once", "sdsl", "extend 3-grams", 10.0),
    ("extend 10-grams, sixteen at once", "sdsl", "extend 10-grams", 10.0),
    ("extend 3-grams, all in one call", "sdsl", "extend 3-grams", None),
    ("extend 10-grams, all in one call", "sdsl", "extend 10-grams", None),
    ("candidate test", "sdsl", "candidate test", None),
    ("candidate test", "ours", "dependent miss", 2.5),
    ("distinct of 10 rows", "sdsl", "distinct of 10 rows", 25.0),
    ("distinct of 10 rows", "sdsl", "distinct of 10 rows, as SEAL allocates", 60.0),
    ("distinct of 1000 rows", "sdsl", "distinct of 1000 rows", 25.0),
    ("extend 3-grams, sixteen at once, two threads", "ours", "extend 3-grams, sixteen at once", 1.7),
    ("extend 10-grams, sixteen at once, two threads", "ours", "extend 10-grams, sixteen at once", 1.7),
    ("open", "sdsl", "open", None),
    ("count 3-grams from Python", "infini-gram", "count 3-grams from Python", None),
    ("count 10-grams from Python", "infini-gram", "count 10-grams from Python", None),
    ("count 3-grams from Python, all at once", "infini-gram", "count 3-grams from Python", None),
    ("count 10-grams from Python, all at once", "infini-gram", "count 10-grams from Python", None),
    ("followers of 10 rows from Python", "infini-gram", "followers of 10 rows from Python", None),
    ("open", "infini-gram", "open", None),
]
NOT_ANSWERS = {"open", "dependent miss"}
Told = dict[str, tuple[float, int]]


def programs(folder: Path, infini: str | None) -> dict[str, list[str]]:
    """Whose index → the program that answers for it, compiled if it is one of C++ or Rust."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parents[1] / "target"))
    cargo = ["cargo", "build", "--release", "--quiet", "-p", "draftwood-retrieve", "--example", "index_speed"]
    subprocess.run(cargo, cwd=HERE.parents[1], check=True)
    peer, flags = folder / "sdsl_index", ["-O3", "-march=native", "-DNDEBUG", "-std=c++17"]
    link = ["-lsdsl", "-ldivsufsort", "-ldivsufsort64", "-o", str(peer)]
    if SDSL is not None:  # the system's own folders, named again, would hide those of the C library
        libraries = next(SDSL.glob("usr/lib/x86_64-linux-gnu"), SDSL / "usr/lib")
        flags += [f"-isystem{SDSL / 'usr/include'}", f"-L{libraries}", f"-Wl,-rpath,{libraries}"]
        flags += [f"-isystem{one}" for one in SDSL.glob("usr/include/*-linux-gnu")]
    subprocess.run(["g++", *flags, str(HERE / "sdsl_index.cpp"), *link], check=True)
    found = {"ours": [str(target / "release/examples/index_speed"), str(folder)], "sdsl": [str(peer), str(folder)]}
    if infini is not None:
        found["infini-gram"] = [infini, str(HERE / "infini_index.py"), str(folder)]
    return found


def lines(command: list[str], folder: Path | None = None) -> Told:
    """What a program prints: name → (nanoseconds, answer). sdsl builds with files where it runs."""
    told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=folder).stdout
    rows = (line.split("\t") for line in told.splitlines() if line.count("\t") == 2)
    return {name: (float(nanoseconds), int(answer)) for name, nanoseconds, answer in rows}


def built(folder: Path, commands: dict[str, list[str]], tiers: bool) -> list[dict[str, Any]]:
    """Builds what is not there: seconds, bytes per token."""
    wanted = [("sdsl", "sdsl.index", []), ("ours", "standard.dwx", ["standard"])]
    wanted += [("ours", f"{tier}.dwx", [tier]) for tier in TIERS if tiers and tier != "standard"]
    if "infini-gram" in commands:
        wanted.append(("infini-gram", "infini/table.0", []))
    rows = []
    for whose, file, more in wanted:
        if (folder / file).exists():
            continue
        watch = Watch(())
        # Peers take minutes, and what a few seconds of another process do to them is little.
        each = [lines([*commands[whose], "build", *more], folder) for _ in range(BUILDS if whose == "ours" else 1)]
        seconds, (size, tokens) = float(np.median([told["build"][0] for told in each])) / 1e9, each[0]["bytes"]
        name = " ".join(["build", *more])
        print(f"{whose}: {name}, {tokens:,} tokens in {seconds:.1f} s, {size / tokens:.3f} bytes per token", flush=True)
        others = watch.others()
        rows.append(
            {"arm": whose, "work": name, "seconds": seconds, "bytes_per_token": size / tokens, "others": others}
        )
    took = {row["work"] if row["arm"] == "ours" else row["arm"]: row["seconds"] for row in rows}
    if {"sdsl", "build standard"} <= took.keys():
        ratio = took["sdsl"] / took["build standard"]
        print(
            f"build: {ratio:.2f}× sdsl, wanted {BUILD_RATIO:g}: {'yes' if ratio >= BUILD_RATIO else 'NO'}", flush=True
        )
    return rows


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
    for rows, wanted in WITH_ROWS.items():
        for length in (1, 2, 3):
            # The shortest n-grams of which at least one in a hundred draws has so many rows.
            found: list[np.ndarray] = []
            for tries in range(1, 100 * wanted + 1):
                gram = drawn(length)
                if 0.8 * rows <= index.count(gram.astype(np.uint32)) <= 1.2 * rows:
                    found.append(gram)
                if len(found) == wanted or 100 * len(found) < tries - QUERIES:
                    break
            if len(found) == wanted:
                parts += [np.array([rows, length, wanted]), *found]
                break
        else:
            raise SystemExit(f"{folder}: too few n-grams that occur about {rows} times")
    path = folder / "queries.u32"
    np.concatenate(parts).astype("<u4").tofile(path)
    return path


def from_python(index: dw.FMIndex, queries: Path) -> Told:
    """What infini-gram is asked: one call from Python each."""
    words, told, at = np.fromfile(queries, "<u4"), {}, 0
    while at < len(words):
        kind, length, count = words[at : at + 3].tolist()
        grams = words[at + 3 : at + 3 + length * count].reshape(count, length)[:ASKED].tolist()
        at += 3 + length * count
        start = time.perf_counter_ns()
        if kind == 0:
            total = sum(index.count(gram) for gram in grams)
            told[f"count {length}-grams from Python"] = ((time.perf_counter_ns() - start) / len(grams), total)
            start = time.perf_counter_ns()
            total = int(index.counts(grams).sum())
            each = (time.perf_counter_ns() - start) / len(grams)
            told[f"count {length}-grams from Python, all at once"] = (each, total)
        elif kind == 10:
            counts = [index.next_tokens(gram)[1] for gram in grams]
            each = (time.perf_counter_ns() - start) / len(grams)
            told[f"followers of {kind} rows from Python"] = (each, int(sum(one.sum() for one in counts)))
    return told


def asked(index: dw.FMIndex, commands: dict[str, list[str]], queries: Path) -> dict[str, Told]:
    """One round of all."""
    told = {whose: lines([*command, str(queries)]) for whose, command in commands.items()}
    told["ours"] |= from_python(index, queries)
    return told


def main(folder: Path, arguments: argparse.Namespace) -> None:
    commands, machine = programs(folder, arguments.infini), describe()
    rows = built(folder, commands, arguments.tiers)
    queries, index = write_queries(folder), dw.FMIndex.open(folder / "standard.dwx")
    index.verify()  # every block is checked once, as after the first queries
    first = asked(index, commands, queries)
    pairs = [pair for pair in PAIRS if pair[1] in commands and pair[0] in first["ours"]]
    for mine, whose, its, _ in pairs:
        a, b = first["ours"][mine][1], first[whose][its][1]
        if not {mine, its} & NOT_ANSWERS and a != b:
            raise SystemExit(f"{mine}: ours answers {a}, {whose} {b}")
    print(f"equal answers in {sum(not set(pair[::2]) & NOT_ANSWERS for pair in pairs)} works", flush=True)
    gate, rounds, discarded = Gate(), [], 0
    while len(rounds) < arguments.rounds and discarded < 3 * arguments.rounds:
        watch = Watch(())
        told, others = asked(index, commands, queries), watch.others()
        if not arguments.ungated and (others or 0.0) > gate.others:
            discarded += 1
            continue
        rounds.append(told)
    if not rounds:
        raise SystemExit(f"no quiet round, {discarded} discarded")
    for mine, whose, its, least in pairs:
        ours, theirs = ([one[arm][work][0] for one in rounds] for arm, work in (("ours", mine), (whose, its)))
        ratio = ratio_of(theirs, ours)
        verdict = "" if least is None else f", wanted {least:g}: {'yes' if ratio.median >= least else 'NO'}"
        name = its if whose == "ours" or its == mine else f"{whose}: {its}"
        print(
            f"{mine:46} {spread_of(ours).median:12,.0f} ns | {whose if name == mine else name:40} "
            f"{spread_of(theirs).median:14,.0f} ns | {ratio.median:7.2f}× [{ratio.low:.2f}, {ratio.high:.2f}]{verdict}"
        )
        row = {"work": mine, "peer": whose, "peer_work": its, "ours_ns": ours, "peer_ns": theirs, "wanted": least}
        rows.append({**row, "ratio": [ratio.median, ratio.low, ratio.high]})
    if arguments.json:
        common = {
            "schema": 1, "case": "retrieval index", "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "draftwood": dw.__version__, "machine": machine, "corpus": str(folder), "rounds": len(rounds),
            "tokens": int((folder / "corpus.u16").stat().st_size // 2), "discarded": discarded,
            "gated": not arguments.ungated,
        }  # fmt: skip
        print(append_rows(arguments.json, [{**common, **row} for row in rows]), file=sys.stderr)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Ours beside sdsl-lite and infini-gram.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--infini", metavar="PYTHON", help="of an environment with infini-gram")
    parser.add_argument("--tiers", action="store_true", help="build the other tiers too")
    parser.add_argument("--json", type=Path, metavar="FOLDER", help="adds to its rows.jsonl")
    parser.add_argument("--ungated", action="store_true")
    options = parser.parse_args()
    main(options.folder.resolve(), options)
