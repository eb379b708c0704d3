"""Every search works on any step function: here a recurrent model in NumPy, without an engine."""

from __future__ import annotations

import numpy as np

import draftwood as dw

VOCAB, WIDTH, END = 12, 16, 0
rng = np.random.default_rng(7)
EMBED, MIX, HEAD = rng.normal(size=(VOCAB, WIDTH)), rng.normal(size=(WIDTH, WIDTH)) / 4, rng.normal(size=(WIDTH, VOCAB))


def step(tokens: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One token per row: log-probabilities [R, V] and the new state [R, width]."""
    state = np.tanh(EMBED[tokens] + state @ MIX)
    logits = state @ HEAD
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True), state


def main() -> dw.Beams:
    start = np.zeros((1, WIDTH))
    params = dw.BeamParams(num_beams=4, num_return=2, max_new_tokens=6, bos_token_id=1, eos_token_id=END)
    beams = dw.search.beam(step, start, params)
    exact = dw.search.exact(step, start, params)
    for name, found in (("beams", beams), ("exact", exact)):
        print(name, [(h.token_ids.tolist(), round(h.score, 3)) for h in found], f"{found.stats.steps} steps")
    drawn = dw.BeamParams(
        num_beams=4, num_return=4, max_new_tokens=6, bos_token_id=1, eos_token_id=END, stochastic="sequences", seed=1
    )
    for text in dw.search.beam(step, start, drawn):
        print(f"drawn {text.token_ids.tolist()}, weight {np.exp(text.log_weight):.4f}")
    return exact


if __name__ == "__main__":
    main()
