"""Speculative beams beside plain ones: the same texts, scores and candidates, bit for bit, in fewer forwards."""

from __future__ import annotations

import numpy as np
import pytest

import draftwood as dw
from draftwood.loading import Parts
from draftwood.models.toy import ToyExecutor
from support.idle import idle
from support.same_beams import assert_same, saved
from support.tiny_gguf import tiny_file

SIZES = {"vocab_size": 48, "context_weight": 0.3}
TOKENS = ["<unk>", "<s>", "</s>", *(f"▁w{i}" for i in range(253))]


def toy(executor=None, drafter="auto", policy="always", **more):
    executor = ToyExecutor(max_context=2048, **SIZES) if executor is None else executor
    return dw.Engine(Parts(executor, "toy", (3,)), drafter=drafter, draft_policy=policy, **more)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A native model of random weights that are large, so that its rows are not flat, and that often repeats itself."""
    path = str(tiny_file(tmp_path_factory.mktemp("tiny") / "tiny.gguf", TOKENS))

    def load(drafter="auto"):
        cache = dw.CacheConfig(bytes=1 << 24)
        settings = {"executor": "native", "dtype": "float32", "draft_policy": "always", "cache": cache}
        return dw.Engine.load(path, drafter=drafter, **settings)

    with load() as ours, load(None) as plain:
        yield ours, plain


def draw(rng, vocab, ends, **more):
    """Parameters of any search that may speculate."""
    kind = rng.choice(["plain", "plain", "sample", "groups"])
    groups = int(rng.integers(2, 4)) if kind == "groups" else 1
    beams = groups * int(rng.integers(1, 4)) if kind == "groups" else int(rng.integers(1, 9))
    limit = int(rng.integers(1, 40))
    fields = {
        "num_beams": beams,
        "num_return": beams,
        "max_new_tokens": limit,
        "min_new_tokens": int(rng.integers(0, min(limit, 6) + 1)),
        "length_penalty": float(rng.choice([-1.0, 0.0, 1.0, 2.0])),
        "early_stopping": [True, False, "never"][rng.integers(3)],
        "eos_token_id": [int(t) for t in rng.integers(0, vocab, rng.integers(1, ends + 1))],
        "keep_candidates": bool(rng.random() < 0.2),
        "keep_lattice": bool(rng.random() < 0.5),
        "no_repeat_ngram_size": int(rng.choice([0, 0, 0, 3])),
        "repetition_penalty": float(rng.choice([1.0, 1.0, 1.2])),
    }
    if kind == "sample":
        fields |= {"do_sample": True, "temperature": 0.7, "top_k": 12, "seed": int(rng.integers(1000))}
    if kind == "groups":
        fields |= {"num_beam_groups": groups, "diversity_penalty": float(rng.choice([0.0, 0.5]))}
    if rng.random() < 0.2:
        phrase = [int(t) for t in rng.integers(0, vocab, 2)]
        texts = [(phrase[0] + 7 * i * np.arange(1, 9)) % vocab for i in range(12)]
        rules = dw.search.Phrases([phrase]), dw.search.BlockNgrams({(phrase[0],)}, 1), dw.search.Trie(texts)
        fields["processors"] = [rules[rng.integers(3)]]
    return dw.BeamParams(**fields, **more)


def test_random_searches_of_a_native_model(tiny):
    ours, plain = tiny
    rng = np.random.default_rng(7)
    gain, reasons = [0, 0], []
    for round in range(200):
        stop = [f"w{rng.integers(253)}", f"w{rng.integers(253)} w"] if rng.random() < 0.3 else []
        params = draw(rng, 256, 40, stop=stop)
        prompts = [rng.integers(3, 256, int(rng.integers(1, 20))).tolist() for _ in range(1 + round % 3)]
        both = ours.beam_search(prompts, params), plain.beam_search(prompts, params)
        for a, b in zip(*both, strict=True):
            assert_same(a, b)
            assert (a.stats.speculation, b.stats.speculation) == ("on", "off: the engine has no drafter")
            gain[0] += saved(a)
            gain[1] += b.stats.steps
            reasons += [h.finish_reason for h in a]
        assert idle(ours)
    assert gain[0] > 0.04 * gain[1], gain
    assert reasons.count("stop") > 0.3 * len(reasons), (reasons.count("stop"), len(reasons))


@pytest.mark.parametrize("page_size", [1, 4, 16])
def test_random_searches_side_by_side_on_every_page_size(page_size):
    """The toy model's logits depend on every slot that a row sees."""
    rng = np.random.default_rng(page_size)
    cache = dw.CacheConfig(page_size=page_size)
    gain = 0
    with toy(cache=cache) as ours, toy(drafter=None, cache=cache) as plain:
        for _ in range(60):
            prompts = [rng.integers(0, 48, int(rng.integers(1, 40))).tolist() for _ in range(int(rng.integers(1, 5)))]
            each = [draw(rng, 48, 3) for _ in prompts]
            for a, b in zip(ours.beam_search(prompts, each), plain.beam_search(prompts, each), strict=True):
                assert_same(a, b)
                gain += saved(a)
            assert idle(ours)
    assert gain > 100, gain


def test_what_cannot_be_replayed_says_why():
    class Halve:
        def init(self, ids):
            return None

        def fork(self, state):
            return None

        def advance(self, state, token):
            pass

        def apply(self, state, row):
            row *= 0.5

    class Scorer:
        def log_prob(self, ids, hidden=None):
            return np.zeros(len(ids))

    cases = [
        ({"processors": [Halve()]}, "off: a processor in Python"),
        ({"stochastic": "sequences"}, "off: stochastic beams"),
        ({"scorer": Scorer()}, "off: a scorer"),
        ({"num_beams": 17}, "off: more than 16 beams"),
        ({}, "on"),
    ]
    with toy() as e:
        for fields, words in cases:
            found = e.beam_search([1, 2, 3], dw.BeamParams(**({"num_beams": 2, "max_new_tokens": 6} | fields)))
            assert found.stats.speculation == words
            assert words == "on" or saved(found) == 0
    with toy(cache=dw.CacheConfig(bytes=8 * 16 * 12)) as e:
        found = e.beam_search([1, 2], dw.BeamParams(num_beams=4, max_new_tokens=20))
        assert found.stats.speculation == "off: too few cache pages"
        assert idle(e)


class Failing(ToyExecutor):
    """Fails at one forward, or at one move of rows."""

    def __init__(self, call, at):
        super().__init__(max_context=2048, **SIZES)
        self.call, self.at, self.count = call, at, 0

    def _count(self, call):
        self.count += call == self.call
        if call == self.call and self.count == self.at:
            raise RuntimeError("the device is gone")

    def forward(self, plan, hidden=()):
        self._count("forward")
        return super().forward(plan, hidden)

    def apply(self, moves):
        self._count("apply")
        return super().apply(moves)


@pytest.mark.parametrize("call", ["forward", "apply"])
@pytest.mark.parametrize("at", [1, 2, 3, 5, 8])
def test_an_executor_that_fails_midway_leaves_nothing_behind(call, at):
    params = dw.BeamParams(num_beams=4, num_return=4, max_new_tokens=30, eos_token_id=[])
    prompts = [[1, 2, 1, 2, 1, 2], [7, 8, 9, 7, 8]]
    with toy(Failing(call, at)) as e, toy(drafter=None) as plain:
        with pytest.raises(RuntimeError, match="the device is gone"):
            e.beam_search(prompts, params)
        assert idle(e)
        for a, b in zip(e.beam_search(prompts, params), plain.beam_search(prompts, params), strict=True):
            assert_same(a, b)
        assert idle(e)


def test_a_search_that_is_given_up_while_another_speculates():
    params = dw.BeamParams(num_beams=3, num_return=3, max_new_tokens=30, eos_token_id=[])
    with toy() as e, toy(drafter=None) as plain:
        for leads in (1, 2, 4):
            mine, other = e._beams.open([1, 2, 1, 2, 1], params), e._beams.open([5, 6, 5, 6], params)
            for _ in range(leads):
                e._beams.lead(mine)
            e._beams.core.release(other)
            e._beams.advance(mine)
            e._beams.core.release(mine)
            assert_same(mine.beams(None), plain.beam_search([1, 2, 1, 2, 1], params))
            assert idle(e)


def test_kept_rows_are_bounded():
    """However long a search runs, it holds no more texts than were booked, and a step no more rows than asked."""
    params = dw.BeamParams(num_beams=4, max_new_tokens=400, eos_token_id=[])
    texts, rows = [], []
    with toy() as e:
        e.on_step(lambda plan, _: (texts.append(e.stats().running), rows.append(plan.rows)))
        found = e.beam_search([1, 2, 3, 1, 2, 3], params)
        assert saved(found) > 20
        assert max(texts) <= 8
        assert max(rows) <= 16
        assert idle(e)


def test_drafts_are_given_up_where_they_do_not_pay():
    """Each drafted row costs as much as a step: the controller learns it from the times that it is told."""
    params = dw.BeamParams(num_beams=2, num_return=2, max_new_tokens=60, eos_token_id=[])
    prompt = np.random.default_rng(5).integers(0, 48, 20).tolist()
    drafted = {}
    for name, row_cost in (("cheap", 0), ("dear", 1_000_000)):
        with toy(policy="auto") as e:
            core = e._beams.core
            commit = core.commit

            def told(proposing, rest, core=core, commit=commit, row_cost=row_cost):
                return commit(0, 1_000_000 + row_cost * core._rows)

            core.commit = told
            drafted[name] = e.beam_search(prompt, params).stats.drafted
    assert drafted["dear"] < 0.3 * drafted["cheap"], drafted


def test_drafts_obey_the_rules_of_their_search():
    """What a rule forbids gets no row; where it leaves one way to go on, that is drafted."""
    rng = np.random.default_rng(6)
    thirds = list(range(0, 48, 3))
    titles = [[*rng.integers(0, 48, 2), *np.arange(i, i + 18) % 48] for i in range(30)]
    rules = {"only": dw.processors.AllowedTokens(thirds), "trie": dw.search.Trie(titles)}
    for name, rule in rules.items():
        params = dw.BeamParams(
            num_beams=3, num_return=3, max_new_tokens=20, eos_token_id=[], processors=[rule], length_penalty=0.0
        )
        rows, drafted, steps, kept = [], 0, 0, 0
        with toy() as ours, toy(drafter=None) as plain:
            ours.on_step(lambda plan, _, rows=rows: rows.append((int(plan.context.min()), plan.tokens.tolist())))
            for prompt in ([1, 2, 3] * 4, [5, 6], [9] * 7):
                a, b = ours.beam_search(prompt, params), plain.beam_search(prompt, params)
                assert_same(a, b)
                drafted, steps, kept = drafted + a.stats.drafted, steps + a.stats.beam_steps, kept + saved(a)
        assert drafted > 0
        if name == "only":
            assert all(set(tokens) <= set(thirds) for cached, tokens in rows if cached), "rows behind the prompt"
        else:
            assert kept > 0.4 * steps, (kept, steps)
