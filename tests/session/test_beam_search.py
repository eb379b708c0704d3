"""The engine's beam search on the toy executor, where a wrong slot, fork or mask changes the text."""

from __future__ import annotations

import dataclasses
import threading
from itertools import pairwise

import numpy as np
import pytest

import draftwood as dw
from draftwood import _core
from draftwood.loading import Parts
from draftwood.models.toy import ToyExecutor
from support.beams import SlowBeams, assert_close, log_softmax, shape
from support.toy import Oracle, prompts
from support.variants import search

SIZES = {"vocab_size": 48, "context_weight": 0.8}
ORACLE = Oracle(**SIZES)
PARAMS = dw.BeamParams(num_beams=4, num_return=4, max_new_tokens=10, eos_token_id=[3, 17, 40])


def engine(executor=None, drafter="auto", **more):
    executor = ToyExecutor(max_context=2048, **SIZES) if executor is None else executor
    return dw.Engine(Parts(executor, "toy", (3,)), drafter=drafter, **more)


def slow(prompt, params, ends=None):
    row = lambda tokens: log_softmax(ORACLE.logits([*prompt, *tokens]))  # noqa: E731
    return SlowBeams(row, params, params.eos_token_id if ends is None else ends).run()


def idle(e):
    stats = e.stats()
    return stats.pages_free == stats.pages_total and stats.running == stats.waiting == 0


def draw(rng):
    beams = int(rng.integers(1, 9))
    return dataclasses.replace(
        PARAMS,
        num_beams=beams,
        num_return=int(rng.integers(1, beams + 1)),
        max_new_tokens=int(rng.integers(1, 14)),
        min_new_tokens=int(rng.integers(0, 2)),
        length_penalty=float(rng.choice([0.0, 1.0, 2.0])),
        early_stopping=[True, False, "never"][rng.integers(3)],
        eos_token_id=[int(t) for t in rng.integers(0, 48, rng.integers(1, 8))],
    )


@pytest.mark.parametrize("page_size", [1, 4, 16])
def test_ragged_batches_equal_a_slow_search(page_size):
    rng = np.random.default_rng(page_size)
    reasons = []
    with engine(cache=dw.CacheConfig(page_size=page_size)) as e:
        for _ in range(60):
            some = prompts(int(rng.integers(1, 6)), 48, seed=int(rng.integers(1 << 30)))
            each = [draw(rng) for _ in some]
            for prompt, params, ours in zip(some, each, e.beam_search(some, each), strict=True):
                assert_close(shape(ours), slow(prompt, params))
                assert ours.error is None
                assert ours.stats.prompt_tokens == len(prompt)
                reasons += [h.finish_reason for h in ours]
                for h in ours:
                    assert h.stop_reason == (h.token_ids[-1] if h.finish_reason == "stop" else None)
                    length = len(h.token_ids) ** params.length_penalty
                    assert abs(h.score - h.step_scores.sum() / length) < 1e-4
            assert idle(e)
    assert min(reasons.count("stop"), reasons.count("length")) > 0.2 * len(reasons)


def test_a_batch_equals_its_prompts_alone_bit_for_bit():
    some = prompts(5, 48, seed=8)
    with engine() as e:
        for prompt, together in zip(some, e.beam_search(some, PARAMS), strict=True):
            alone = e.beam_search(prompt, PARAMS)
            assert shape(alone) == shape(together)
            assert all(np.array_equal(a.step_scores, b.step_scores) for a, b in zip(alone, together, strict=True))


def test_one_beam_that_stops_early_is_greedy():
    params = dataclasses.replace(PARAMS, num_beams=1, num_return=1, early_stopping=True, max_new_tokens=20)
    with engine(drafter=None) as e:
        for prompt in prompts(8, 48, seed=2):
            assert e.beam_search(prompt, params)[0].token_ids.tolist() == ORACLE.greedy(prompt, 20, ends=(3, 17, 40))


def test_end_tokens_come_from_the_engine_or_from_the_parameters():
    some = prompts(4, 48, seed=5)
    with engine() as e:
        for eos, ignore, ends in [(None, False, [3]), (7, False, [7]), (None, True, []), ([7], True, [])]:
            params = dataclasses.replace(PARAMS, eos_token_id=eos, ignore_eos=ignore)
            for prompt, ours in zip(some, e.beam_search(some, params), strict=True):
                assert_close(shape(ours), slow(prompt, params, ends))


def test_long_prompts_are_fed_in_chunks_beside_beams_that_run():
    rng = np.random.default_rng(0)
    some = [rng.integers(0, 48, n).tolist() for n in (3, 1500, 40, 700, 300, 5)]
    with engine() as e:
        found = e.beam_search(some, PARAMS)
        for prompt, ours in zip(some, found, strict=True):
            assert_close(shape(ours), slow(prompt, PARAMS))
        assert found[0].stats.prefill_steps == 0
        assert found[1].stats.prefill_steps >= 2
        assert idle(e)


def test_the_prompt_is_read_once_and_beams_share_its_pages():
    class Counting(ToyExecutor):
        rows = 0

        def forward(self, plan, hidden=()):
            self.rows += plan.rows
            return super().forward(plan, hidden)

    executor = Counting(max_context=2048, **SIZES)
    prompt = np.random.default_rng(1).integers(0, 48, 1024).tolist()
    params = dataclasses.replace(PARAMS, num_beams=8, num_return=8, eos_token_id=[])
    used = []
    with engine(executor, drafter=None) as e:
        total, copied = e.stats().pages_total, [0]
        e.on_step(lambda *_: (used.append(total - e.stats().pages_free), copied.append(e.stats().rows_copied_on_write)))
        beams = e.beam_search(prompt, params)
        assert executor.rows == len(prompt) + 8 * (beams.stats.steps - 1)
        # A step copies at most one page per beam but one, and nothing while the last page is full.
        assert all(0 <= b - a <= 7 * 15 for a, b in pairwise(copied))
        assert copied[-1] > 0
        one = len(prompt) // 16
        assert max(used) <= 1.2 * one
        assert e.stats().rows_forked == 0
        assert idle(e)


def test_searches_leave_other_texts_alone():
    """A stream that is read between searches, a batch in another thread, a second search in a third."""
    some = prompts(6, 48, seed=12)
    sampling = dw.SamplingParams(max_new_tokens=30, ignore_eos=True)
    with engine() as e:
        stream = e.stream(some[0], sampling)
        pieces = [next(stream)]
        results = {}

        def work(name, call, *args):
            results[name] = call(*args)

        threads = [
            threading.Thread(target=work, args=("texts", e.generate, some[1:3], sampling)),
            threading.Thread(target=work, args=("beams", e.beam_search, some[3:5], PARAMS)),
        ]
        for thread in threads:
            thread.start()
        mine = e.beam_search(some[5], PARAMS)
        pieces.append(next(stream))
        for thread in threads:
            thread.join(60)
        pieces += list(stream)
        assert_close(shape(mine), slow(some[5], PARAMS))
        for prompt, ours in zip(some[3:5], results["beams"], strict=True):
            assert_close(shape(ours), slow(prompt, PARAMS))
        for prompt, text in zip(some[1:3], results["texts"], strict=True):
            assert text.token_ids.tolist() == ORACLE.greedy(prompt, 30)
        assert [t for piece in pieces for t in piece.token_ids.tolist()] == ORACLE.greedy(some[0], 30)
        assert idle(e)


def test_many_threads_with_few_pages():
    """Searches and texts wait for each other's pages; every answer is right and nothing is lost."""
    some = prompts(12, 48, seed=13, longest=20)
    results = {}
    with engine(cache=dw.CacheConfig(bytes=8 * 16 * 40)) as e:

        def work(i):
            if i % 2:
                results[i] = shape(e.beam_search(some[i], PARAMS))
            else:
                results[i] = e.generate(some[i], dw.SamplingParams(max_new_tokens=20, ignore_eos=True))

        threads = [threading.Thread(target=work, args=(i,)) for i in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert len(results) == 12
        for i, prompt in enumerate(some):
            if i % 2:
                assert_close(results[i], slow(prompt, PARAMS))
            else:
                assert results[i].token_ids.tolist() == ORACLE.greedy(prompt, 20)
        assert idle(e)


def test_searches_of_one_call_wait_for_pages():
    """What does not fit beside another is taken back from the session and sent again later."""
    some = prompts(3, 48, seed=14, longest=20)
    with engine(cache=dw.CacheConfig(bytes=8 * 16 * 24)) as e:
        for prompt, ours in zip(some, e.beam_search(some, PARAMS), strict=True):
            assert_close(shape(ours), slow(prompt, PARAMS))
        assert e.stats().steps > 15, "together they would need ten"
        assert idle(e)


def test_a_text_that_is_admitted_by_a_step_of_searches_is_not_taken_for_a_beam():
    prompt = np.random.default_rng(3).integers(0, 48, 1200).tolist()
    with engine() as e:
        searches = e._beams.core
        search = e._beams.open(prompt, PARAMS)
        e._beams.lead(search)
        assert search.live is None, "the first chunk of three"
        stream = e.stream([1, 2, 3], dw.SamplingParams(max_new_tokens=12, ignore_eos=True))
        e._beams.advance(search)
        searches.release(search)
        assert_close(shape(search.beams(None)), slow(prompt, PARAMS))
        assert [t for piece in stream for t in piece.token_ids.tolist()] == ORACLE.greedy([1, 2, 3], 12)
        assert idle(e)


def test_a_search_that_can_never_fit_is_refused():
    with engine(cache=dw.CacheConfig(bytes=8 * 16 * 8)) as e:
        with pytest.raises(dw.OutOfPages, match="cache pages must cover the request"):
            e.beam_search([1, 2], dataclasses.replace(PARAMS, num_beams=16, max_new_tokens=100))
        assert len(e.beam_search([1, 2], dataclasses.replace(PARAMS, num_beams=2, num_return=2))) == 2
        assert idle(e)


def test_the_context_ends_texts():
    executor = ToyExecutor(max_context=16, **SIZES)
    params = dataclasses.replace(PARAMS, eos_token_id=[], max_new_tokens=50)
    with engine(executor) as e:
        beams = e.beam_search(list(range(10)), params)
        assert {len(h.token_ids) for h in beams} == {6}
        assert_close(shape(beams), slow(list(range(10)), dataclasses.replace(params, max_new_tokens=6)))


class Failing(ToyExecutor):
    """Fails at the forwards that are named, or spoils their logits."""

    def __init__(self, raise_at=(), spoil_at=(), **sizes):
        super().__init__(**sizes)
        self.raise_at, self.spoil_at, self.count = raise_at, spoil_at, 0

    def forward(self, plan, hidden=()):
        self.count += 1
        if self.count in self.raise_at:
            raise RuntimeError("the device is gone")
        rows = super().forward(plan, hidden)
        if self.count in self.spoil_at:
            rows.logits[0, 5] = np.nan
        return rows


def test_a_failed_forward_ends_the_call_and_leaks_nothing():
    for step in (1, 2, 5):
        with engine(Failing(raise_at=(step,), max_context=2048, **SIZES)) as e:
            with pytest.raises(RuntimeError, match="the device is gone"):
                e.beam_search([[1, 2], [3]], PARAMS)
            assert idle(e)
            assert_close(shape(e.beam_search([1, 2], PARAMS)), slow([1, 2], PARAMS))


def test_a_failed_forward_of_one_caller_does_not_hurt_the_search_of_another():
    """The step is rolled back for all; who did not lead it tries again."""
    executor = Failing(max_context=2048, **SIZES)
    with engine(executor) as e:
        searches = e._beams.core
        other = e._beams.open([5, 6, 7], PARAMS)
        executor.raise_at = (1, 3)
        for _ in range(2):
            with pytest.raises(RuntimeError):
                e.beam_search([1, 2], PARAMS)
        e.beam_search([1, 2], PARAMS)
        e._beams.advance(other)
        searches.release(other)
        assert_close(shape(other.beams(None)), slow([5, 6, 7], PARAMS))
        assert idle(e)


def test_prompts_whose_first_forward_failed_are_read_again():
    """They need all their rows again, so that no fourth prompt may squeeze in."""
    rng = np.random.default_rng(6)
    some = [rng.integers(0, 48, n).tolist() for n in (200, 250, 200, 30)]
    executor = Failing(raise_at=(1, 2), max_context=2048, **SIZES)
    with engine(executor, drafter=None) as e:
        searches = [e._beams.open(prompt, PARAMS) for prompt in some]
        for _ in range(2):
            with pytest.raises(RuntimeError, match="the device is gone"):
                e._beams.lead(searches[0])
        for prompt, search in zip(some, searches, strict=True):
            e._beams.advance(search)
            assert search.error is None
            assert_close(shape(search.beams(None)), slow(prompt, PARAMS))
            e._beams.core.release(search)
        assert idle(e)


class Interfering:
    """A core session, or an executor, that does something before one of its calls."""

    def __init__(self, inner, name, deed):
        self._inner, self._name, self._deed = inner, name, deed

    def __getattr__(self, name):
        if name == self._name:
            self._deed()
        return getattr(self._inner, name)


@pytest.mark.parametrize("call", ["begin", "plan", "commit_paths"])
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_a_caller_that_gives_up_within_the_step_of_another(call, steps):
    with engine() as e:
        searches = e._beams.core
        other = e._beams.open([5, 6, 7], PARAMS)
        mine = e._beams.open([1, 2], PARAMS)
        for _ in range(steps):
            e._beams.lead(mine)
        inner = searches.core
        searches.core = Interfering(inner, call, lambda: searches.release(other))
        e._beams.lead(mine)
        searches.core = inner
        e._beams.advance(mine)
        searches.release(mine)
        assert_close(shape(mine.beams(None)), slow([1, 2], PARAMS))
        assert idle(e)


def test_logits_that_are_not_finite_end_their_search_only():
    with engine(Failing(spoil_at=(3,), max_context=2048, **SIZES)) as e:
        with pytest.raises(dw.InvalidArgument, match=r"the logits of beam \d must be .*NaN at token 5"):
            e.beam_search([1, 2], PARAMS)
        assert idle(e)
    with engine(Failing(spoil_at=(3,), max_context=2048, **SIZES)) as e:
        both = e.beam_search([[1, 2], [3]], PARAMS)
        (bad,) = [i for i in range(2) if both[i].error is not None]
        assert isinstance(both[bad].error, dw.InvalidArgument)
        assert_close(shape(both[1 - bad]), slow([[1, 2], [3]][1 - bad], PARAMS))
        assert idle(e)


def test_sampled_beams_are_named_by_their_seed():
    params = dataclasses.replace(PARAMS, do_sample=True, temperature=1.5, top_k=20, seed=4)
    some = prompts(3, 48, seed=3)
    with engine() as e, engine(drafter=None, cache=dw.CacheConfig(page_size=4)) as other:
        first = e.beam_search(some, params)
        for prompt, ours in zip(some, first, strict=True):
            assert shape(other.beam_search(prompt, params)) == shape(ours)
            assert ours.stats.seed == 4
            assert shape(e.beam_search(prompt, dataclasses.replace(params, seed=5))) != shape(ours)
        again = e.beam_search(some[0], dataclasses.replace(params, seed=None))
        assert shape(e.beam_search(some[0], dataclasses.replace(params, seed=again.stats.seed))) == shape(again)


def test_a_closed_engine_says_so():
    e = engine()
    e.beam_search([1], PARAMS)
    e.close()
    with pytest.raises(dw.InvalidArgument, match="an engine must be open"):
        e.beam_search([1], PARAMS)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"num_beams": 0}, "num_beams must be 1 … 4096, got 0"),
        ({"num_beams": -1}, "num_beams must be 0 … 2147483647, got -1"),
        ({"num_beams": 2.0}, "num_beams must be an integer, got 2.0"),
        ({"num_beams": 33}, "num_beams must be at most 32, the texts that a step of this engine holds, got 33"),
        ({"num_return": 5}, "num_return must be 1 … num_beams = 4, got 5"),
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1, got 0"),
        ({"min_new_tokens": 11}, "min_new_tokens must be at most max_new_tokens = 10, got 11"),
        ({"length_penalty": float("nan")}, "length_penalty must be finite, got NaN"),
        ({"length_penalty": "1"}, "length_penalty must be a number, got '1'"),
        ({"early_stopping": "soon"}, "early_stopping must be True, False or \"never\", got 'soon'"),
        ({"temperature": 0.5}, "temperature must be 1.0 without do_sample, got 0.5"),
        ({"top_k": 5}, "top_k must be 0 without do_sample, got 5"),
        ({"do_sample": True, "temperature": 0.0}, "temperature must be above 0 with do_sample, got 0"),
        ({"do_sample": True, "top_p": 0.0}, "top_p must be above 0 and at most 1, got 0"),
        ({"repetition_penalty": 0.0}, "repetition_penalty must be positive and finite, got 0"),
        ({"no_repeat_ngram_size": -1}, "no_repeat_ngram_size must be 0 … 2147483647, got -1"),
        ({"eos_token_id": 48}, "eos_token_id must be below the vocabulary size 48, got 48"),
        ({"eos_token_id": "x"}, "eos_token_id must be an integer, got 'x'"),
        ({"bos_token_id": 1}, "bos_token_id must be None: an engine has a prompt, got 1"),
        (
            {"processors": [3]},
            "a processor must be an object with init, or a logits processor of",
        ),
    ],
)
def test_bad_parameters(fields, words):
    with engine() as e:
        with pytest.raises(dw.InvalidArgument) as raised:
            e.beam_search([1, 2], dataclasses.replace(PARAMS, **{"num_return": 1} | fields))
        assert str(raised.value).startswith(words)
        assert idle(e)


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ([], "prompt must be at least one token"),
        ([48], "prompt token 0 must be 0 … 47, got 48"),
        ([1] * 2048, "prompt must be shorter than the context"),
        ([[1, 2], [99]], "prompt token 0 must be 0 … 47, got 99"),
        ("text", "text without a tokenizer is not supported"),
    ],
)
def test_bad_prompts(prompt, words):
    with engine() as e:
        with pytest.raises(dw.DraftwoodError, match=words):
            e.beam_search(prompt, PARAMS)
        assert idle(e)
        with pytest.raises(dw.InvalidArgument, match="params must be a BeamParams or a list of 1"):
            e.beam_search([1], [dw.SamplingParams()])


# ── the family: every search of the engine is that of the step function ─────────────────────────────────────────────


class Texts(list):
    def select(self, rows):
        return Texts([list(self[row]) for row in rows])


def step(tokens, texts):
    texts = Texts([[*text, int(token)] for text, token in zip(texts, tokens, strict=True)])
    return np.stack([log_softmax(ORACLE.logits(text)) for text in texts]), texts


class CountsOnes:
    """A scorer that likes even tokens."""

    def log_prob(self, ids):
        return [-sum(token % 2 for token in one) / len(one) for one in ids]

    def accepts(self, ids):
        return ids[0] % 2 == 0


class Even:
    """A rule in Python that counts its states."""

    def init(self, ids):
        return len(ids)

    def fork(self, state):
        return state

    def advance(self, state, token):
        return state + 1

    def mask(self, state):
        return (np.arange(48) % 3 != state % 3) | np.isin(np.arange(48), (3, 17, 40))


FAMILY = {
    "groups": {"num_beam_groups": 2, "diversity_penalty": 0.7},
    "cumulative": {"num_beam_groups": 4, "diversity": "cumulative"},
    "ngram": {"num_beam_groups": 2, "diversity": "ngram"},
    "trie": {"processors": [dw.search.Trie([[5, 6], [5, 7, 8, 9], [30], [31, 2, 11]])]},
    "phrases": {"processors": [dw.search.Phrases([[10, 11], [[20], [21, 22]]])], "num_beams": 8},
    "blocked": {"processors": [dw.search.BlockNgrams([[a, b] for a in range(48) for b in range(0, 48, 5)], 2)]},
    "scorer": {"scorer": CountsOnes(), "scorer_weight": 2.0},
    "a rule in Python": {"processors": [Even()]},
    "both": {"processors": [dw.search.Phrases([[10, 11]]), Even(), dw.processors.NoRepeatNgrams(2)]},
    "sequences": {"stochastic": "sequences", "seed": 3},
    "first tokens": {"stochastic": "first_token", "seed": 3, "do_sample": True, "top_k": 5},
}


@pytest.mark.parametrize("name", FAMILY)
def test_every_search_of_the_engine_is_that_of_the_step_function(name):
    params = dataclasses.replace(PARAMS, **FAMILY[name])
    some = prompts(5, 48, seed=20)
    changed = 0
    with engine(cache=dw.CacheConfig(page_size=4)) as e:
        for prompt, ours in zip(some, e.beam_search(some, params), strict=True):
            functional = dataclasses.replace(params, bos_token_id=prompt[-1])
            if prompt[:-1] and (params.processors or params.stochastic):
                # A rule sees the prompt and noise knows positions, of which a step function has one token.
                start = [prompt[-1]]
                ours = e.beam_search(start, params)
                found = dw.search.beam(step, Texts([[]]), functional)
            else:
                found = dw.search.beam(step, Texts([prompt[:-1]]), functional)
            assert_close(shape(ours), shape(found))
            assert [h.group for h in ours] == [h.group for h in found]
            for a, b in zip(ours, found, strict=True):
                assert abs(a.raw_score - b.raw_score) < 1e-4
                assert (a.log_weight is None) == (b.log_weight is None)
            changed += shape(ours) != shape(e.beam_search(prompt, PARAMS))
        assert idle(e)
    assert changed == 5


@pytest.mark.parametrize("name", ["groups", "sequences", "trie"])
def test_a_batch_of_the_family_equals_its_prompts_alone(name):
    params = dataclasses.replace(PARAMS, **FAMILY[name])
    some = prompts(4, 48, seed=21)
    with engine() as e:
        together = e.beam_search(some, params)
        for prompt, ours in zip(some, together, strict=True):
            assert shape(ours) == shape(e.beam_search(prompt, params))


class Letters:
    """Eight tokens with letters, some of several."""

    SPELLED = (b"a", b"b", b"ab", b"ba", b"c", b"cab", b"", b"aa")

    def __init__(self):
        self.token_bytes = _core.TokenBytes.from_bytes(list(self.SPELLED), [])

    def decode(self, ids):
        return b"".join(self.SPELLED[int(i)] for i in ids).decode()


@pytest.mark.parametrize("groups", [1, 2])
def test_stop_strings_end_beams(groups):
    sizes = {"vocab_size": 8, "context_weight": 0.8}
    oracle, letters = Oracle(**sizes), Letters()
    stopped = total = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        stop = [["c", "bab"], ["ab"], ["aa", "cb"]][seed % 3]
        params = dataclasses.replace(
            draw(rng),
            num_beams=2 * groups * int(rng.integers(1, 3)),
            num_return=2 * groups,
            num_beam_groups=groups,
            eos_token_id=[6],
            stop=stop,
            min_new_tokens=int(rng.integers(0, 3)),
            max_new_tokens=8,
        )
        prompt = rng.integers(0, 8, 5).tolist()

        def row(tokens, prompt=prompt):
            return log_softmax(oracle.logits([*prompt, *tokens]))

        def halts(tokens, stop=stop, least=params.min_new_tokens):
            # An occurrence that ends in the last token: one that was complete before has not ended the text.
            text, before = letters.decode(tokens), len(letters.decode(tokens[:-1]))
            return len(tokens) >= least and any(text.find(one, max(0, before - len(one) + 1)) >= 0 for one in stop)

        parts = Parts(ToyExecutor(max_context=256, **sizes), "toy", (6,), tokenizer=letters)
        with dw.Engine(parts) as e:
            found = e.beam_search(prompt, params)
        reference, margin = search(row, params, [6], 8, stops=halts)
        if margin < 1e-5:
            continue
        assert [h.token_ids.tolist() for h in found] == [list(tokens) for tokens, *_ in reference]
        for h, (_, score, _, _) in zip(found, reference, strict=True):
            total += 1
            assert abs(h.score - score) < 1e-4
            if isinstance(h.stop_reason, str):
                stopped += 1
                whole = letters.decode(h.token_ids)
                before = len(letters.decode(h.token_ids[:-1]))
                at = whole.find(h.stop_reason, max(0, before - len(h.stop_reason) + 1))
                assert h.text == whole[:at]
                assert h.finish_reason == "stop"
                assert not any(one in h.text for one in stop) or params.min_new_tokens
    assert 0.15 * total < stopped < total


def test_stop_strings_need_a_tokenizer():
    with engine() as e, pytest.raises(dw.UnsupportedModel, match="a stop string without a tokenizer"):
        e.beam_search([1], dataclasses.replace(PARAMS, stop="x"))
    parts = Parts(ToyExecutor(max_context=256, vocab_size=8), "toy", (6,), tokenizer=Letters())
    with dw.Engine(parts) as e:
        for fields, words in [({"stop": [3]}, "stop must be strings"), ({"stop": [""]}, "stop")]:
            with pytest.raises(dw.InvalidArgument, match=words):
                e.beam_search([1], dataclasses.replace(PARAMS, eos_token_id=6, **fields))
