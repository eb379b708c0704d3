"""Attribution over texts of 100 … 100,000 tokens: microseconds and live ranges per token, and whether they grow.

    python benches/retrieval/attribution.py FOLDER [--json FOLDER]

FOLDER is one of `make_corpus.py`. Its last passages, at most 200,000 tokens and at most half of the corpus, are held
out of an index of the rest, FOLDER/held-out.dwx, which is built once. Three kinds of texts: held-out passages one after
the other, indexed ones, and random ids. A text keeps one range per suffix that occurs with a count of its own (suffixes
with equal counts share their occurrences for ever), so its time is its tokens times its live ranges: ranges per token
should not grow with the text, and time per range should not either. The worst case, one token over and over in corpus
and text, has as many ranges as tokens: there time grows with the square, as it must, until the corpus' largest count
ends it. Times are told without and with the places of each span, which cost a walk through the index each.
"""

from __future__ import annotations

import argparse
import os
import subprocess
from pathlib import Path

import numpy as np
from verdicts import Verdicts

import draftwood as dw

ROOT = Path(__file__).resolve().parents[2]
LENGTHS = (100, 1_000, 10_000, 100_000)
WORST = (100, 1_000, 10_000)
HELD_OUT = 200_000
PLACES = 10
"""From so many places of the corpus comes a text of the greatest length each."""
# Ranges per token of ordinary text are "a handful"; from 1,000 tokens on neither they nor the time of one may grow.
HANDFUL, SETTLED = 16, 1_000
RANGES_GROW, TIME_GROWS = 1.25, 2.0
Line = tuple[int, float, float, float, int]


def held_out(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of the indexed and of the held-out passages; the index is there afterwards."""
    tokens, offsets = np.fromfile(folder / "corpus.u16", "<u2"), np.fromfile(folder / "corpus.docs", "<u8")
    cut = int(np.searchsorted(offsets, len(tokens) - min(HELD_OUT, len(tokens) // 2)))
    path, count = folder / "held-out.dwx", cut
    if not path.exists() or dw.FMIndex.open(path).info()["documents"] != count:
        path.unlink(missing_ok=True)
        pairs = zip(offsets[:cut].tolist(), offsets[1 : cut + 1].tolist(), strict=True)
        # Without the token that closes a document.
        dw.FMIndex.build((tokens[a : b - 1].astype(np.uint32) for a, b in pairs), path=path)
    at = int(offsets[cut])
    return tokens[:at][tokens[:at] != 0], tokens[at:][tokens[at:] != 0]


def measured(program: Path, folder: Path, texts: list[np.ndarray]) -> Line:
    """Of several texts of one length: tokens, µs per token without and with places, ranges per token, spans."""
    parts = [part for text in texts for part in (np.array([len(text)], "<u4"), text.astype("<u4"))]
    file = folder / "texts.u32"
    np.concatenate(parts).tofile(file)
    told = asked([str(program), str(folder / "held-out.dwx"), str(file)])
    file.unlink()
    tokens, plain, placed, ranges, spans = told.sum(axis=0).tolist()
    return len(texts[0]), plain / tokens / 1e3, placed / tokens / 1e3, ranges / tokens, int(spans)


def asked(command: list[str]) -> np.ndarray:
    told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return np.array([[float(value) for value in line.split("\t")] for line in told.splitlines()])


def judge(kind: str, found: list[Line], verdicts: Verdicts, *, is_worst: bool = False) -> None:
    for length, plain, placed, ranges, spans in found:
        more = f" | {placed:.3f} with places | {ranges:.2f} live ranges per token | {spans} spans"
        name = f"{kind}, {length:,} tokens"
        verdicts.line(name, plain, "µs per token", more=more, ranges=ranges, placed_us=placed, spans=spans)
    settled = [line for line in found if line[0] >= SETTLED]
    if len(settled) < 2:
        return
    # A token starts a range of its own, whether it lives or not.
    times = [plain / (ranges + 1) for _, plain, _, ranges, _ in settled]
    verdicts.line(f"{kind}: time per live range grows", max(times) / times[0], "×", most=TIME_GROWS)
    if is_worst:
        expected = max(abs(ranges - (length + 1) / 2) for length, _, _, ranges, _ in found)
        verdicts.line(f"{kind}: ranges beside half the text", expected, "apart", most=0.0)
        return
    most = max(ranges for _, _, _, ranges, _ in found)
    verdicts.line(f"{kind}: live ranges per token", most, "at most", most=HANDFUL)
    grown = max(ranges for _, _, _, ranges, _ in settled) / settled[0][3]
    verdicts.line(f"{kind}: live ranges per token grow", grown, "×", most=RANGES_GROW)


def main(folder: Path, json: Path | None) -> None:
    cargo = ["cargo", "build", "--release", "--quiet", "-p", "draftwood-retrieve", "--example", "attribute_speed"]
    subprocess.run(cargo, cwd=ROOT, check=True)
    program = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/examples/attribute_speed"
    indexed, held = held_out(folder)
    verdicts, rng = Verdicts("attribution"), np.random.default_rng(1)
    vocabulary = int(max(indexed.max(), held.max())) + 1
    kinds = {"held-out text": held, "indexed text": indexed, "random ids": rng.integers(1, vocabulary, len(held))}
    for kind, tokens in kinds.items():
        found = []
        for length in LENGTHS:
            if length > len(tokens):
                continue
            # The same tokens for every length, cut into more texts: how much of itself a place repeats differs from
            # place to place, and is no matter of length.
            longest = min(len(tokens), LENGTHS[-1])
            starts = np.linspace(0, len(tokens) - longest, min(PLACES, len(tokens) // longest)).astype(int)
            cuts = [at + piece * length for at in starts for piece in range(longest // length)]
            found.append(measured(program, folder, [tokens[at : at + length] for at in cuts]))
        judge(kind, found, verdicts)
    worst = []
    for length in WORST:
        tokens, plain, placed, ranges, spans = asked([str(program), "worst", str(length)])[0].tolist()
        worst.append((length, plain / tokens / 1e3, placed / tokens / 1e3, ranges / tokens, int(spans)))
    judge("one token over and over", worst, verdicts, is_worst=True)
    verdicts.close(json, corpus=str(folder), tokens=len(indexed))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Attribution over texts of several lengths.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path, metavar="FOLDER", help="adds to its rows.jsonl")
    options = parser.parse_args()
    main(options.folder.resolve(), options.json)
