"""A slow, obvious beam search, and transformers' own, in one shape: [(tokens, score, beam_indices)], best first."""

from __future__ import annotations

from itertools import pairwise

import numpy as np


def log_softmax(logits):
    """f64 inside, f32 outside."""
    logits = np.asarray(logits, np.float64)
    return (logits - np.logaddexp.reduce(logits)).astype(np.float32)


class SlowBeams:
    """Makes and sorts every continuation of every beam. `row(tokens)` gives the log-probs [V] after generated tokens.

    `margin` is the smallest difference of scores that decided anything: below the error of the rows, two correct
    searches may differ.
    """

    def __init__(self, row, params, ends):
        self.row, self.params, self.ends = row, params, ends
        self.margin = np.inf

    def run(self):
        p, width = self.params, self.params.num_beams
        live, pool = [((), np.float32(0), ())], []
        for length in range(1, p.max_new_tokens + 1):
            last = length == p.max_new_tokens
            found = []
            for beam, (tokens, total, rows) in enumerate(live):
                row = np.array(self.row(list(tokens)), np.float32)
                if length <= p.min_new_tokens:
                    row[list(self.ends)] = -np.inf
                # Only what can be among the first B of those that end or of those that go on.
                for token in np.argsort(-row, kind="stable")[: width + len(self.ends) + 1]:
                    if row[token] > -np.inf:
                        found.append(((*tokens, int(token)), np.float32(total + row[token]), (*rows, beam)))
            found.sort(key=lambda one: (-one[1], one[2][-1], one[0][-1]))
            self._near([float(one[1]) for one in found[: (1 + len(self.ends)) * width + 1]])
            before = live
            live = []
            for rank, one in enumerate(found):
                if (one[0][-1] in self.ends or last) and rank < width:
                    pool.append((one[0], float(one[1] / np.float32(length**p.length_penalty)), one[2]))
                elif one[0][-1] not in self.ends and not last and len(live) < width:
                    live.append(one)
            pool.sort(key=lambda one: -one[1])
            self._near([one[1] for one in pool[: width + 1]])
            pool = pool[:width]
            if not live:
                if not pool:
                    tokens, total, rows = before[0]
                    pool = [(tokens, float(total) / max(1, length - 1) ** p.length_penalty, rows)]
                break
            if len(pool) == width:
                reach = p.max_new_tokens if p.early_stopping == "never" and p.length_penalty > 0 else length
                best = float(live[0][1]) / reach**p.length_penalty
                self._near([best, pool[-1][1]])
                if p.early_stopping is True or best <= pool[-1][1]:
                    break
        return pool[: p.num_return]

    def _near(self, scores):
        for a, b in pairwise(scores):
            self.margin = min(self.margin, abs(a - b))


def shape(beams):
    """Ours in the common shape."""
    return [(tuple(h.token_ids.tolist()), h.score, tuple(h.beam_indices.tolist())) for h in beams]


def assert_close(ours, reference, tolerance=1e-4):
    """The same texts and beams in the same order, scores within `tolerance`."""
    assert [(t, b) for t, _, b in ours] == [(t, b) for t, _, b in reference]
    for (_, a, _), (_, b, _) in zip(ours, reference, strict=True):
        assert abs(a - b) <= tolerance, (a, b)


def transformers_beams(module, ids, params, ends, **more):
    """What `generate` says; also with one beam, which it would otherwise treat as greedy."""
    from unittest.mock import patch

    import torch
    from transformers import GenerationConfig
    from transformers.generation import GenerationMode

    prompt = torch.tensor([list(map(int, ids))])
    mode = GenerationMode.BEAM_SEARCH
    with torch.inference_mode(), patch.object(GenerationConfig, "get_generation_mode", lambda *_, **__: mode):
        out = module.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=False,
            num_beams=params.num_beams,
            num_return_sequences=params.num_return,
            max_new_tokens=params.max_new_tokens,
            min_new_tokens=params.min_new_tokens or None,
            length_penalty=params.length_penalty,
            early_stopping=params.early_stopping,
            no_repeat_ngram_size=params.no_repeat_ngram_size,
            repetition_penalty=params.repetition_penalty,
            eos_token_id=list(ends) or None,
            pad_token_id=0,
            output_scores=True,
            return_dict_in_generate=True,
            **more,
        )
    begin = len(ids)
    if module.config.is_encoder_decoder:
        begin = len(more["decoder_input_ids"][0]) if "decoder_input_ids" in more else 1
    found = []
    for sequence, score, beams in zip(out.sequences, out.sequences_scores, out.beam_indices, strict=True):
        length = int((beams >= 0).sum())
        if score > -1e8:  # fewer were found
            found.append((tuple(sequence[begin:][:length].tolist()), float(score), tuple(beams[:length].tolist())))
    return found
