"""Texts that take tokens back: their law, their streams, and the same text with any drafts."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy import stats as laws

import draftwood as dw
from draftwood.loading import Parts
from draftwood.models.toy import ToyExecutor
from support.drafters import RandomTrees, all_drafters
from support.hf_tiny import tiny_model
from support.rules import GeneratedText
from support.samples import TOY, VOCAB, engine
from support.scripted import ScriptedExecutor
from support.tiny_gguf import tiny_file
from support.toy import Oracle, prompts

BACK = 7
# Few enough tokens that taking back is common.
PARAMS = {
    "max_new_tokens": 24,
    "temperature": 1.5,
    "seed": 11,
    "allowed_tokens": [1, 2, 3, BACK],
    "backspace_token_id": BACK,
}


def follow(events):
    """What a reader of a stream has at its end: tokens and text per sample, and how many tokens went."""
    tokens, text, gone = {}, {}, 0
    for event in events:
        mine = tokens.setdefault(event.sample, [])
        assert event.retracted <= len(mine)
        del mine[len(mine) - event.retracted :]
        mine.extend(event.token_ids.tolist())
        kept = text.get(event.sample, "")
        text[event.sample] = kept[: len(kept) - event.retracted_text] + event.text
        gone += event.retracted
    return tokens, text, gone


@pytest.mark.parametrize("page_size", [1, 4, 16])
def test_the_text_is_the_same_with_any_drafts_and_streams_come_to_it(page_size):
    some = prompts(4, VOCAB, seed=page_size)
    cache = dw.CacheConfig(page_size=page_size)
    params = dw.SamplingParams(**PARAMS, n=3)
    with engine(cache=cache) as model:
        plain = [[s.token_ids.tolist() for s in model.generate(p, params).samples] for p in some]

    def continuation(tokens, count):
        for prompt, texts in zip(some, plain, strict=True):
            done = len(tokens) - len(prompt)
            for text in texts:
                if done >= 0 and list(tokens) == prompt + text[:done]:
                    return text[done : done + count]
        return []

    drafters = all_drafters(VOCAB, continuation) | {"outputs": dw.drafters.Outputs()}
    for name, drafter in drafters.items():
        with engine(drafter, cache=cache) as model:
            gone = 0
            for prompt, texts in zip(some, plain, strict=True):
                stream = model.stream(prompt, params)
                tokens, _, went = follow(stream)
                gone += went
                assert [tokens[i] for i in range(3)] == texts, name
                assert [s.token_ids.tolist() for s in stream.output.samples] == texts
            assert gone > 10
            stats = model.stats()
            assert stats.pages_free == stats.pages_total
    assert all(BACK not in text for texts in plain for text in texts)


def test_the_law_of_final_texts_is_that_of_the_chain_of_states():
    """SequenceMatch: a state is a text, a choice depends on it alone; visits are counted choice by choice."""
    back, end, limit, heat = 3, 4, 3, 30.0
    sizes = {"vocab_size": 5, "context_weight": 1.0, "seed": 2}
    oracle = Oracle(**sizes)
    prompt = [1, 0]

    def row(state):
        logits = oracle.logits([*prompt, *state]).astype(np.float64) / heat
        if not state:
            logits[back] = -np.inf
        values = np.exp(logits - logits.max())
        return values / values.sum()

    law, states = Counter(), Counter({(): 1.0})
    for _ in range(4 * limit):
        after = Counter()
        for state, p in states.items():
            for token, q in enumerate(row(state)):
                if token == back:
                    if state:
                        after[state[:-1]] += p * q
                elif token == end or len(state) + 1 == limit:
                    law[(*state, token)] += p * q
                else:
                    after[(*state, token)] += p * q
        states = after
    law.update(states)
    assert sum(law.values()) == pytest.approx(1.0)
    counts, total = Counter(), 20_000
    with dw.testing.toy_engine(**sizes, drafter=RandomTrees(5, 8, 1), draft_policy="always", stop_ids=(end,)) as model:
        for seed in range(total // 500):
            params = dw.SamplingParams(
                max_new_tokens=limit, temperature=heat, seed=seed, n=500, backspace_token_id=back
            )
            counts.update(tuple(s.token_ids.tolist()) for s in model.generate(prompt, params).samples)
    assert set(counts) <= set(law)
    kept = [text for text in law if law[text] * total >= 5]
    observed = np.array([counts[text] for text in kept] + [total - sum(counts[text] for text in kept)])
    wanted = np.array([law[text] for text in kept] + [1.0 - sum(law[text] for text in kept)]) * total
    if wanted[-1] < 5:
        observed, wanted = observed[:-1], wanted[:-1]
        wanted *= observed.sum() / wanted.sum()
    # A total variation of 0.03 would be seen nine times of ten.
    assert laws.chisquare(observed, wanted).pvalue > 1e-4
    # The mass that comes to its end by way of a pop is large, so that the test is about pops.
    straight, direct = Counter({(): 1.0}), 0.0
    while straight:
        after = Counter()
        for state, p in straight.items():
            for token, q in enumerate(row(state)):
                if token == end or (token != back and len(state) + 1 == limit):
                    direct += p * q
                elif token != back:
                    after[(*state, token)] += p * q
        straight = after
    assert direct < 0.85


def test_a_backspace_that_is_never_drawn_changes_nothing():
    fields = {"max_new_tokens": 24, "temperature": 1.5, "seed": 11, "bad_words": [[BACK]]}
    for drafter in (None, "auto"):
        with engine(drafter) as model:
            some = prompts(4, VOCAB, seed=1)
            plain = model.generate(some, dw.SamplingParams(**fields))
            with_it = model.generate(some, dw.SamplingParams(**fields, backspace_token_id=BACK))
        assert [o.token_ids.tolist() for o in with_it] == [o.token_ids.tolist() for o in plain]
        assert [o.stats.steps for o in with_it] == [o.stats.steps for o in plain]


@pytest.mark.parametrize("executor", ["native", "transformers"])
def test_logprobs_of_what_survives_are_those_of_a_fresh_prefill(executor, tmp_path):
    """Native: bit for bit, so the rows that were kept and the cache that was cut are those of the text alone."""
    module = tiny_model("llama", 256, seed=3, hidden=64, feed_forward=128, heads=4, kv_heads=2)
    module.save_pretrained(tmp_path)
    params = dw.SamplingParams(**PARAMS, n=4, logprobs=2)
    found = []
    for drafter in (None, RandomTrees(4, 12, 1)):
        with dw.Engine.load(str(tmp_path), executor=executor, drafter=drafter, draft_policy="always") as model:
            stream = model.stream(prompts(1, 256, seed=3)[0] + [9] * 30, params)
            events = list(stream)
            tokens, _, gone = follow(events)
            assert gone > 10
            found.append([tokens[i] for i in range(4)])
            for sample in stream.output.samples:
                fresh = model.score(prompts(1, 256, seed=3)[0] + [9] * 30, sample.token_ids)
                if executor == "native":
                    assert sample.logprobs.chosen.tobytes() == fresh.tobytes()
                else:
                    assert sample.logprobs.chosen == pytest.approx(fresh, abs=1e-4)
                assert sample.logprobs.top.shape == (len(sample.token_ids), 2)
    assert found[0] == found[1]


def test_the_text_of_a_stream_after_its_retractions(tmp_path):
    pieces = ["<unk>", "<s>", "</s>", "▁a", "b", "é", "c", "漢", "x"]
    pieces += [f"t{i}" for i in range(256 - len(pieces))]
    path = str(tiny_file(tmp_path / "tiny.gguf", pieces))
    with dw.Engine.load(path, executor="native", drafter=RandomTrees(9, 8, 2), draft_policy="always") as model:
        gone = 0
        for seed in range(30):
            params = dw.SamplingParams(
                max_new_tokens=20,
                temperature=20.0,
                seed=seed,
                allowed_tokens=[3, 4, 5, 6, 7, 8],
                backspace_token_id=8,
                stop=["bb", "é漢"],
            )
            stream = model.stream([3, 4], params)
            tokens, text, went = follow(stream)
            gone += went
            output = stream.output
            assert (tokens[0], text[0]) == (output.token_ids.tolist(), output.text)
            whole = model.tokenizer.decode(output.token_ids)
            if output.finish_reason == "stop":
                whole = whole.partition(output.stop_reason)[0]
            assert output.text.removeprefix(" ") == whole.removeprefix(" ")  # a text alone begins without a blank
        assert gone > 10


def likely(**values):
    def script(tokens):
        row = np.zeros(8, np.float32)
        row[values.get("".join(map(str, tokens)), 0)] = 9.0
        return row

    return script


def test_a_greedy_text_that_takes_back_ends_where_it_was():
    names = {"1": 2, "12": 3, "123": 5}
    script = likely(**{f"{name}": token for name, token in names.items()})
    with dw.Engine(Parts(ScriptedExecutor(8, script), "scripted"), drafter=None) as model:
        stream = model.stream([1], dw.SamplingParams(backspace_token_id=5))
        events = list(stream)
        output = stream.output
    assert output.token_ids.tolist() == [2]
    assert (output.finish_reason, output.stop_reason) == ("stop", "loop")
    assert [event.retracted for event in events] == [0, 0, 1]
    assert output.stats.new_tokens == 1


def test_actions_are_bounded():
    """A model that takes back whatever it says: 4 · max_new_tokens choices, then "length"."""
    forwards = ScriptedExecutor(8, lambda tokens: np.array([0] * 7 + [30 if len(tokens) > 1 else -30], np.float32))
    with dw.Engine(Parts(forwards, "scripted"), drafter=None) as model:
        output = model.generate([1], dw.SamplingParams(max_new_tokens=5, temperature=1.0, seed=1, backspace_token_id=7))
        assert output.finish_reason == "length"
        assert len(output.token_ids) == 0
        assert forwards.forwards == 11, "the prompt, and a token between each pair of choices"
        assert model.stats().pages_free == model.stats().pages_total


def test_a_text_that_is_cancelled_or_fails_after_retractions_leaks_nothing():
    class Unreliable(ToyExecutor):
        def forward(self, plan, hidden=()):
            rows = super().forward(plan, hidden)
            if rng.random() < 0.2:
                raise OSError
            return rows

        def apply(self, moves):
            if rng.random() < 0.2:
                super().apply(moves[:, ::2])
                raise OSError
            super().apply(moves)

    rng = np.random.default_rng(0)
    with engine() as model:
        expected = [model.generate([i, 2], dw.SamplingParams(**PARAMS)).token_ids.tolist() for i in range(20)]
    drafter = RandomTrees(8, 12, 3)
    with dw.Engine(Parts(Unreliable(**TOY), "toy"), drafter=drafter, draft_policy="always") as model:
        raised = ended = 0
        for turn in range(100):
            stream = model.stream([turn % 20, 2], dw.SamplingParams(**PARAMS))
            events = []
            while rng.random() > 0.03:
                try:
                    events.append(next(stream))
                except OSError:
                    raised += 1
                except StopIteration:
                    assert follow(events)[0][0] == expected[turn % 20]
                    ended += 1
                    break
            stream.close()
        assert raised > 50
        assert ended > 20
        stats = model.stats()
        assert (stats.running, stats.pages_free) == (0, stats.pages_total)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (VOCAB, f"backspace_token_id must be a token of the model, below {VOCAB}, got {VOCAB}"),
        (-1, "backspace_token_id must be 0 …"),
        (1.5, "backspace_token_id must be an integer, got 1.5"),
        (9, "backspace_token_id must be no end token, got 9"),
    ],
)
def test_bad_input(value, words):
    with engine(stop_ids=(9,)) as model, pytest.raises(dw.InvalidArgument, match=words):
        model.generate([1], dw.SamplingParams(backspace_token_id=value))


class Spelled(GeneratedText):
    """Forbids what follows from the text alone, and checks that it was told the text."""

    def __init__(self, seen):
        self.seen = seen

    def apply(self, state, row):
        self.seen.append(tuple(state))
        row[1 + len(state) % 3] = -np.inf


def test_processors_in_python_go_back_with_their_text():
    """Their states are those of the text: each is told what `generate` without backspace would tell it."""
    found = []
    for drafter in (None, RandomTrees(8, 12, 3)):
        seen = []
        params = dw.SamplingParams(**PARAMS, n=3, processors=[Spelled(seen)])
        with engine(drafter) as model:
            stream = model.stream([5, 2], params)
            tokens, _, gone = follow(stream)
            assert gone > 3
            assert not model._session.ruled
            found.append([tokens[i] for i in range(3)])
        states = set(seen)
        assert all(BACK not in state for state in states)
        assert all(token != 1 + i % 3 for state in states for i, token in enumerate(state))
        for text in found[-1]:
            assert all(tuple(text[:i]) in states for i in range(len(text)))
    assert found[0] == found[1]


def test_a_processor_that_changes_nothing_changes_nothing():
    class Quiet(Spelled):
        def apply(self, state, row):
            pass

    with engine("auto") as model:
        plain = model.generate([5, 2], dw.SamplingParams(**PARAMS, n=4, logprobs=1))
        ruled = model.generate([5, 2], dw.SamplingParams(**PARAMS, n=4, logprobs=1, processors=[Quiet([])]))
    for one, other in zip(plain.samples, ruled.samples, strict=True):
        assert one.token_ids.tolist() == other.token_ids.tolist()
        assert one.logprobs.chosen.tolist() == other.logprobs.chosen.tolist()
        assert (one.finish_reason, one.stop_reason) == (other.finish_reason, other.stop_reason)
