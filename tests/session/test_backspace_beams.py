"""Beams that take tokens back, against a slow search over texts."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

import draftwood as dw
from draftwood.loading import Parts
from draftwood.models.toy import ToyExecutor
from support.beams import log_softmax
from support.hf_tiny import tiny_model

BACK, END = 3, 5


class SlowBacktracking:
    """Every action of every beam, made, sorted and merged by text. Returns [(tokens, score, finish)], best first."""

    def __init__(self, row, params, ends):
        self.row, self.params, self.ends = row, params, ends
        self.merged = self.popped = 0
        self.margin = np.inf

    def run(self):
        p, width = self.params, self.params.num_beams
        live, pool, steps = [((), np.float32(0))], {}, 0
        while True:
            steps += 1
            found = []
            for beam, (text, total) in enumerate(live):
                row = self.row(text)
                for token in range(len(row)):
                    fine = row[token] > -np.inf and not (token == BACK and not text)
                    if fine and not (token in self.ends and len(text) < p.min_new_tokens):
                        after = text[:-1] if token == BACK else (*text, token)
                        found.append((np.float32(total + row[token]), -beam, -token, after))
            found.sort(reverse=True)
            texts, live, rank = set(), [], 0
            before = found
            for i, (total, _, token, text) in enumerate(before):
                if i and rank < 2 * width:
                    self.margin = min(self.margin, float(before[i - 1][0] - total))
                if text in texts:
                    self.merged += rank < width
                    continue
                texts.add(text)
                ends = -token in self.ends
                over = steps == 4 * p.max_new_tokens or (-token != BACK and len(text) == p.max_new_tokens)
                if ends or over:
                    if rank < width:
                        score = float(total) / max(len(text), 1) ** p.length_penalty
                        if text not in pool or score > pool[text][0]:
                            pool[text] = (score, "stop" if ends else "length")
                elif len(live) < width:
                    live.append((text, total))
                    self.popped += -token == BACK
                rank += 1
            best = sorted(((score, text, why) for text, (score, why) in pool.items()), key=lambda one: -one[0])[:width]
            pool = {text: (score, why) for score, text, why in best}
            closed = len(best) == width and all(
                float(total) / max(len(text), 1) ** p.length_penalty <= best[-1][0] for text, total in live
            )
            if not live or closed:
                return [(list(text), score, why) for score, text, why in best[: p.num_return]]


class Flat(ToyExecutor):
    """The toy with flat rows, so that taking back is likely."""

    def __init__(self, seed, heat):
        super().__init__(7, 512, seed, 2.0)
        self.heat = np.float32(heat)

    def forward(self, plan, hidden=()):
        return SimpleNamespace(logits=super().forward(plan, hidden).logits / self.heat)

    def row(self, text):
        return log_softmax(self.reference(np.asarray(text, np.int32)) / self.heat)


def test_beams_equal_a_slow_search_over_texts():
    checked = merged = popped = finished = near = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        world = Flat(seed, float(rng.choice([6.0, 12.0, 30.0])))
        prompt = [int(t) for t in rng.integers(0, 7, int(rng.integers(1, 20)))]
        width = int(rng.integers(1, 6))
        params = dw.BeamParams(
            num_beams=width,
            num_return=width,
            max_new_tokens=int(rng.integers(1, 7)),
            min_new_tokens=int(rng.integers(0, 2)),
            length_penalty=float(rng.choice([0.0, 1.0])),
            backspace_token_id=BACK,
        )
        cache = dw.CacheConfig(page_size=int(rng.choice([1, 2, 16])))
        with dw.Engine(Parts(world, "toy", (END,)), drafter=None, cache=cache) as model:
            beams = model.beam_search(prompt, params)
            stats = model.stats()
        assert (stats.running, stats.pages_free) == (0, stats.pages_total)

        slow = SlowBacktracking(lambda text, world=world, prompt=prompt: world.row([*prompt, *text]), params, (END,))
        expected = slow.run()
        if slow.margin < 1e-5:
            near += 1
            continue
        assert [(h.token_ids.tolist(), h.finish_reason) for h in beams] == [(t, why) for t, _, why in expected], seed
        assert [h.score for h in beams] == pytest.approx([score for _, score, _ in expected], rel=1e-5)
        checked += 1
        merged += slow.merged
        popped += slow.popped
        finished += sum(why == "stop" for _, _, why in expected)
    assert near < 10
    assert checked > 50
    assert merged > 50
    assert popped > 50
    assert finished > 50


@pytest.mark.parametrize("executor", ["native", "transformers"])
def test_scores_of_what_survives_are_those_of_a_fresh_prefill(executor, tmp_path):
    module = tiny_model("llama", 64, seed=3, hidden=64, feed_forward=128, heads=4, kv_heads=2)
    for parameter in module.parameters():
        if parameter.ndim == 2:
            parameter.data.mul_(0.3)
    module.save_pretrained(tmp_path)
    prompt = np.random.default_rng(0).integers(0, 64, 33).tolist()
    params = dw.BeamParams(num_beams=6, num_return=6, max_new_tokens=5, length_penalty=0.0)
    with dw.Engine.load(str(tmp_path), executor=executor, drafter=None) as model:
        # The likeliest tokens of the first steps take back, one after the other.
        common = {int(t) for h in model.beam_search(prompt, params) for t in h.token_ids}
        searches = cut = 0
        for back in sorted(common):
            beams = model.beam_search(prompt, dataclasses.replace(params, backspace_token_id=back))
            searches += 1
            for h in beams:
                assert back not in h.token_ids
                fresh = model.score(prompt, h.token_ids)
                if executor == "native":
                    assert h.step_scores.tobytes() == fresh.tobytes()
                else:
                    assert h.step_scores == pytest.approx(fresh, abs=1e-4)
                # What was taken back has cost something.
                total = float(np.sum(h.step_scores, dtype=np.float64))
                assert h.score <= total + 1e-4
                cut += h.score < total - 1e-3
        assert searches > 3
        assert cut > 0
        stats = model.stats()
        assert (stats.running, stats.pages_free) == (0, stats.pages_total)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"backspace_token_id": 7}, "backspace_token_id must be below the vocabulary size 7, got 7"),
        ({"backspace_token_id": -1}, "backspace_token_id must be 0 …"),
        (
            {"backspace_token_id": END},
            "backspace_token_id must be a token that neither ends texts nor",
        ),
        ({"do_sample": True}, "backspace_token_id with groups, do_sample or keep_candidates must be None, got 3"),
        ({"keep_candidates": True}, "backspace_token_id with groups, do_sample or keep_candidates must be None"),
        ({"num_beam_groups": 2, "num_return": 2}, "backspace_token_id with groups"),
        ({"stochastic": "sequences"}, "backspace_token_id with stochastic must be None"),
        ({"scorer": object()}, "backspace_token_id with scorer must be None"),
        ({"processors": [dw.search.Phrases([[1, 2]])]}, "backspace_token_id with phrases that must occur must be None"),
    ],
)
def test_bad_input(fields, words):
    fields = {"backspace_token_id": BACK} | fields
    engine = dw.Engine(Parts(Flat(0, 6.0), "toy", (END,)), drafter=None)
    with engine as model, pytest.raises(dw.InvalidArgument, match=words):
        model.beam_search([1], dw.BeamParams(**fields))


def test_functional_searches_know_no_way_back():
    params = dw.BeamParams(bos_token_id=0, backspace_token_id=1)
    with pytest.raises(dw.InvalidArgument, match="backspace_token_id must be None: a state knows no way back"):
        dw.search.beam(lambda tokens, state: np.zeros((1, 4), np.float32), None, params)
    with pytest.raises(dw.InvalidArgument, match="backspace_token_id must be left out of an exact search"):
        dw.search.exact(lambda tokens, state: np.zeros((1, 4), np.float32), None, params)
