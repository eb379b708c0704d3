"""Logits of llama.cpp with a float32 cache, for the parity of perplexity; runs in its own environment.

    python llama_logits.py < request.json > reply.json

Request: "gguf", "threads", "windows": [{"ids", "from"}], "save": a folder or null. Reply: "losses", for each window the
negative log-likelihood of every token from place "from" on, given those before it in the window. With "save" the logits
that gave them are written to N.npy, [tokens, vocabulary] float32.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np


def main() -> None:
    """Answers the request on stdin."""
    request = json.load(sys.stdin)
    longest = max(len(window["ids"]) for window in request["windows"])
    llama = llama_cpp.Llama(
        request["gguf"],
        n_ctx=longest + 8,
        n_batch=longest,
        n_ubatch=longest,
        n_threads=request["threads"],
        n_threads_batch=request["threads"],
        type_k=llama_cpp.GGML_TYPE_F32,
        type_v=llama_cpp.GGML_TYPE_F32,
        flash_attn=False,
        verbose=False,
    )
    batch = llama_cpp.llama_batch_init(longest, 0, 1)
    losses = []
    for number, window in enumerate(request["windows"]):
        logits = _logits(llama, batch, window)
        if request["save"]:
            np.save(Path(request["save"]) / f"{number}.npy", logits)
        losses.append(_losses(logits, window["ids"][window["from"] :]))
    json.dump({"losses": losses, "version": llama_cpp.__version__}, sys.stdout)


def _logits(llama: Any, batch: Any, window: dict[str, Any]) -> Any:
    """Of the rows before each token that counts."""
    ids, first = window["ids"], window["from"] - 1
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(llama.ctx), True)
    batch.n_tokens = len(ids)
    for i, token in enumerate(ids):
        batch.token[i] = token
        batch.pos[i] = i
        batch.n_seq_id[i] = 1
        batch.seq_id[i][0] = 0
        batch.logits[i] = first <= i < len(ids) - 1
    if error := llama_cpp.llama_decode(llama.ctx, batch):
        raise RuntimeError(f"llama_decode returned {error}")
    shape = (len(ids) - 1 - first, llama.n_vocab())
    return np.ctypeslib.as_array(llama_cpp.llama_get_logits(llama.ctx), shape=shape).copy()


def _losses(logits: Any, targets: list[int]) -> list[float]:
    most = logits.max(axis=1)
    sums = np.log(np.exp(logits - most[:, None]).sum(axis=1, dtype=np.float64))
    chosen = logits[np.arange(len(targets)), targets]
    return [float(x) for x in sums + (most - chosen)]


if __name__ == "__main__":
    main()
