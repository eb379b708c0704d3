"""A slow search over small vocabularies with groups, phrases, tries and scorers: all continuations are sorted."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

import draftwood as dw

F = np.float32


def random_model(rng, vocab, prefix=()):
    """Rows hashed from the text, peaked enough to differ: `row(tokens)` → log-probs [V] f32."""
    seed = int(rng.integers(1 << 30))
    table = {}

    def row(tokens):
        key = tuple(tokens)
        if key not in table:
            logits = np.random.default_rng([seed, len(key), *key]).standard_normal(vocab) * 2
            table[key] = (logits - np.logaddexp.reduce(logits)).astype(F)
        return table[key].copy()

    return row


def stepper(row):
    """The model as a step function of `dw.search`: the state is the texts."""

    def step(tokens, texts):
        texts = [[*text, int(token)] for text, token in zip(texts, tokens, strict=True)]
        return np.stack([row(text[1:]) for text in texts]), Texts(texts)

    return step


class Texts(list):
    def select(self, rows):
        return Texts([list(self[row]) for row in rows])


START = Texts([[]])


def penalties(kind, text, earlier, vocab, embedding=None):
    """What each token pays after `text` for the texts that earlier groups chose in this step, one longer; f64 [V]."""
    pay = np.zeros(vocab)
    if not earlier:
        return pay
    for token in range(vocab):
        new = (*text, token)
        if kind == "hamming":
            pay[token] = sum(other[-1] == token for other in earlier)
        elif kind == "cumulative":
            mismatch = [sum(a != b for a, b in zip(new, other, strict=True)) / len(new) for other in earlier]
            pay[token] = np.exp(-np.mean(mismatch))
        elif kind == "ngram":
            gram = new[-2:]
            grams = [other[i : i + len(gram)] for other in earlier for i in range(len(other) - len(gram) + 1)]
            pay[token] = sum(one == gram for one in grams)
        else:
            unit = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
            pay[token] = sum(unit[token] @ unit[other[-1]] for other in earlier)
    return pay


class Free:
    """No rule."""

    def allowed(self, tokens, token):
        return True

    def done(self, tokens):
        return True

    def ends(self, tokens):
        return False

    def progress(self, tokens):
        return 0

    def advances(self, tokens):
        return []


class SlowTrie(Free):
    def __init__(self, sequences):
        self.sequences = [tuple(s) for s in sequences]

    def allowed(self, tokens, token):
        new = (*tokens, token)
        return any(s[: len(new)] == new for s in self.sequences)

    def ends(self, tokens):
        return tuple(tokens) in self.sequences


class SlowPhrases(Free):
    """`entries`: lists of alternatives."""

    def __init__(self, entries, ordered):
        self.entries, self.ordered = entries, ordered

    def _held(self, tokens):
        """Which entries are complete, and where the text begins that the next one may use."""
        held, start = [], 0
        for entry in self.entries:
            if self.ordered and False in held:
                held.append(False)
                continue
            begin = start if self.ordered else 0
            ends = [
                i + len(p)
                for p in entry
                for i in range(begin, len(tokens) - len(p) + 1)
                if list(tokens[i : i + len(p)]) == list(p)
            ]
            held.append(bool(ends))
            if self.ordered and ends:
                start = min(ends)
        return held, start

    def _matched(self, tokens, phrase):
        return max(
            n for n in range(len(phrase)) if n == 0 or (list(tokens[-n:]) == list(phrase[:n]) and n <= len(tokens))
        )

    def _pending(self, tokens):
        held, start = self._held(tokens)
        pending = [entry for entry, one in zip(self.entries, held, strict=True) if not one]
        return pending[: 1 if self.ordered else None], tokens[start:]

    def done(self, tokens):
        return all(self._held(tokens)[0])

    def progress(self, tokens):
        held, _ = self._held(tokens)
        complete = sum(max(map(len, e)) for e, one in zip(self.entries, held, strict=True) if one)
        pending, rest = self._pending(tokens)
        return complete + max([self._matched(rest, p) for entry in pending for p in entry], default=0)

    def advances(self, tokens):
        pending, rest = self._pending(tokens)
        return [p[self._matched(rest, p)] for entry in pending for p in entry]


def search(row, params, ends, vocab, rule=None, scorer=None, stops=lambda tokens: False, old=False):
    """[(tokens, score, raw score, group)], group by group, best first; and the smallest margin that decided.

    `old`: as transformers 4.49, where ours differs. Its stop test looks at the best candidate even if that has ended,
    and a group whose hypotheses suffice in the last step does not take the texts that are alive.
    """
    rule = rule or Free()
    groups = params.num_beam_groups
    width = params.num_beams // groups
    live = [[((), F(0), F(0))] for _ in range(groups)]
    pools = [[] for _ in range(groups)]
    over = [False] * groups
    margin = np.inf

    def near(scores):
        nonlocal margin
        for a, b in itertools.pairwise(scores):
            if np.isfinite(a) and np.isfinite(b):
                margin = min(margin, abs(float(a) - float(b)))

    def ranked(pool):
        pool = sorted(pool, key=lambda one: -one[1])
        near([one[1] for one in pool])
        return pool[:width]

    def closes(pool, best, length):
        if len(pool) < width:
            return False
        reach = params.max_new_tokens if params.early_stopping == "never" and params.length_penalty > 0 else length
        best = float(best) / reach**params.length_penalty
        worst = min(one[1] for one in pool)
        near([best, worst])
        return params.early_stopping is True or best <= worst

    for length in range(1, params.max_new_tokens + 1):
        last = length == params.max_new_tokens
        power = length**params.length_penalty
        earlier = []
        for g in range(groups):
            if over[g]:
                continue
            found = []
            for beam, (tokens, total, raw) in enumerate(live[g]):
                law = row(tokens)
                for token in range(vocab):
                    is_end = token in ends
                    if is_end:
                        fine = rule.done(tokens) and (rule.ends(tokens) or rule.allowed(tokens, token))
                        fine = fine and length > params.min_new_tokens
                    else:
                        fine = rule.allowed(tokens, token)
                    if not fine:
                        law[token] = -np.inf
                paid = law
                if groups > 1:
                    pay = penalties(params.diversity, tokens, earlier, vocab, params.diversity_embedding)
                    paid = law + (-params.diversity_penalty * pay).astype(F)
                halts = {t for t in range(vocab) if t in ends or stops((*tokens, t))}
                order = [t for t in np.argsort(-paid, kind="stable").tolist() if paid[t] > -np.inf]
                going = [t for t in order if t not in halts]
                top = params.scorer_top_k or params.num_beams
                chosen = going[: top if scorer else width]
                chosen += [t for t in dict.fromkeys(rule.advances(tokens)) if t in going and t not in chosen]
                chosen += [t for t in order if t in halts]
                for token in chosen:
                    new = (*tokens, token)
                    score = F(total + paid[token])
                    rank = F(score + F(params.scorer_weight * scorer.log_prob([list(new)])[0])) if scorer else score
                    if rank > -np.inf:
                        found.append((new, score, F(raw + law[token]), rank, beam, token in halts))
            found.sort(key=lambda one: (-one[3], one[4], one[0][-1]))
            near([one[3] for one in found])
            classes = sorted({rule.progress(one[0]) for one in found}, reverse=True)
            banks = [[one for one in found if rule.progress(one[0]) == c] for c in classes]
            found = [one for turn in itertools.zip_longest(*banks) for one in turn if one is not None]
            before, live[g] = live[g], []
            longest, count, unfinished = None, 0, []
            for rank, (new, score, raw, _, _, is_end) in enumerate(found):
                if last and not is_end and count < width:
                    count += 1
                    earlier.append(new)
                if (is_end or last) and rank < width:
                    if not is_end:
                        longest = longest or (new, score, raw)
                    if rule.done(new) and (scorer is None or scorer.accepts(list(new))):
                        pool = unfinished if old and not is_end else pools[g]
                        pool.append((new, float(score / F(power)), float(raw / F(power)), g))
                elif not is_end and not last and len(live[g]) < width:
                    live[g].append((new, score, raw))
                    earlier.append(new)
            best = max((one[1] for one in found), default=-np.inf)
            pools[g] = ranked(pools[g])
            if unfinished and not closes(pools[g], best, length):
                pools[g] = ranked(pools[g] + unfinished)
            if not live[g]:
                over[g] = True
                if not pools[g]:
                    new, score, raw = longest or max(before, key=lambda one: one[1])
                    power = F(max(1, len(new)) ** params.length_penalty)
                    pools[g] = [(new, float(score / power), float(raw / power), g)]
            elif closes(pools[g], best if old else max(one[1] for one in live[g]), length):
                over[g] = True
                live[g] = []
    each = params.num_return // groups
    return [one for pool in pools for one in pool[:each]], margin


def complete_texts(row, ends, vocab, limit, rule=None, min_new=0):
    """Every text that can be finished: (tokens, log p f64)."""
    rule = rule or Free()
    texts, open_ = [], [((), 0.0)]
    for length in range(1, limit + 1):
        longer = []
        for tokens, total in open_:
            law = row(tokens).astype(np.float64)
            for token in range(vocab):
                new = ((*tokens, token), total + law[token])
                if token in ends:
                    allowed = rule.ends(tokens) or rule.allowed(tokens, token)
                    if rule.done(tokens) and allowed and length > min_new:
                        texts.append(new)
                elif rule.allowed(tokens, token):
                    longer.append(new)
        open_ = longer
    return texts + [one for one in open_ if rule.done(one[0])]


CASES = [pytest.param(0, 120, id="short"), pytest.param(1000, 1100, id="long", marks=pytest.mark.long)]


def draw(rng, vocab, groups=1, width=None):
    width = int(rng.integers(1, 5)) if width is None else width
    limit = int(rng.integers(2, 7))
    returned = int(rng.integers(1, width + 1))
    return dw.BeamParams(
        num_beams=width * groups,
        num_return=returned * groups,
        num_beam_groups=groups,
        max_new_tokens=limit,
        min_new_tokens=int(rng.integers(0, 2)),
        length_penalty=float(rng.choice([0.0, 1.0, 0.5])),
        early_stopping=[True, False, "never"][rng.integers(3)],
        bos_token_id=0,
        eos_token_id=[int(t) for t in rng.choice(vocab, rng.integers(1, 3), replace=False)],
    )


def same(found, reference, margin):
    """Equal, unless rounding may have decided."""
    if margin < 1e-5:
        return False
    ours = [(tuple(h.token_ids.tolist()), h.group) for h in found]
    assert ours == [(tokens, group) for tokens, _, _, group in reference]
    for h, (_, score, raw, _) in zip(found, reference, strict=True):
        assert abs(h.score - score) < 1e-4
        assert abs(h.raw_score - raw) < 1e-4
    return True


def plain(row, params):
    return dw.search.beam(stepper(row), START, dataclasses.replace(params, processors=(), scorer=None))


def texts(found):
    return [tuple(h.token_ids.tolist()) for h in found]
