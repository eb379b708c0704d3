"""Building and its memory, ours beside sdsl's, and the sizes of files: the first part of `compare_index.py`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
from verdicts import Verdicts

import draftwood as dw
from draftwood.bench.figures import ratio_of, spread_of
from draftwood.bench.gate import Gate, Watch

HERE = Path(__file__).parent
SDSL = Path(os.environ["SDSL"]) if "SDSL" in os.environ else None
# How much faster than sdsl's the build should be, and how many bytes per token a file should have at most (issue 7).
BUILD_RATIO = 8.0
SIZES = {"tiny": 2.1, "compact": None, "standard": 8.7, "fast": None}
SMALLER = 10
"""A corpus of 50M tokens begins with one of 5M: opening should not depend on which."""
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
    """What a program prints: name → (nanoseconds or bytes, answer). sdsl builds with files where it runs."""
    told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=folder).stdout
    rows = (line.split("\t") for line in told.splitlines() if line.count("\t") == 2)
    return {name: (float(value), int(answer)) for name, value, answer in rows}


def smaller(folder: Path) -> Path:
    """The first tenth of the corpus, whole documents, as a corpus of its own."""
    offsets = np.fromfile(folder / "corpus.docs", "<u8")
    its = offsets[: max(1, int(np.searchsorted(offsets, offsets[-1] // SMALLER))) + 1]
    into = folder / f"first-{SMALLER}th"
    into.mkdir(exist_ok=True)
    there = into / "corpus.docs"
    if not there.exists() or not np.array_equal(np.fromfile(there, "<u8"), its):
        (into / "standard.dwx").unlink(missing_ok=True)
        np.fromfile(folder / "corpus.u16", "<u2", count=int(its[-1])).tofile(into / "corpus.u16")
        its.tofile(there)
    return into


def build_all(
    folder: Path, commands: dict[str, list[str]], verdicts: Verdicts, *, builds: int, gated: bool, tiers: bool
) -> int:
    """Builds standard and sdsl's in turn, `builds` times each, and once what else is not there; judges times, peaks of
    memory and sizes. Returns how many pairs of builds were discarded."""
    pairs: list[tuple[Told, Told]] = []
    gate, discarded = Gate(), 0
    while len(pairs) < builds:
        watch = Watch(())
        mine = lines([*commands["ours"], "build", "standard"], folder)
        its = lines([*commands["sdsl"], "build"], folder)
        others = watch.others()
        if gated and (others or 0.0) > gate.others:
            discarded += 1
            print(f"discarded a pair of builds: other processes used {others:.2f} cores", flush=True)
            if discarded >= 3 * builds:
                raise SystemExit("no quiet builds")
            continue
        pairs.append((mine, its))
    for whose, file, more in (("ours", "standard.dwx", ["standard"]), ("sdsl", "sdsl.index", [])):
        if not (folder / file).exists():
            lines([*commands[whose], "build", *more], folder)
    for tier in SIZES if tiers else ("tiny",):
        if not (folder / f"{tier}.dwx").exists():
            lines([*commands["ours"], "build", tier], folder)
    if "infini-gram" in commands and not (folder / "infini/table.0").exists():
        its = lines([*commands["infini-gram"], "build"], folder)
        verdicts.line("infini-gram's build", its["build"][0] / 1e9, "s", arm="infini-gram")
    first = smaller(folder)
    if not (first / "standard.dwx").exists():
        lines([commands["ours"][0], str(first), "build", "standard"], first)
    if pairs:
        _judge_builds(pairs, verdicts)
    for tier, most in SIZES.items():
        if (folder / f"{tier}.dwx").exists():
            info = dw.FMIndex.open(folder / f"{tier}.dwx").info()
            # The packing of ids follows their number: below 65,537 different ones 16 bits are enough.
            each = info["bytes"] / info["tokens"]
            most = most if info["files"][0]["distinct"] < 65_536 else None
            verdicts.line(f"size, {tier}", each, "bytes per token", most=most, tier=tier)
    return discarded


def _judge_builds(pairs: list[tuple[Told, Told]], verdicts: Verdicts) -> None:
    ours, theirs = ([pair[i]["build"][0] / 1e9 for pair in pairs] for i in (0, 1))
    ratio = ratio_of(theirs, ours)
    more = f" | sdsl {spread_of(theirs).median:.2f} s, {len(pairs)} each in turn"
    verdicts.line("build", spread_of(ours).median, "s", more=more, ours_s=ours, peer="sdsl", peer_s=theirs)
    verdicts.line(
        "build, times as fast as sdsl", ratio.median, f"× [{ratio.low:.2f}, {ratio.high:.2f}]", least=BUILD_RATIO,
        peer="sdsl", ratio=[ratio.median, ratio.low, ratio.high],
    )  # fmt: skip
    mine, its = (max(pair[i]["peak"][0] / pair[i]["peak"][1] for pair in pairs) for i in (0, 1))
    size = pairs[0][1]["bytes"]
    verdicts.line("build, peak of memory", mine, "bytes per token", more=f" | sdsl {its:.3f}", peer="sdsl", theirs=its)
    verdicts.line("size, sdsl", size[0] / size[1], "bytes per token", arm="sdsl")
