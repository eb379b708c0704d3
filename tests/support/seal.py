"""SEAL written from its formulas with NumPy: masks over the vocabulary, scans over the documents."""

from __future__ import annotations

import numpy as np


def count(documents, ids, anchored=False):
    n = len(ids)
    if anchored:
        return sum(text[:n] == list(ids) for text in documents)
    return sum(text[i : i + n] == list(ids) for text in documents for i in range(len(text) - n + 1))


def log_softmax(row):
    row = np.asarray(row, np.float64)
    top = row.max()
    return row - top - np.log(np.exp(row - top).sum())


def search(documents, row_after, *, beam, length, anchored=False, title_end=()):
    """Every candidate of every step, {ids: log-probability}; for titles, those that are whole."""
    live, found = [((), 0.0)], {}
    for _ in range(length):
        candidates = []
        for ids, score in live:
            scores = score + log_softmax(row_after(list(ids)))
            allowed = [token for token in range(len(scores)) if count(documents, (*ids, token), anchored)]
            candidates += [((*ids, token), scores[token]) for token in allowed]
        candidates.sort(key=lambda one: -one[1])
        candidates = candidates[: 2 * beam]
        n = len(title_end)
        whole = [bool(n) and len(ids) > n and ids[-n:] == tuple(title_end) for ids, _ in candidates]
        found |= {ids: score for (ids, score), done in zip(candidates, whole, strict=True) if done or not title_end}
        live = [one for one, done in zip(candidates, whole, strict=True) if not done][:beam]
    return found


def odds(log_p, times, tokens, smoothing):
    p, prior = np.exp(log_p - 1e-10), (times + smoothing) / (tokens + smoothing)
    return max(0.0, np.log(p * (1 - prior) / (prior * (1 - p))))


def rank(documents, keys, unigrams, p):
    """Scores of all documents that a key finds. keys {(anchored, ids): log-probability}, p: the `SealParams`."""
    tokens = sum(map(len, documents))
    least = min(keys.values())
    weights = {}
    for (anchored, ids), log_p in keys.items():
        penalty = (1 - p.length_penalty) ** (len(ids) - 1)
        if p.use_fm_index_frequency:
            weight = odds(log_p * penalty, count(documents, ids, anchored), tokens, p.smoothing)
        else:
            weight = max(0.0, log_p - least + 0.1) * penalty
        weights[anchored, ids] = weight**p.score_exponent
    singles = {}
    if unigrams is not None:
        for token in sorted(range(len(unigrams)), key=lambda token: (-unigrams[token], token))[: p.use_top_k_unigrams]:
            if not any(ids == (token,) for _, ids in keys):
                singles[token] = odds(unigrams[token], count(documents, (token,)), tokens, p.smoothing)
    if p.add_best_unigrams_to_ngrams:
        best = sorted((token for token in singles if singles[token] > 0), key=lambda token: (-singles[token], token))
        weights |= {(False, (token,)): singles[token] for token in best[: len(keys)]}
    order = sorted((key for key in weights if weights[key] > 0), key=lambda key: -weights[key])
    first = {d: _score(text, documents, order, weights, {}, p, False) for d, text in enumerate(documents)}
    kept = sorted((d for d in first if first[d] is not None), key=lambda d: (-first[d], d))[: p.fully_score]
    return {d: _score(documents[d], documents, order, weights, singles, p, True) for d in kept}


def _score(text, documents, order, weights, singles, p, full):
    covered, used, total, best = [False] * len(text), set(), 0.0, None
    for anchored, ids in order:
        if not full and count(documents, ids, anchored) > p.max_hits:
            continue
        n, weight, added = len(ids), weights[anchored, ids], False
        for at in range(1 if anchored else len(text) - n + 1):
            if text[at : at + n] != list(ids):
                continue
            best = weight if best is None else max(best, weight)
            if any(covered[at : at + n]) or (added and not full):
                continue
            covered[at : at + n] = [True] * n
            if not added:
                total += weight * (1 - p.beta + p.beta * len(set(ids) - used) / len(set(ids)))
                used |= set(ids)
                added = True
    if best is None:
        return None
    if full:
        for token in {token for token, is_covered in zip(text, covered, strict=True) if not is_covered}:
            total += singles.get(token, 0.0) * (1 - p.beta * (token in used))
    return (1 - p.single_key) * total + p.single_key * best
