"""A beam step alone, without a model: our search and transformers' own functions over the same rows of logits.

    python benches/micro/bench_beam_step.py --beams 4 16 --vocab 49152

Every step's beams and sums are compared, and both are timed in turn, each on rows that were just written, as a forward
leaves them. Where rounding decides between two beams, both searches begin anew, and the step is counted as a near-tie.
The last column is what two passes over the rows take, a maximum and a sum of exponentials (NumPy, pieces that stay in
the cache).
"""

from __future__ import annotations

import argparse
import statistics
from time import perf_counter

import numpy as np
import torch
from transformers.generation.stopping_criteria import EosTokenCriteria, MaxLengthCriteria, StoppingCriteriaList
from transformers.generation.utils import GenerationMixin

import draftwood as dw
from draftwood.beams import PromptSearch

END, PIECE = 2, 4096


class Theirs:
    """The part of `_beam_search` between two forwards, in its order; the first row is shared by all beams."""

    def __init__(self, beams: int, tokens: int) -> None:
        self.functions, self.beams, self.length = GenerationMixin(), beams, 1
        self.stops = StoppingCriteriaList([MaxLengthCriteria(1 + tokens), EosTokenCriteria(END)])
        self.running = torch.full((1, beams, 1 + tokens), END - 1)
        self.sequences = self.running.clone()
        self.running_indices = torch.full((1, beams, tokens), -1, dtype=torch.int32)
        self.indices = self.running_indices.clone()
        self.running_scores = torch.zeros(1, beams)
        self.running_scores[:, 1:] = -1e9
        self.scores = torch.full((1, beams), -1e9)
        self.finished = torch.zeros(1, beams, dtype=torch.bool)
        self.heuristic = torch.ones(1, 1, dtype=torch.bool)
        self.top_mask = torch.cat((torch.ones(beams, dtype=torch.bool), torch.zeros(beams, dtype=torch.bool)))
        self.most = 1 + tokens

    def step(self, logits: torch.Tensor) -> None:
        """Log-probabilities, sums, candidates, ends, the beams that go on."""
        f, beams = self.functions, self.beams
        log_probs = torch.nn.functional.log_softmax(logits.to(copy=True, dtype=torch.float32), dim=-1)
        sums = (f._unflatten_beam_dim(log_probs, 1, beams) + self.running_scores[:, :, None]).reshape(1, -1)
        top, sequences, indices = f._get_top_k_continuations(
            accumulated_log_probs=sums,
            running_sequences=self.running,
            running_beam_indices=self.running_indices,
            cur_len=self.length,
            decoder_prompt_len=1,
            do_sample=False,
            beams_to_keep=2 * beams,
            num_beams=beams,
            batch_size=1,
        )
        ends = self.stops(f._flatten_beam_dim(sequences[:, :, : self.length + 1]), None)
        ends = f._unflatten_beam_dim(ends, 1, 2 * beams)
        self.running, self.running_scores, self.running_indices = f._get_running_beams_for_next_iteration(
            topk_log_probs=top,
            topk_running_sequences=sequences,
            topk_running_beam_indices=indices,
            next_token_hits_stopping_criteria=ends,
            num_beams=beams,
        )
        self.sequences, self.scores, self.indices, self.finished = f._update_finished_beams(
            sequences=self.sequences,
            topk_running_sequences=sequences,
            beam_scores=self.scores,
            topk_log_probs=top,
            beam_indices=self.indices,
            topk_running_beam_indices=indices,
            is_early_stop_heuristic_unsatisfied=self.heuristic,
            is_sent_finished=self.finished,
            next_token_hits_stopping_criteria=ends,
            top_num_beam_mask=self.top_mask,
            num_beams=beams,
            cur_len=self.length,
            decoder_prompt_len=1,
            length_penalty=1.0,
            early_stopping=False,
        )
        self.length += 1
        self.heuristic = f._check_early_stop_heuristic(
            is_early_stop_heuristic_unsatisfied=self.heuristic,
            running_beam_scores=self.running_scores,
            beam_scores=self.scores,
            is_sent_finished=self.finished,
            cur_len=self.length,
            max_length=self.most,
            decoder_prompt_len=1,
            early_stopping=False,
            length_penalty=1.0,
        )


def ours_of(beams, tokens):
    """Our search of one prompt of one token."""
    params = dw.BeamParams(num_beams=beams, max_new_tokens=tokens)
    return PromptSearch(np.array([END - 1], np.int32), params, [END])


def two_passes(rows, scratch):
    """log Σ exp of each row."""
    found = []
    for row in rows:
        most, total = row.max(), 0.0
        for start in range(0, len(row), PIECE):
            part = scratch[: min(PIECE, len(row) - start)]
            np.subtract(row[start : start + PIECE], most, out=part)
            np.exp(part, out=part)
            total += float(part.sum())
        found.append(float(most) + np.log(total))
    return found


def run(beams, vocab, tokens):
    """Median microseconds of a step (ours, theirs, two passes), and how many steps were near-ties."""
    logits = np.random.default_rng(0).normal(0.0, 3.0, (tokens, beams, vocab)).astype(np.float32)
    scratch, order = np.empty(PIECE, np.float32), range(beams)
    times = {"draftwood": [], "transformers": [], "two passes": []}
    near_ties, is_first = 0, True
    written = np.empty((beams, vocab), np.float32)
    as_torch = torch.from_numpy(written)
    for rows in logits:
        if is_first:
            ours, theirs = ours_of(beams, tokens + 1), Theirs(beams, tokens + 1)
        # The first step has the prompt's row alone.
        fed, its = (rows[:1], range(1)) if is_first else (rows, order)
        given = np.repeat(rows[:1], beams, axis=0) if is_first else rows
        np.copyto(written, given)
        begin = perf_counter()
        theirs.step(as_torch)
        middle = perf_counter()
        np.copyto(written, given)
        begin_ours = perf_counter()
        survivors = ours.step(written[: len(fed)], its, "logits")
        end = perf_counter()
        assert np.allclose([score for *_, score in survivors], theirs.running_scores[0].numpy(), rtol=1e-6, atol=1e-4)
        is_tied = [token for _, token, _ in survivors] != theirs.running[0, :, theirs.length - 1].tolist()
        near_ties += is_tied
        np.copyto(written, given)
        begin_passes = perf_counter()
        two_passes(written[: len(fed)], scratch)
        if not is_first:
            times["draftwood"].append(end - begin_ours)
            times["transformers"].append(middle - begin)
            times["two passes"].append(perf_counter() - begin_passes)
        is_first = is_tied
    return {name: statistics.median(some) * 1e6 for name, some in times.items()}, near_ties


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--beams", nargs="+", type=int, default=[4, 16, 64])
    parser.add_argument("--vocab", type=int, default=49152)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"V = {args.vocab}, {dw.runtime.backend()['cpu']}, {args.threads} threads for transformers; µs per step")
    for beams in args.beams:
        found, ties = run(beams, args.vocab, args.tokens)
        line = ", ".join(f"{name} {value:.0f}" for name, value in found.items())
        over, passes = found["transformers"] / found["draftwood"], found["draftwood"] / found["two passes"]
        theirs = f"transformers takes {over:.1f}×"
        print(f"{beams:3} beams: {line}; {theirs}, ours {passes:.2f} of two passes; {ties} near-ties")


if __name__ == "__main__":
    main()
