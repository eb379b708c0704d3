"""Superposed decoding from the paper's formulas: no cache, every row from a full run of the module over vectors, counts
from dictionaries."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch


class Ngrams:
    """Counts of all n-grams of a corpus."""

    def __init__(self, documents, longest=6):
        self.counts = Counter(
            tuple(text[i : i + n])
            for text in documents
            for n in range(1, longest + 1)
            for i in range(len(text) - n + 1)
        )

    def share(self, text, token, weights):
        """Σ w_n · count(context, token) / count(context)."""
        total = 0.0
        for order, weight in enumerate(weights, start=2):
            context = tuple(text[len(text) - order + 1 :])
            if len(context) == order - 1 and self.counts[context]:
                total += weight * self.counts[(*context, token)] / self.counts[context]
        return total


def drafts(module, prompt, *, k, length, m, tau, alpha=0.0, weights=(), ngrams=None, ends=()):
    """[(tokens, score, finished)], best first; the rows after those of the prompt; the smallest margin of a choice."""
    table = module.get_input_embeddings().weight.detach()
    rows = table[torch.tensor(prompt)]
    live, finished, margin = [((), 0.0)], [], np.inf
    while len(rows) < len(prompt) + length:
        with torch.inference_mode():
            logits = module(inputs_embeds=rows[None], use_cache=False).logits[0, -1].double().numpy()
        top = np.argsort(-logits, kind="stable")[:m].tolist()
        scaled = logits[top] / tau
        log_p = dict(zip(top, scaled - scaled.max() - np.log(np.exp(scaled - scaled.max()).sum()), strict=True))
        candidates = []
        for ids, score in live:
            q = {token: ngrams.share([*prompt, *ids], token, weights) if alpha else 0.0 for token in top}
            for token in top:
                added = log_p[token]
                if alpha:
                    with np.errstate(divide="ignore"):
                        added = (1 - alpha) * added + (alpha * np.log(q[token]) if any(q.values()) else -200.0)
                if added > -np.inf:
                    candidates.append(((*ids, token), score + added))
        candidates.sort(key=lambda one: -one[1])
        margin = min([margin, *-np.diff([score for _, score in candidates[: 2 * k + 1]])])
        finished += [one for one in candidates[:k] if one[0][-1] in ends]
        live = [one for one in candidates if one[0][-1] not in ends][:k]
        if len(finished) >= k:
            live = []
        if not live or len(rows) + 1 == len(prompt) + length:
            break
        scores = np.array([score for _, score in live])
        gamma = np.exp(scores - scores.max())
        gamma /= gamma.sum()
        mixed = sum(float(g) * table[ids[-1]] for g, (ids, _) in zip(gamma, live, strict=True))
        rows = torch.cat([rows, mixed[None]])
    found = [(ids, score, True) for ids, score in finished] + [(ids, score, False) for ids, score in live]
    found.sort(key=lambda one: -one[1])
    return found[:k], len(rows) - len(prompt), margin
