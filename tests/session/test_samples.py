"""n samples of a prompt: read once, drawn apart, each the same text whatever runs beside it."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter

import numpy as np
import pytest
from scipy import stats as laws

import draftwood as dw
from draftwood.loading import Parts
from draftwood.models.toy import ToyExecutor
from support.drafters import RandomTrees, all_drafters
from support.hf_tiny import tiny_model
from support.toy import Oracle, prompts

VOCAB = 64
TOY = {"vocab_size": VOCAB, "context_weight": 0.3}
ORACLE = Oracle(**TOY)
PARAMS = {"max_new_tokens": 20, "temperature": 1.0, "seed": 11}


def engine(drafter=None, **more):
    return dw.testing.toy_engine(**TOY, drafter=drafter, draft_policy="always", **more)


def texts_of(output):
    return [sample.token_ids.tolist() for sample in output.samples or (output,)]


@pytest.fixture(autouse=True)
def leaks(monkeypatch):
    """Every engine of a test must end with all pages free."""
    made = []
    start = dw.Engine._start
    monkeypatch.setattr(dw.Engine, "_start", lambda self, *args: (start(self, *args), made.append(self))[0])
    yield
    gc.collect()
    for one in made:
        stats = one.stats()
        assert (stats.running, stats.waiting, stats.pages_free) == (0, 0, stats.pages_total)


# ── the same samples ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("page_size", [1, 4, 16])
def test_sample_i_is_the_same_for_any_n_with_any_drafter_and_in_a_batch(page_size):
    some = prompts(3, VOCAB, seed=page_size)
    cache = dw.CacheConfig(page_size=page_size)
    with engine(cache=cache) as model:
        plain = [texts_of(model.generate(prompt, dw.SamplingParams(**PARAMS, n=5))) for prompt in some]
        for n in (1, 2, 3, 4):
            assert texts_of(model.generate(some[0], dw.SamplingParams(**PARAMS, n=n))) == plain[0][:n]
    assert len({tuple(text) for texts in plain for text in texts}) == 15

    def continuation(tokens, count):
        for prompt, texts in zip(some, plain, strict=True):
            done = len(tokens) - len(prompt)
            for text in texts:
                if done >= 0 and list(tokens) == prompt + text[:done]:
                    return text[done : done + count]
        return []

    for name, drafter in all_drafters(VOCAB, continuation).items():
        with engine(drafter, cache=cache) as model:
            outputs = model.generate(some, dw.SamplingParams(**PARAMS, n=5))
            assert [texts_of(output) for output in outputs] == plain, name
            if name in ("right", "64 chain"):
                assert sum(sample.stats.accepted for output in outputs for sample in output.samples) > 150
    for output, texts in zip(outputs, plain, strict=True):
        assert [sample.sample for sample in output.samples] == [0, 1, 2, 3, 4]
        assert output.token_ids.tolist() == texts[0]
        assert all(sample.samples == () for sample in output.samples)


def test_a_draft_below_the_prompt_serves_every_sample():
    """Two samples follow two branches of one tree of the first step."""
    with engine() as model:
        texts = texts_of(model.generate([1, 2], dw.SamplingParams(**PARAMS, n=8)))
    first, second = next((a, b) for a in texts for b in texts if a[0] != b[0])

    class Both:
        def propose(self, view):
            if len(view.token_ids) > 2:
                return None
            return dw.Tree([2, *first[:3], *second[:3]], [-1, 0, 1, 2, 0, 4, 5])

    with engine(Both()) as model:
        output = model.generate([1, 2], dw.SamplingParams(**PARAMS, n=8))
        assert model.stats().rows_forked > 0
    assert texts_of(output) == texts
    accepted = [sample.stats.accepted for sample in output.samples]
    assert accepted[texts.index(first)] == accepted[texts.index(second)] == 3


@pytest.mark.parametrize("executor", ["native", "transformers"])
def test_models_with_weights(executor, tmp_path):
    module = tiny_model("llama", 256, seed=3, hidden=64, feed_forward=128, heads=4, kv_heads=2)
    module.save_pretrained(tmp_path)
    prompt = np.random.default_rng(0).integers(0, 256, 40).tolist()
    params = {"max_new_tokens": 12, "temperature": 0.7, "top_p": 0.9, "seed": 5}
    found = {}
    for drafter in (None, RandomTrees(256, 12, 1)):
        with dw.Engine.load(str(tmp_path), executor=executor, drafter=drafter, draft_policy="always") as model:
            texts = found[drafter] = texts_of(model.generate(prompt, dw.SamplingParams(**params, n=4)))
            for n in (1, 3):
                assert texts_of(model.generate(prompt, dw.SamplingParams(**params, n=n))) == texts[:n]
    assert found[None] == texts
    assert len({tuple(text) for text in texts}) > 1


def test_each_sample_has_the_law_of_the_model_and_they_are_independent():
    sizes = {"vocab_size": 8, "context_weight": 0.5}
    oracle = Oracle(**sizes)
    prompt, n, calls = [3, 1], 500, 12

    def row(text):
        values = np.exp(oracle.logits(text).astype(np.float64))
        return values / values.sum()

    law = {(a, b): row(prompt)[a] * row([*prompt, a])[b] for a in range(8) for b in range(8)}
    texts, pairs = Counter(), Counter()
    with dw.testing.toy_engine(**sizes, drafter=RandomTrees(8, 6, 1), draft_policy="always") as model:
        for seed in range(calls):
            params = dw.SamplingParams(max_new_tokens=2, temperature=1.0, seed=seed, n=n)
            drawn = [tuple(text) for text in texts_of(model.generate(prompt, params))]
            texts.update(drawn)
            pairs.update((drawn[i][0], drawn[i + 1][0]) for i in range(0, n, 2))
    first = row(prompt)
    joint = {(a, b): first[a] * first[b] for a in range(8) for b in range(8)}
    # At this size a total variation of 0.04 between two laws would be seen nine times of ten.
    for counts, expected in ((texts, law), (pairs, joint)):
        total = counts.total()
        kept = [cell for cell in expected if expected[cell] * total >= 5]
        rest = sum(expected[cell] for cell in expected if expected[cell] * total < 5)
        observed = [counts[cell] for cell in kept]
        wanted = [expected[cell] * total for cell in kept]
        if rest * total >= 5:
            observed.append(total - sum(observed))
            wanted.append(rest * total)
        wanted = np.array(wanted) * sum(observed) / sum(wanted)
        assert laws.chisquare(observed, wanted).pvalue > 5e-5


# ── the cost ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_prompt_is_read_once():
    prompt = np.random.default_rng(1).integers(0, VOCAB, 700).tolist()
    rows, heads = [], []
    with engine() as model:
        model.on_step(lambda plan, events: (rows.append(plan.rows), heads.append(len(plan.head_rows))))
        output = model.generate(prompt, dw.SamplingParams(max_new_tokens=9, temperature=1.0, seed=1, n=6))
    assert sum(rows) == 700 + 6 * 8
    assert sum(heads) == 1 + 6 * 8, "all samples read one row of the prompt"
    assert [sample.stats.prompt_tokens for sample in output.samples] == [700] * 6
    assert [sample.stats.steps for sample in output.samples] == [9] * 6


@pytest.mark.parametrize("length", [1000, 1008, 1024])
def test_eight_samples_share_the_pages_of_a_long_prompt(length):
    prompt = np.random.default_rng(2).integers(0, VOCAB, length).tolist()
    used = {}
    for n in (1, 8):
        with engine() as model, model.stream(prompt, dw.SamplingParams(**PARAMS, n=n)) as stream:
            used[n] = []
            for _ in range(2 * n):  # two steps: the first tokens, then rows of their own
                next(stream)
                stats = model.stats()
                used[n].append(stats.pages_total - stats.pages_free)
    assert used[8][0] == used[1][0] == -(-length // 16), "until they part nothing is copied"
    assert used[8][-1] <= 1.2 * used[1][-1]


def test_a_prompt_is_booked_once():
    """1000 tokens fill 62 pages, and each of 8 samples may need two more for the rest, 20 tokens and a root."""
    prompt = np.random.default_rng(2).integers(0, VOCAB, 1000).tolist()
    params = dw.SamplingParams(**PARAMS, n=8)
    with engine() as model:
        texts = texts_of(model.generate(prompt, params))
    with engine(cache=dw.CacheConfig(bytes=16 * 8 * 78)) as model:
        assert model.stats().pages_total == 78
        assert texts_of(model.generate(prompt, params)) == texts
    with engine(cache=dw.CacheConfig(bytes=16 * 8 * 77)) as model, pytest.raises(dw.OutOfPages) as e:
        model.generate(prompt, params)
    assert (e.value.needed, e.value.total) == (78, 77)


# ── ends ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_samples_end_each_on_its_own():
    """Among them the first one with its first token, so that a later one goes on in its place."""
    with engine() as model:
        free = texts_of(model.generate([5, 6], dw.SamplingParams(**PARAMS, n=6)))
    end = free[0][0]

    def cut(text):
        return text[: text.index(end) + 1] if end in text else text

    assert {len(cut(text)) for text in free} >= {1, 20}
    for drafter in (None, "auto", RandomTrees(VOCAB, 12, 4)):
        with engine(drafter, stop_ids=(end,)) as model:
            output = model.generate([5, 6], dw.SamplingParams(**PARAMS, n=6))
            for sample, text in zip(output.samples, free, strict=True):
                assert sample.token_ids.tolist() == cut(text)
                assert sample.finish_reason == ("stop" if end in text else "length")
                assert sample.stop_reason == (end if end in text else None)
                assert sample.stats.new_tokens == len(cut(text))
    every = dw.SamplingParams(**(PARAMS | {"max_new_tokens": 1}), n=6)
    with engine() as model:
        assert texts_of(model.generate([5, 6], every)) == [text[:1] for text in free]


def test_logprobs_belong_to_their_sample():
    params = dw.SamplingParams(**PARAMS, n=4, logprobs=2)
    with engine(RandomTrees(VOCAB, 12, 4)) as model:
        for sample in model.generate([5, 6], params).samples:
            text = [5, 6]
            for t, token in enumerate(sample.token_ids):
                row = ORACLE.logits(text).astype(np.float64)
                law = row - np.log(np.exp(row).sum())
                assert sample.logprobs.chosen[t] == pytest.approx(law[token], abs=1e-5)
                assert sample.logprobs.top_ids[t].tolist() == np.argsort(-law, kind="stable")[:2].tolist()
                text.append(int(token))


def test_best_of_keeps_the_likeliest_per_token():
    with engine() as model:
        all_of = model.generate([5, 6], dw.SamplingParams(**PARAMS, n=7, logprobs=0)).samples
        means = [float(sample.logprobs.chosen.mean(dtype=np.float64)) for sample in all_of]
        order = sorted(range(7), key=lambda i: (-means[i], i))
        for n in (1, 3, 7):
            output = model.generate([5, 6], dw.SamplingParams(**PARAMS, n=n, best_of=7))
            kept = output.samples if n > 1 else (output,)
            assert [sample.sample for sample in kept] == order[:n]
            assert output.token_ids.tolist() == all_of[order[0]].token_ids.tolist()
            assert output.logprobs is None
    assert order != list(range(7))


# ── streams, cancelling, failing ────────────────────────────────────────────────────────────────────────────────────


def test_events_carry_their_sample():
    with engine("auto") as model:
        whole = model.generate([5, 6], dw.SamplingParams(**PARAMS, n=4))
        stream = model.stream([5, 6], dw.SamplingParams(**PARAMS, n=4, best_of=4))
        got = {i: [] for i in range(4)}
        ended = []
        for event in stream:
            assert event.sample not in ended
            got[event.sample].extend(event.token_ids.tolist())
            ended += [event.sample] if event.finish_reason else []
        assert sorted(ended) == [0, 1, 2, 3]
        assert [got[i] for i in range(4)] == texts_of(whole)
        assert sorted(sample.sample for sample in stream.output.samples) == [0, 1, 2, 3]

        async def read():
            return [event async for event in model.astream([5, 6], dw.SamplingParams(**PARAMS, n=4))]

        events = asyncio.run(read())
        assert [t for e in events if e.sample == 2 for t in e.token_ids.tolist()] == got[2]


@pytest.mark.parametrize("when", [0, 1, 6, 30])
@pytest.mark.parametrize("sample", [0, 2])
def test_a_cancelled_sample_leaves_the_others(when, sample):
    with engine("auto") as model:
        whole = texts_of(model.generate([5, 6], dw.SamplingParams(**PARAMS, n=4)))
        stream = model.stream([5, 6], dw.SamplingParams(**PARAMS, n=4))
        for _ in range(when):
            next(stream)
        stream.cancel(sample)
        stream.cancel(sample)
        list(stream)
        for i, one in enumerate(stream.output.samples):
            assert one.finish_reason == ("cancelled" if i == sample else "length")
            tokens = one.token_ids.tolist()
            assert tokens == (whole[i] if i != sample else whole[i][: len(tokens)])
        assert len(stream.output.samples[sample].token_ids) < 20
        with pytest.raises(dw.InvalidArgument, match=r"sample must be 0 … 3, got 4"):
            stream.cancel(4)


def test_all_samples_cancelled_one_by_one_before_and_while_the_prompt_is_read():
    prompt = np.random.default_rng(1).integers(0, VOCAB, 1700).tolist()
    with engine() as model:
        for steps in (0, 1, 2):
            stream = model.stream(prompt, dw.SamplingParams(**PARAMS, n=3))
            for _ in range(steps):
                model._lead(stream._ticket)
            for sample in (1, 0, 2):
                assert not stream._ticket.done
                stream.cancel(sample)
            assert stream._ticket.done
            assert [sample.finish_reason for sample in stream.output.samples] == ["cancelled"] * 3
            assert model.stats().running == 0


def test_a_sample_may_be_cancelled_within_the_forward_that_parts_it():
    class Cancelling(ToyExecutor):
        def forward(self, plan, hidden=()):
            for sample in cancels:
                model._session.core.cancel(ticket.request, sample)
            cancels.clear()
            return super().forward(plan, hidden)

    with dw.Engine(Parts(Cancelling(**TOY), "toy"), drafter=None) as model:
        cancels = []
        whole = texts_of(model.generate([5, 6], dw.SamplingParams(**PARAMS, n=4)))
        for cancels in ([1], [0], [0, 3], [0, 1, 2, 3]):
            gone = list(cancels)
            stream = model.stream([5, 6], dw.SamplingParams(**PARAMS, n=4))
            ticket = stream._ticket
            list(stream)
            for i, sample in enumerate(stream.output.samples):
                assert sample.token_ids.tolist() == ([] if i in gone else whole[i])
                assert sample.finish_reason == ("cancelled" if i in gone else "length")


class Refusing:
    """A processor that raises where a text is refused, and counts its forks."""

    def __init__(self, refuses):
        self.refuses = refuses

    def init(self, ids):
        return []

    def fork(self, state):
        return list(state)

    def advance(self, state, token):
        state.append(token)

    def apply(self, state, row):
        if self.refuses(state):
            raise KeyError(tuple(state))
        row[(sum(state) + 1) % VOCAB] = -np.inf


def test_processors_follow_their_sample_and_what_they_raise_ends_it_alone():
    for drafter in (None, RandomTrees(VOCAB, 12, 4)):
        with engine(drafter) as model:
            quiet = dw.SamplingParams(**PARAMS, n=5, processors=[Refusing(lambda state: False)])
            whole = model.generate([5, 6], quiet)
            texts = texts_of(whole)
            assert all(s.stats.processed_rows >= 20 for s in whole.samples)
            for i in range(5):
                alone = dw.SamplingParams(**PARAMS, n=i + 1, processors=quiet.processors)
                assert texts_of(model.generate([5, 6], alone)) == texts[: i + 1]
            bad = texts[1][:6]
            fails = [text[:6] == bad for text in texts]
            assert sum(fails) < 5
            rule = Refusing(lambda state, bad=bad: state == bad)
            output = model.generate([5, 6], dw.SamplingParams(**PARAMS, n=5, processors=[rule]))
            for sample, text, failed in zip(output.samples, texts, fails, strict=True):
                assert isinstance(sample.error, KeyError) == failed
                assert sample.finish_reason == ("error" if failed else "length")
                tokens = sample.token_ids.tolist()
                assert tokens == (text[: len(tokens)] if failed else text)
                assert len(tokens) <= 6 or not failed
            broken = Refusing(lambda state: True)
            with pytest.raises(KeyError):
                model.generate([5, 6], dw.SamplingParams(**PARAMS, n=5, processors=[broken]))


def test_a_first_sample_that_fails_is_not_the_output():
    with engine() as model:
        quiet = Refusing(lambda state: False)
        free = texts_of(model.generate([5, 6], dw.SamplingParams(**PARAMS, n=6, processors=[quiet])))
        bad = next(i for i in range(2, 20) if any(text[:i] != free[0][:i] for text in free))
        fine = next(i for i, text in enumerate(free) if text[:bad] != free[0][:bad])
        rule = Refusing(lambda state: state == free[0][:bad])
        output = model.generate([5, 6], dw.SamplingParams(**PARAMS, n=6, processors=[rule]))
        assert output.sample == fine > 0
        assert output.error is None
        assert output.samples[0].finish_reason == "error"
        assert output.samples[0].token_ids.tolist() == free[0][:bad]


def test_a_drafter_that_raises_below_the_prompt_ends_all_samples_with_its_error():
    class Broken:
        def propose(self, view):
            raise KeyError("mine")

    with engine(Broken()) as model:
        outputs = model.generate([[5, 6]], dw.SamplingParams(**PARAMS, n=3))
        assert [repr(sample.error) for sample in outputs[0].samples] == ["KeyError('mine')"] * 3
        with pytest.raises(KeyError):
            model.generate([5, 6], dw.SamplingParams(**PARAMS, n=3))


def test_moves_and_forwards_that_fail_while_samples_part():
    class Once(ToyExecutor):
        def __init__(self):
            super().__init__(**TOY)
            self.fails = set()

        def forward(self, plan, hidden=()):
            rows = super().forward(plan, hidden)
            if "forward" in self.fails:
                self.fails.discard("forward")
                raise OSError
            return rows

        def apply(self, moves):
            if "apply" in self.fails:
                self.fails.discard("apply")
                super().apply(moves[:, ::2])
                raise OSError
            super().apply(moves)

    with engine() as model:
        texts = texts_of(model.generate([5, 6], dw.SamplingParams(**PARAMS, n=5)))
    right = {(5, 6, *text[:t]): text[t : t + 4] for text in texts for t in range(1, 20)}

    class Wide:
        """Both children of the prompt's root, and below them what comes."""

        def propose(self, view):
            chain = right.get(tuple(view.token_ids.tolist()))
            if chain is None:
                firsts = sorted({text[0] for text in texts})
                tails = [next(text for text in texts if text[0] == first)[1] for first in firsts]
                count = len(firsts)
                return dw.Tree([6, *firsts, *tails], [-1] + [0] * count + list(range(1, count + 1)))
            return dw.Tree([int(view.token_ids[-1]), *chain], list(range(-1, len(chain))))

    for fails in ({"forward"}, {"apply"}, {"forward", "apply"}):
        executor = Once()
        with dw.Engine(Parts(executor, "toy"), drafter=Wide(), draft_policy="always") as model:
            executor.fails = fails
            stream = model.stream([5, 6], dw.SamplingParams(**PARAMS, n=5))
            raised = 0
            while True:
                try:
                    next(stream)
                except OSError:
                    raised += 1
                except StopIteration:
                    break
            assert raised >= 1
            assert not fails
            assert texts_of(stream.output) == texts


def test_samples_wait_for_their_pages_and_a_small_pool_serves_all():
    with engine() as model:
        alone = [texts_of(model.generate([i], dw.SamplingParams(**PARAMS, n=3))) for i in range(6)]
    cache = dw.CacheConfig(bytes=16 * 8 * 20)  # 20 pages; each request books 3 · 6
    with engine(cache=cache) as model:
        outputs = model.generate([[i] for i in range(6)], dw.SamplingParams(**PARAMS, n=3))
        assert [texts_of(output) for output in outputs] == alone
        with pytest.raises(dw.OutOfPages):
            model.generate([1], dw.SamplingParams(**PARAMS, n=30))


# ── bad input ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"n": 0}, "n must be 1 … 4096, got 0"),
        ({"n": -1}, "n must be 0 … 4096, got -1"),
        ({"n": 5000}, "n must be 0 … 4096, got 5000"),
        ({"n": 1.5}, "n must be an integer, got 1.5"),
        ({"n": True}, "n must be an integer, got True"),
        ({"best_of": 0}, "best_of must be 1 … 4096, got 0"),
        ({"n": 3, "best_of": 2}, "best_of must be at least n = 3, got 2"),
        ({"n": 2, "temperature": 0.0}, "n must be 1 with temperature=0, got 2"),
        ({"best_of": 2, "temperature": 0.0}, "best_of must be 1 with temperature=0, got 2"),
    ],
)
def test_bad_input(fields, words):
    with engine() as model, pytest.raises(dw.InvalidArgument, match=words):
        model.generate([1], dw.SamplingParams(**(PARAMS | fields)))


def test_a_stream_cannot_know_the_best_samples():
    with engine() as model, pytest.raises(dw.InvalidArgument, match="best_of must be None or n = 2 in a stream, got 3"):
        model.stream([1], dw.SamplingParams(**PARAMS, n=2, best_of=3))
