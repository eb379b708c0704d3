"""Our index beside SEAL's (sdsl-lite) and infini-gram's, on a corpus of `make_corpus.py`: answers first, then rounds.

    python benches/retrieval/compare_index.py FOLDER [--rounds 9] [--builds 3] [--infini PYTHON] [--tiers]
                                              [--json FOLDER] [--ungated]

Needs cargo, g++ and libsdsl-dev, or its unpacked packages at $SDSL (with usr/include and usr/lib); PYTHON is that of an
environment with infini-gram. Every program runs alone, in turn, one process per round. A round in which other processes
used more than an eighth of a core does not count; `--ungated` keeps all and claims nothing. Ours and sdsl's are built
in turn, `--builds` times each (0 keeps the files that are there); at 50M tokens that takes 5 minutes, mostly sdsl's, a
round 10 seconds. Every figure that issue 7 names is judged, and those that were missed stand at the end. A corpus of
200k tokens runs through in seconds, for trying the script; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from index_builds import Told, build_all, lines, programs, smaller
from verdicts import Verdicts

import draftwood as dw
from draftwood.bench.figures import ratio_of, spread_of
from draftwood.bench.gate import Gate, Watch

QUERIES, ASKED = 20_000, 400
# Milliseconds to open a file, and what its size may change about it.
OPEN_MS, OPEN_MORE_MS = 5.0, 0.5
# Rows of a query for distinct followers → how many such queries. A pass over fewer is over in less than a clock tick of
# the scheduler, and one interrupt moves it.
WITH_ROWS = {10: 5000, 1000: 1000}
# Ours, whose, the line that does the same there, and the gate of the ratio theirs / ours.
PAIRS: list[tuple[str, str, str, float | None]] = [
    ("extend 3-grams", "sdsl", "extend 3-grams", 8.0),
    ("extend 10-grams", "sdsl", "extend 10-grams", 6.0),
    ("extend 3-grams, sixteen at once", "sdsl", "extend 3-grams", 10.0),
    ("extend 10-grams, sixteen at once", "sdsl", "extend 10-grams", 10.0),
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
    ("followers of 10 rows from Python", "infini-gram", "followers of 10 rows from Python", None),
    ("open", "infini-gram", "open", None),
]
NOT_ANSWERS = {"open", "dependent miss"}


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
        elif kind == 10:
            counts = [index.next_tokens(gram)[1] for gram in grams]
            each = (time.perf_counter_ns() - start) / len(grams)
            told[f"followers of {kind} rows from Python"] = (each, int(sum(one.sum() for one in counts)))
    return told


def asked(index: dw.FMIndex, commands: dict[str, list[str]], queries: Path) -> dict[str, Told]:
    """One round of all, the smaller corpus' file being opened too."""
    told = {whose: lines([*command, str(queries)]) for whose, command in commands.items()}
    told["ours"] |= from_python(index, queries)
    told["smaller"] = lines([commands["ours"][0], str(smaller(queries.parent)), "open"])
    return told


def judge_opening(rounds: list[dict[str, Told]], verdicts: Verdicts) -> None:
    """The first opening in a process; then, among many, what the size of the file adds."""
    first = {arm: [told[arm]["open"][0] / 1e6 for told in rounds] for arm in ("ours", "smaller")}
    again = {arm: float(np.median([told[arm]["open again"][0] for told in rounds])) / 1e6 for arm in first}
    verdicts.line("open", spread_of(first["ours"]).median, "ms", most=OPEN_MS, ms=first["ours"])
    name = "open a tenth of the corpus"
    verdicts.line(name, spread_of(first["smaller"]).median, "ms", most=OPEN_MS, ms=first["smaller"])
    more = f" | {again['ours']:.4f} and {again['smaller']:.4f} ms"
    name = "open, what ten times the corpus adds"
    verdicts.line(name, again["ours"] - again["smaller"], "ms", most=OPEN_MORE_MS, more=more, again_ms=again)


def main(folder: Path, arguments: argparse.Namespace) -> None:
    verdicts, gated = Verdicts("retrieval index"), not arguments.ungated
    commands = programs(folder, arguments.infini)
    builds = {"builds": arguments.builds, "gated": gated, "tiers": arguments.tiers}
    discarded_builds = build_all(folder, commands, verdicts, **builds)
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
        if gated and (others or 0.0) > gate.others:
            discarded += 1
            continue
        rounds.append(told)
    if not rounds:
        raise SystemExit(f"no quiet round, {discarded} discarded")
    for mine, whose, its, least in pairs:
        ours, theirs = ([one[arm][work][0] for one in rounds] for arm, work in (("ours", mine), (whose, its)))
        ratio = ratio_of(theirs, ours)
        name = its if whose == "ours" or its == mine else f"{whose}: {its}"
        more = (
            f" [{ratio.low:.2f}, {ratio.high:.2f}] | {spread_of(ours).median:,.0f} ns | "
            f"{whose if name == mine else name} {spread_of(theirs).median:,.0f} ns"
        )
        verdicts.line(
            mine, ratio.median, "×", least=least, more=more, peer=whose, peer_work=its, ours_ns=ours, peer_ns=theirs,
            ratio=[ratio.median, ratio.low, ratio.high],
        )  # fmt: skip
    judge_opening(rounds, verdicts)
    verdicts.close(
        arguments.json, corpus=str(folder), tokens=int((folder / "corpus.u16").stat().st_size // 2),
        rounds=len(rounds), discarded=discarded, builds=arguments.builds, discarded_builds=discarded_builds,
        gated=gated,
    )  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Ours beside sdsl-lite and infini-gram.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--builds", type=int, default=3, help="of ours and sdsl's in turn; 0 keeps what is there")
    parser.add_argument("--infini", metavar="PYTHON", help="of an environment with infini-gram")
    parser.add_argument("--tiers", action="store_true", help="build and weigh compact and fast too")
    parser.add_argument("--json", type=Path, metavar="FOLDER", help="adds to its rows.jsonl")
    parser.add_argument("--ungated", action="store_true")
    options = parser.parse_args()
    main(options.folder.resolve(), options)
