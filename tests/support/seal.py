"""SEAL written from its formulas with NumPy: masks over the vocabulary, scans over the documents."""

from __future__ import annotations

import numpy as np
import pytest


def count(documents, ids, anchored=False):
    n = len(ids)
    if anchored:
        return sum(text[:n] == list(ids) for text in documents)
    return sum(text[i : i + n] == list(ids) for text in documents for i in range(len(text) - n + 1))


def log_softmax(row):
    row = np.asarray(row, np.float64)
    top = row.max()
    return row - top - np.log(np.exp(row - top).sum())


def search(
    documents, row_after, *, beam, length, anchored=False, title_end=(), partial=False, stop_at_count=0, unreached=()
):
    """Every candidate of every step, {ids: log-probability}; for titles, those that are whole, or `partial` ones too.
    N-grams that occur `stop_at_count` times or more rarely are not continued. `unreached` is a document whose start
    cannot be reached: nothing stands before the last one, read backwards (the paper's code)."""

    def times(ids):
        return count(documents, ids, anchored) - (bool(unreached) and list(unreached[: len(ids)]) == list(ids))

    live, found = [((), 0.0)], {}
    for _ in range(length):
        candidates = []
        for ids, score in live:
            scores = score + log_softmax(row_after(list(ids)))
            allowed = [token for token in range(len(scores)) if times((*ids, token))]
            candidates += [((*ids, token), scores[token]) for token in allowed]
        candidates.sort(key=lambda one: -one[1])
        candidates = candidates[: 2 * beam]
        n = len(title_end)
        whole = [bool(n) and len(ids) > n and ids[-n:] == tuple(title_end) for ids, _ in candidates]
        found |= {
            ids: score for (ids, score), done in zip(candidates, whole, strict=True) if done or partial or not title_end
        }
        goes_on = [not done and times(ids) > stop_at_count for (ids, _), done in zip(candidates, whole, strict=True)]
        live = [one for one, does in zip(candidates, goes_on, strict=True) if does][:beam]
    return found


def odds(log_p, times, tokens, smoothing):
    p, prior = np.exp(log_p - 1e-10), (times + smoothing) / (tokens + smoothing)
    return max(0.0, np.log(p * (1 - prior) / (prior * (1 - p))))


def rank(documents, keys, unigrams, p, *, special=(), compat=False):
    """Scores of all documents that a key finds. keys {(anchored, ids): log-probability}, p: the `SealParams`; special:
    tokens that are no text, which never count alone; compat: as the paper's code has it."""
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
            if times := 0 if token in special else count(documents, (token,)):
                singles[token] = odds(unigrams[token], times, tokens, p.smoothing)
    singles = {token: weight for token, weight in singles.items() if not any(ids == (token,) for _, ids in keys)}
    if p.add_best_unigrams_to_ngrams:
        best = sorted((token for token in singles if singles[token] > 0), key=lambda token: (-singles[token], token))
        weights |= {(False, (token,)): singles.pop(token) for token in best[: len(keys)]}
    if p.skip_frequent_keys is not None and not compat:  # the paper's code does not pass it on
        most = p.skip_frequent_keys
        weights = {key: weight for key, weight in weights.items() if count(documents, key[1], key[0]) <= most}
    order = sorted((key for key in weights if weights[key] > 0), key=lambda key: -weights[key])
    first = {d: _score(text, documents, order, weights, {}, p, False, compat) for d, text in enumerate(documents)}
    kept = sorted((d for d in first if first[d] is not None), key=lambda d: (-first[d], d))[: p.fully_score]
    return {d: _score(documents[d], documents, order, weights, singles, p, True, compat) for d in kept}


def _score(text, documents, order, weights, singles, p, full, compat):
    # What the paper's code takes for an n-gram's places when it looks for documents lies behind them, even outside.
    covered, used, total, best = [False] * 3 * len(text), set(), 0.0, None
    for anchored, ids in order:
        if not full and count(documents, ids, anchored) > p.max_hits:
            continue
        n, weight, added = len(ids), weights[anchored, ids], False
        for at in range(1 if anchored else len(text) - n + 1):
            if text[at : at + n] != list(ids):
                continue
            best = weight if best is None else max(best, weight)
            places = slice(at + n, at + 2 * n) if compat and not full else slice(at, at + n)
            overlaps = any(covered[places]) and (full or not p.allow_overlaps)
            if overlaps or (added and not full):
                continue
            covered[places] = [True] * n
            if not added:
                total += weight * (1 - p.beta + p.beta * len(set(ids) - used) / len(set(ids)))
                used |= set(ids)
                added = True
    if best is None:
        return None
    if full:
        for token in {token for token, is_covered in zip(text, covered, strict=False) if not is_covered}:
            total += singles.get(token, 0.0) * (1 - p.beta * (token in used))
    return (1 - p.single_key) * total + p.single_key * best


def check(documents, expected, first, params, keys, found):
    """What `Seal` says of a query: the expected keys, some of them titles, and the passages that these rank."""
    assert sum(anchored for anchored, _ in expected) >= 2
    assert {(key.is_title, key.token_ids) for key in keys} == set(expected)
    for key in keys:
        assert key.log_prob == pytest.approx(expected[key.is_title, key.token_ids], abs=2e-3)
    its = {(key.is_title, key.token_ids): key.log_prob for key in keys}
    scores = rank(documents, its, first, params)
    assert {passage.document for passage in found} == set(scores)
    for passage in found:
        assert passage.score == pytest.approx(scores[passage.document], rel=1e-3)
