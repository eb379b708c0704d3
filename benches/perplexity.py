"""Perplexity and KL divergence of our native executor beside llama.cpp, on the same file and the same windows.

    python benches/perplexity.py PEERS DATA [FILE …]

PEERS is the folder of `make peers`, DATA one with `tinyshakespeare/input.txt.gz` and `squad/dev-v1.1.json.gz`;
files are names in PEERS/weights, all of SmolLM2's if absent. Two texts, no token before the first:

- `plays`: the last 5 % of tinyshakespeare, context 512, stride 256: each window scores its last 256 tokens, the first
  window all but its first;
- `articles`: 50 paragraphs of SQuAD 1.1, the first of each of its 48 articles and the second of the first two; each is
  one window of at most 512 tokens and scores all but the first.

Both engines keep the cache in float32. llama.cpp runs in its own environment through `baselines/llama_logits.py`.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from draftwood import runtime
from draftwood.bench.chains import PAGE, chain_plan, pages_for
from draftwood.models.gguf import open_model
from draftwood.models.tokenizer import Tokenizer

CONTEXT, STRIDE, DOCUMENTS = 512, 256, 50
SMOLLM2_FILES = tuple(f"smollm2-{kind}.gguf" for kind in ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1"))
WIDE_FILES = tuple(f"wide-{kind}.gguf" for kind in ("q4_k", "q5_k", "q6_k"))

Logits = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Window:
    """Tokens that are read together; those from place `start` on are scored."""

    ids: list[int]
    start: int


def windows(data: Path, tokenizer: Tokenizer) -> dict[str, list[Window]]:
    """Both texts."""
    plays = gzip.decompress((data / "tinyshakespeare/input.txt.gz").read_bytes()).decode()
    squad = json.loads(gzip.decompress((data / "squad/dev-v1.1.json.gz").read_bytes()))["data"]
    paragraphs = [[p["context"] for p in article["paragraphs"]] for article in squad]
    articles = [first for first, *_ in paragraphs] + [second for _, second, *_ in paragraphs]
    encoded = [_ids(tokenizer, text)[:CONTEXT] for text in articles[:DOCUMENTS]]
    return {
        "plays": list(_strided(_ids(tokenizer, plays[-(len(plays) // 20) :]))),
        "articles": [Window(ids, 1) for ids in encoded],
    }


def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return [int(token) for token in tokenizer.encode(text)]


def _strided(ids: list[int]) -> Iterator[Window]:
    yield Window(ids[:CONTEXT], 1)
    for end in range(CONTEXT + STRIDE, len(ids) + 1, STRIDE):
        yield Window(ids[end - CONTEXT : end], CONTEXT - STRIDE)


def logits_of_ours(executor: Any, window: Window) -> Logits:
    """Of the rows before each scored token: [scored, V]; valid until the next call."""
    executor.allocate(pages_for(CONTEXT), PAGE)
    rows = executor.forward(chain_plan(window.ids, read=range(window.start - 1, len(window.ids) - 1)))
    logits: Logits = rows.logits
    return logits


def losses_of(logits: Logits, window: Window) -> NDArray[np.float64]:
    """Negative log-likelihoods of the scored tokens."""
    targets = window.ids[window.start :]
    most = logits.max(axis=1)
    sums = np.log(np.exp(logits - most[:, None]).sum(axis=1, dtype=np.float64))
    return np.asarray(sums + (most - logits[np.arange(len(targets)), targets]), np.float64)


def perplexity_of_ours(path: Path, texts: Sequence[Window], dtype: str = "auto") -> float:
    """With the native executor, weights in the file's own bits unless `dtype` is "float32"."""
    executor = open_model(path).native(dtype)
    losses = [losses_of(logits_of_ours(executor, window), window) for window in texts]
    executor.close()
    return float(np.exp(np.concatenate(losses).mean()))


def ask_llama_cpp(peers: Path, path: Path, texts: Sequence[Window], save: Path | None = None) -> list[list[float]]:
    """Losses of each window; with `save` also the logits, as files of that folder."""
    script = Path(__file__).parent / "baselines/llama_logits.py"
    request = {
        "gguf": str(path),
        "threads": runtime.num_threads(),
        "windows": [{"ids": window.ids, "from": window.start} for window in texts],
        "save": None if save is None else str(save),
    }
    python = peers / "llama-cpp/bin/python"
    done = subprocess.run([str(python), "-P", str(script)], input=json.dumps(request), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"llama.cpp on {path}: {done.stderr[-2000:]}")
    losses: list[list[float]] = json.loads(done.stdout)["losses"]
    return losses


def perplexity_of_llama_cpp(peers: Path, path: Path, texts: Sequence[Window]) -> float:
    """As `perplexity_of_ours`."""
    return float(np.exp(np.mean(np.concatenate(ask_llama_cpp(peers, path, texts)))))


@dataclass(frozen=True, slots=True)
class Divergence:
    """KL divergence of rows, in nats: mean and largest."""

    mean: float
    largest: float

    @classmethod
    def of(cls, pairs: Iterator[tuple[Logits, Logits]]) -> Divergence:
        """KL(p ‖ q) of each row of (logits of p, logits of q)."""
        rows = np.concatenate([_divergences(p, q) for p, q in pairs])
        return cls(float(rows.mean()), float(rows.max()))


def _divergences(p: Logits, q: Logits) -> NDArray[np.float64]:
    logs = []
    for logits in (p, q):
        shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
        logs.append(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
    return np.asarray((np.exp(logs[0]) * (logs[0] - logs[1])).sum(axis=1), np.float64)


def divergences(peers: Path, path: Path, texts: Sequence[Window]) -> tuple[Divergence, Divergence, Divergence]:
    """Of the file as it is stored, with activations in 8 bits: from the float32 run of its dequantised weights, ours;
    from llama.cpp's run, ours; from the float32 run, llama.cpp's.
    """
    stored, exact = open_model(path).native("auto"), open_model(path).native("float32")
    ours = [logits_of_ours(stored, window).copy() for window in texts]
    float32 = [logits_of_ours(exact, window).copy() for window in texts]
    with tempfile.TemporaryDirectory() as folder:
        ask_llama_cpp(peers, path, texts, Path(folder))
        theirs = [np.load(Path(folder) / f"{number}.npy") for number in range(len(texts))]
    stored.close()
    exact.close()
    return (
        Divergence.of(zip(float32, ours, strict=True)),
        Divergence.of(zip(theirs, ours, strict=True)),
        Divergence.of(zip(float32, theirs, strict=True)),
    )


def main(peers: Path, data: Path, files: Sequence[str]) -> None:
    """Prints a table as it comes."""
    tokenizer = Tokenizer.from_gguf(open_model(peers / "weights/smollm2-f32.gguf").file.metadata)
    texts = windows(data, tokenizer)
    for name, some in texts.items():
        print(f"{name}: {len(some)} windows, {sum(len(w.ids) - w.start for w in some)} tokens scored")
    for file in files or SMOLLM2_FILES:
        path = peers / "weights" / file
        if file.startswith("wide-"):
            to_float32, to_llama_cpp, theirs = divergences(peers, path, texts["plays"][:2])
            print(f"{file:18} KL from float32 {to_float32.mean:.2e} (most {to_float32.largest:.2e}), ", end="")
            print(f"from llama.cpp {to_llama_cpp.mean:.2e} ({to_llama_cpp.largest:.2e}); ", end="")
            print(f"llama.cpp's from float32 {theirs.mean:.2e} ({theirs.largest:.2e})", flush=True)
            continue
        for name, some in texts.items():
            ours, other = perplexity_of_ours(path, some), perplexity_of_llama_cpp(peers, path, some)
            print(f"{file:18} {name:9} ours {ours:9.4f}  llama.cpp {other:9.4f}  {ours / other - 1:+.4%}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
