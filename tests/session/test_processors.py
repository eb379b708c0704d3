"""Processors in `SamplingParams`: the text is that of a slow loop, whatever is drafted, and failures stay alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import draftwood as dw
from draftwood.constraints import NativeRule
from draftwood.loading import Parts
from draftwood.models.toy import ToyExecutor
from support.drafters import Chain, RandomTrees
from support.toy import Oracle, prompts

VOCAB = 48
SIZES = {"vocab_size": VOCAB, "context_weight": 0.3}
ORACLE = Oracle(**SIZES)
GREEDY = dw.SamplingParams(max_new_tokens=24)


def engine(drafter="auto", **options):
    return dw.Engine(Parts(ToyExecutor(max_context=512, **SIZES), "toy", (3,)), drafter=drafter, **options)


def slow(prompt, change, n=24, ends=(3,)):
    """`change(text, new, row)` returns the row after all rules."""
    text, new = list(prompt), []
    while len(new) < n:
        row = change(text, new, np.array(ORACLE.logits(text), np.float32))
        if not (row > -np.inf).any():
            break
        new.append(int(np.argmax(row)))
        text.append(new[-1])
        if new[-1] in ends:
            break
    return new


class Parity:
    """Tokens alternate between even and odd ones; the state is mutable."""

    def __init__(self, how="mask"):
        self.calls = 0
        if how == "apply":
            self.apply = self._apply
        elif how == "candidates":
            self.candidates = lambda state: np.flatnonzero(self._allowed(state))
        elif how == "allows":
            self.allows = lambda state, token: bool(self._allowed(state)[token])
        else:
            self.mask = self._allowed

    def init(self, ids):
        return ids.tolist()

    def fork(self, state):
        return list(state)

    def advance(self, state, token):
        state.append(token)

    def _allowed(self, state):
        self.calls += 1
        return np.arange(VOCAB) % 2 != state[-1] % 2

    def _apply(self, state, row):
        row[~self._allowed(state)] = -np.inf


def parity(text, new, row):
    row[np.arange(VOCAB) % 2 == text[-1] % 2] = -np.inf
    return row


def no_repeat(text, new, row):
    seen = {(text[i], text[i + 1]) for i in range(len(text) - 1)}
    for token in range(VOCAB):
        if (text[-1], token) in seen:
            row[token] = -np.inf
    return row


def penalise(text, new, row):
    for token in set(text):
        row[token] = row[token] * 1.5 if row[token] < 0 else row[token] / 1.5
    return row


def only(text, new, row):
    row[np.arange(VOCAB) % 3 != 0] = -np.inf
    return row


def bad(text, new, row):
    row[7] = -np.inf
    for a, b in [(5, 6), (10, 11), (20, 4)]:
        if text[-1] == a:
            row[b] = -np.inf
    return row


RULES = {
    "mask": (lambda: {"processors": [Parity()]}, parity),
    "apply": (lambda: {"processors": [Parity("apply")]}, parity),
    "candidates": (lambda: {"processors": [Parity("candidates")]}, parity),
    "allows": (lambda: {"processors": [Parity("allows")]}, parity),
    "no repeat": (lambda: {"no_repeat_ngram_size": 2}, no_repeat),
    "repetition": (lambda: {"repetition_penalty": 1.5}, penalise),
    "bad words": (lambda: {"bad_words": [[7], [5, 6], [10, 11], [20, 4]]}, bad),
    "only": (lambda: {"allowed_tokens": range(0, VOCAB, 3)}, only),
    "native object": (lambda: {"processors": [dw.processors.NoRepeatNgrams(2)]}, no_repeat),
    "a chain": (
        lambda: {"processors": [dw.processors.NoRepeatNgrams(2), Parity(), dw.processors.RepetitionPenalty(1.5)]},
        lambda text, new, row: penalise(text, new, parity(text, new, no_repeat(text, new, row))),
    ),
}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("drafter", [None, "auto", "random"])
def test_the_text_is_that_of_a_slow_loop_with_any_drafter(name, drafter):
    fields, change = RULES[name]
    differs = 0
    with engine(RandomTrees(VOCAB, 12, seed=1) if drafter == "random" else drafter) as e:
        some = prompts(8, VOCAB, seed=3)
        each = [dataclasses.replace(GREEDY, **fields()) for _ in some]
        for prompt, params, out in zip(some, each, e.generate(some, each), strict=True):
            assert out.token_ids.tolist() == slow(prompt, change)
            differs += out.token_ids.tolist() != ORACLE.greedy(prompt, 24, ends=(3,))
            python = any(not isinstance(rule, NativeRule) for rule in params.processors)
            assert (out.stats.processed_rows >= len(out.token_ids)) == python
        stats = e.stats()
        assert stats.pages_free == stats.pages_total
    assert differs > 1


@pytest.mark.parametrize("name", ["mask", "allows", "a chain", "no repeat"])
def test_a_seeded_sample_is_the_same_with_any_drafter(name):
    params = dw.SamplingParams(max_new_tokens=20, temperature=1.2, top_p=0.9, seed=5, logprobs=2)
    outputs = []
    for drafter in (None, "auto", RandomTrees(VOCAB, 12, seed=2)):
        with engine(drafter) as e:
            outs = e.generate(prompts(5, VOCAB, seed=4), dataclasses.replace(params, **RULES[name][0]()))
            logprobs = [(o.logprobs.chosen.tolist(), o.logprobs.top_ids.tolist()) for o in outs]
            outputs.append(([o.token_ids.tolist() for o in outs], logprobs))
    assert outputs[0] == outputs[1] == outputs[2]


def test_drafts_are_accepted_beside_processors():
    """The rows of the visited path alone are changed, so drafts save steps as ever."""
    prompt = [5, 6, 8, 9] * 6
    params = dataclasses.replace(GREEDY, max_new_tokens=40, processors=[Parity()], ignore_eos=True)
    with engine(draft_policy="always") as e:
        out = e.generate(prompt, params)
        assert out.token_ids.tolist() == slow(prompt, parity, 40, ends=())
        assert out.stats.accepted > 0
        assert out.stats.processed_rows == len(out.token_ids)


class Guesses:
    """A chain of what the text without rules would say, and beside each node of it three tokens at random."""

    max_nodes = 24

    def __init__(self, seed=0):
        self.rng, self.seen = np.random.default_rng(seed), []

    def propose(self, view):
        text, tokens, parents, last = view.token_ids.tolist(), [int(view.token_ids[-1])], [-1], 0
        for token in ORACLE.greedy(text, min(5, view.max_depth)):
            wild = set(self.rng.integers(0, VOCAB, 3).tolist()) - {token}
            tokens += [token, *wild]
            parents += [last] * (1 + len(wild))
            last = len(tokens) - 1 - len(wild)
        self.seen.append(len(tokens) - 1)
        return dw.Tree(tokens, parents)


@pytest.mark.parametrize(
    ("name", "prunes"),
    [("allows", True), ("mask", False), ("no repeat", True), ("bad words", True), ("only", True), ("a chain", False)],
)
def test_drafts_that_a_rule_forbids_cost_no_rows(name, prunes):
    fields, change = RULES[name]
    drafter, forbidden, drafted = Guesses(), 0, 0

    def watch(plan, _):
        nonlocal forbidden, drafted
        text = prompt + told
        paths = {}
        for row in range(int(plan.chain[0]), plan.rows):
            parent = int(plan.parents[row])
            paths[row] = [*paths.get(parent, []), int(plan.tokens[row])]
            before = text + paths[row][:-1]
            allowed = change(before, before[len(prompt) :], np.zeros(VOCAB, np.float32))[paths[row][-1]] > -np.inf
            drafted, forbidden = drafted + 1, forbidden + (not allowed)

    with engine(drafter, draft_policy="always") as e:
        for prompt in prompts(4, VOCAB, seed=6):
            told = []
            params = dataclasses.replace(GREEDY, ignore_eos=True, **fields())
            e.on_step(watch)
            stream = e.stream(prompt, params)
            for event in stream:
                told += event.token_ids.tolist()
            assert told == slow(prompt, change, ends=()) and stream.output.stats.drafted <= drafted
    assert 0 < drafted <= sum(drafter.seen)
    assert (forbidden == 0) == prunes, (forbidden, drafted)


def test_a_draft_of_nothing_but_what_a_rule_forbids_is_no_draft():
    for how in ("allows", "native"):
        odd = [token for token in range(VOCAB) if token % 2]
        rule = dw.processors.AllowedTokens(odd) if how == "native" else OnlyOdd()
        wrong = Chain(lambda ids, n: [2 * (i + 4) for i in range(n)])
        params = dataclasses.replace(GREEDY, ignore_eos=True, processors=[rule], n=3, temperature=1.0, seed=2)
        outputs = []
        for drafter in (None, wrong):
            with engine(drafter, draft_policy="always") as e:
                out = e.generate([1, 2], params)
                outputs.append([sample.token_ids.tolist() for sample in out.samples])
                assert [sample.stats.drafted for sample in out.samples] == [0, 0, 0]
                assert e.stats().drafts.proposed == 0
        assert outputs[0] == outputs[1]


class OnlyOdd:
    """A rule that tests tokens; its state is a list that every text must have for itself."""

    def init(self, ids):
        return list(ids)

    def fork(self, state):
        return list(state)

    def advance(self, state, token):
        assert token % 2, "nothing is followed that was forbidden"
        state.append(token)

    def allows(self, state, token):
        return token % 2 == 1


def test_what_allows_raises_ends_its_text_alone():
    class Boom(OnlyOdd):
        def apply(self, state, row):
            row[::2] = -np.inf

        def allows(self, state, token):
            if len(state) > 6:
                raise LookupError("the rule's own")
            return token % 2 == 1

    right = Chain(lambda ids, n: [1] * n)
    each = [dataclasses.replace(GREEDY, ignore_eos=True, processors=rules) for rules in ([Boom()], [])]
    with engine(right, draft_policy="always") as e:
        bad, good = e.generate([[1, 2], [3, 4]], each)
        assert isinstance(bad.error, LookupError) and bad.finish_reason == "error"
        assert good.token_ids.tolist() == slow([3, 4], lambda text, new, row: row, ends=())
        stats = e.stats()
        assert stats.pages_free == stats.pages_total


def test_constraints_in_plain_texts():
    with engine() as e:
        free = e.generate([1, 2], dataclasses.replace(GREEDY, ignore_eos=True)).token_ids.tolist()
        trie = dw.search.Trie([[9, 8, 7], [9, 8], [4]])
        out = e.generate([1, 2], dataclasses.replace(GREEDY, processors=[trie]))
        assert out.token_ids.tolist()[:-1] in ([9, 8, 7], [9, 8], [4])
        assert (out.finish_reason, out.stop_reason) == ("stop", 3)
        out = e.generate([1, 2], dataclasses.replace(GREEDY, processors=[trie], ignore_eos=True))
        assert out.finish_reason == "constraint"
        rule = dw.search.BlockNgrams([free[4:7]], n=3)
        ours = e.generate([1, 2], dataclasses.replace(GREEDY, processors=[rule], ignore_eos=True)).token_ids.tolist()
        assert ours[:6] == free[:6] and ours[6] != free[6]
        phrase = dw.search.Phrases([[free[9], free[10]]])
        held = e.generate([1, 2], dataclasses.replace(GREEDY, processors=[phrase])).token_ids.tolist()
        assert 3 not in held[:10]
        prefix = dw.search.AllowedPrefix(lambda ids: [] if len(ids) == 5 else [int(ids[-1]) + 1])
        out = e.generate([10], dataclasses.replace(GREEDY, processors=[prefix]))
        assert (out.token_ids.tolist(), out.finish_reason) == ([11, 12, 13, 14], "constraint")


@pytest.mark.parametrize("n", [1, 2, 3])
def test_nothing_of_an_index_is_quoted(n, tmp_path):
    rng = np.random.default_rng(n)
    documents = [rng.integers(0, VOCAB, 9).tolist() for _ in range(3 if n == 1 else 60)]
    dw.FMIndex.build(documents, path=tmp_path / "corpus.dwx")
    grams = {tuple(d[i : i + n]) for d in documents for i in range(len(d) - n + 1)}

    def change(text, new, row):
        for token in range(VOCAB):
            if (*text[len(text) - n + 1 :], token)[-n:] in grams and len(text) >= n - 1:
                row[token] = -np.inf
        return row

    rules = [dw.search.BlockNgrams(dw.FMIndex.open(tmp_path / "corpus.dwx"), n), dw.search.BlockNgrams(grams, n)]
    with engine() as e:
        for prompt in prompts(4, VOCAB, seed=8):
            for rule in rules:
                out = e.generate(prompt, dataclasses.replace(GREEDY, processors=[rule]))
                assert out.token_ids.tolist() == slow(prompt, change)


def test_min_length_holds_ends_back():
    prompt = next(p for p in prompts(60, VOCAB, seed=9) if 3 in ORACLE.greedy(p, 6, ends=(3,)))
    rule = dw.processors.MinLength(12, [3])
    with engine() as e:
        out = e.generate(prompt, dataclasses.replace(GREEDY, processors=[rule]))
        same = e.generate(prompt, dataclasses.replace(GREEDY, min_new_tokens=12))
        assert 3 not in out.token_ids[:12]
        assert out.token_ids.tolist() == same.token_ids.tolist()


class Fails(Parity):
    """Raises after some tokens."""

    def __init__(self, error, at=3):
        super().__init__()
        self.error, self.at, self.new = error, at, 0

    def advance(self, state, token):
        super().advance(state, token)
        self.new += 1
        if self.new == self.at:
            raise self.error


def test_what_a_rule_raises_ends_its_text_alone():
    error = KeyError("my own")
    with engine() as e:
        with pytest.raises(KeyError) as raised:
            e.generate([1, 2], dataclasses.replace(GREEDY, ignore_eos=True, processors=[Fails(error)]))
        assert raised.value is error
        bad = dataclasses.replace(GREEDY, ignore_eos=True, processors=[Fails(error)], logprobs=1)
        good = dataclasses.replace(GREEDY, logprobs=1)
        a, b, c = e.generate([[1, 2], [4], [5]], [good, bad, dataclasses.replace(good, processors=[Parity()])])
        assert b.error is error and b.finish_reason == "error"
        assert len(b.logprobs.chosen) == len(b.token_ids)
        assert a.token_ids.tolist() == ORACLE.greedy([1, 2], 24, ends=(3,))
        assert c.token_ids.tolist() == slow([5], parity)
        assert len(c.logprobs.chosen) == len(c.token_ids)
        stats = e.stats()
        assert stats.pages_free == stats.pages_total
        assert not e._session.ruled


def test_a_step_that_is_given_up_leaves_the_states_as_they_were():
    class Fragile(ToyExecutor):
        forwards = 0

        def forward(self, plan, hidden=()):
            self.forwards += 1
            if self.forwards in (3, 5):
                raise RuntimeError("the device is gone")
            return super().forward(plan, hidden)

    with dw.Engine(Parts(Fragile(max_context=512, **SIZES), "toy", (3,))) as e:
        stream = e.stream([1, 2], dataclasses.replace(GREEDY, processors=[Parity()]))
        tokens, failures = [], 0
        while True:
            try:
                event = next(stream)
            except StopIteration:
                break
            except RuntimeError:
                failures += 1
                continue
            tokens += event.token_ids.tolist()
        assert failures == 2
        assert tokens == slow([1, 2], parity)


def test_nan_from_a_rule_and_other_bad_input():
    class Nan(Parity):
        def __init__(self):
            super().__init__("apply")
            self.apply = lambda state, row: np.full_like(row, np.nan)

    with engine() as e:
        with pytest.raises(dw.InvalidArgument, match="the logits after 2 tokens must be finite"):
            e.generate([1, 2], dataclasses.replace(GREEDY, processors=[Nan()]))
        for fields, words in [
            ({"processors": [object()]}, "a processor must be an object with init, or a logits processor"),
            ({"processors": 5}, "processors must be a list, got int"),
            ({"repetition_penalty": 0}, "repetition_penalty must be positive and finite, got 0"),
            ({"bad_words": [[]]}, "the blocked sequences must be sequences of at least one token"),
            ({"bad_words": [[-1]]}, "bad_words must be token ids"),
            ({"allowed_tokens": []}, "allowed_tokens must be at least one token, got none"),
            ({"no_repeat_ngram_size": -1}, "the n-gram size must be 0"),
        ]:
            with pytest.raises(dw.InvalidArgument, match=words):
                e.generate([1, 2], dataclasses.replace(GREEDY, **fields))
        assert e.generate([1, 2], GREEDY).token_ids.tolist() == ORACLE.greedy([1, 2], 24, ends=(3,))


def test_a_rule_may_use_the_engine():
    """No lock of the core is held while a rule runs."""
    seen = []

    class Nosy(Parity):
        def _allowed(self, state):
            seen.append(e.stats().running)
            return super()._allowed(state)

    with engine() as e:
        rule = Nosy()
        e.generate([1, 2], dataclasses.replace(GREEDY, processors=[rule]))
    assert set(seen) == {1}


def test_processors_of_transformers():
    pytest.importorskip("torch")
    from transformers import LogitsProcessorList, NoRepeatNGramLogitsProcessor, RepetitionPenaltyLogitsProcessor

    theirs = [RepetitionPenaltyLogitsProcessor(1.5), NoRepeatNGramLogitsProcessor(2)]
    with engine() as e:
        for prompt in prompts(6, VOCAB, seed=6):
            want = slow(prompt, lambda t, n, row: no_repeat(t, n, penalise(t, n, row)))
            for rules in (theirs, [LogitsProcessorList(theirs)]):
                out = e.generate(prompt, dataclasses.replace(GREEDY, processors=rules))
                assert out.token_ids.tolist() == want
