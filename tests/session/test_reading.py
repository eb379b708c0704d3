"""`score`, `embed` and drafters that read hidden states, on the executor of hashes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import draftwood as dw


@pytest.fixture
def engine():
    with dw.testing.toy_engine(drafter=dw.drafters.NGram(max_nodes=4)) as engine:
        yield engine


@pytest.mark.parametrize("length", [1, 2, 31, 32, 33, 100])
def test_scores_are_the_log_probabilities_of_generation(engine, length):
    params = dw.SamplingParams(max_new_tokens=length, temperature=1.5, seed=3, logprobs=0, ignore_eos=True)
    output = engine.generate([5, 1, 5], params)
    steps = engine.stats().steps
    assert (engine.score([5, 1, 5], output.token_ids) == output.logprobs.chosen).all()
    assert engine.stats().steps - steps == -(-length // 32)
    # Scores of any other tokens too: a continuation is not chosen, it is given.
    tokens = np.arange(length) % 40
    one_by_one = [
        engine.score(np.concatenate([[5, 1, 5], tokens[:i]]), tokens[i : i + 1])[0] for i in range(min(length, 40))
    ]
    assert engine.score([5, 1, 5], tokens)[:40].tolist() == one_by_one


def test_a_batch_beside_generation(engine):
    stream = engine.stream([1, 2, 3], dw.SamplingParams(max_new_tokens=40, ignore_eos=True))
    first = next(stream)
    scores = engine.score([[1, 2], [3]], [[4, 5, 6], [7]])
    assert [len(each) for each in scores] == [3, 1]
    assert scores[0].tolist() == engine.score([1, 2], [4, 5, 6]).tolist()
    alone = engine.generate([1, 2, 3], dw.SamplingParams(max_new_tokens=40, ignore_eos=True))
    rest = [token for event in stream for token in event.token_ids]
    assert [*first.token_ids, *rest] == alone.token_ids.tolist()
    stats = engine.stats()
    assert stats.pages_free == stats.pages_total


def test_what_cannot_be_scored_is_refused(engine):
    for prompt, continuation, words in [
        ([1], [], "continuation must be at least one token"),
        ([], [1], "prompt must be"),
        ([1], "text", "two strings, or ids both"),
        ([[1], [2]], [[3]], "2 continuations, one per prompt"),
        ([1], [10**6], "forced token must be 0"),
        ([1], [1] * engine.max_context, "tokens together"),
    ]:
        with pytest.raises(dw.InvalidArgument, match=words):
            engine.score(prompt, continuation)
    with pytest.raises(dw.UnsupportedModel, match="hidden states"):
        engine.embed([1])
    stats = engine.stats()
    assert stats.pages_free == stats.pages_total


class Reading:
    """An executor of hashes whose hidden state is the number of the row's token."""

    def __init__(self):
        self._inner = dw.testing.toy_engine().executor
        caps = self._inner.caps
        self.caps = dw.types.ExecutorCaps(caps.vocab_size, caps.max_context, caps.slot_bytes, hidden_states=True)
        self.allocate, self.apply = self._inner.allocate, self._inner.apply
        self.asked = []

    def forward(self, plan, hidden=()):
        self.asked.append(hidden)
        rows = self._inner.forward(plan)
        states = plan.tokens[plan.head_rows].astype(np.float32)[:, None] + [0, 0.5]
        return SimpleNamespace(logits=rows.logits, hidden=states if hidden else None)


def test_embed_gives_the_state_of_the_last_token():
    executor = Reading()
    with dw.Engine(executor, drafter=None) as engine:
        assert engine.embed([4, 2, 9]).tolist() == [9, 9.5]
        assert [each.tolist() for each in engine.embed([[4], [8, 7]])] == [[4, 4.5], [7, 7.5]]
        assert not engine._session.hidden
        engine.generate([1, 2], dw.SamplingParams(max_new_tokens=3))
    assert executor.asked[-3:] == [(), (), ()]


class Reader:
    """Drafts what really comes half of the time, and notes what it was shown."""

    needs_hidden = True
    max_nodes = 4

    def __init__(self, tokens):
        self.tokens, self.shown = tokens, []

    def propose(self, view):
        self.shown.append((view.token_ids.tolist(), None if view.hidden is None else view.hidden[:, 0].tolist()))
        at = len(view.token_ids)
        if at % 2:
            return None
        guess = self.tokens[at : at + 2]
        return dw.Tree([int(view.token_ids[-1]), *guess], list(range(-1, len(guess))))


def test_drafters_read_the_hidden_states_of_accepted_rows():
    params = dw.SamplingParams(max_new_tokens=20, ignore_eos=True)
    with dw.Engine(Reading(), drafter=None) as plain:
        expected = plain.generate([3, 1, 4], params).token_ids.tolist()
    reader = Reader([3, 1, 4, *expected])
    with dw.Engine(Reading(), drafter=reader, draft_policy="always") as engine:
        output = engine.generate([3, 1, 4], params)
    assert output.token_ids.tolist() == expected
    assert output.stats.accepted > 5
    assert reader.shown[0] == ([3, 1, 4], None)
    for (before, _), (tokens, hidden) in zip(reader.shown, reader.shown[1:], strict=False):
        # The rows that chose the new tokens are those of the token before each.
        assert hidden == tokens[len(before) - 1 : -1]


def test_samples_show_drafters_their_own_hidden_states():
    params = dw.SamplingParams(max_new_tokens=12, ignore_eos=True, temperature=1.0, seed=3, n=3)
    with dw.Engine(Reading(), drafter=None) as plain:
        expected = [sample.token_ids.tolist() for sample in plain.generate([3, 1, 4], params).samples]
    shown = {}

    class Watching:
        needs_hidden = True

        def propose(self, view):
            hidden = None if view.hidden is None else view.hidden[:, 0].tolist()
            shown.setdefault(view.sequence, []).append((view.token_ids.tolist(), hidden))
            return

    with dw.Engine(Reading(), drafter=Watching(), draft_policy="always") as engine:
        assert [sample.token_ids.tolist() for sample in engine.generate([3, 1, 4], params).samples] == expected
    assert sorted(len(each) for each in shown.values()) == [10, 10, 11]
    for each in shown.values():
        for tokens, hidden in each:
            assert hidden == (None if len(tokens) == 3 else [tokens[-2]])
