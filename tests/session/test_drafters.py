"""The drafters that run in Rust: the text is that of plain decoding, whatever they propose; often they are right."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import draftwood as dw
from support.toy import Oracle, prompts

VOCAB = 64
SIZES = {"vocab_size": VOCAB, "context_weight": 0.3}
TOY = {**SIZES, "draft_policy": "always"}
ORACLE = Oracle(**SIZES)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """What the model says to other prompts, in two files."""
    folder = tmp_path_factory.mktemp("index")
    said = [prompt + ORACLE.greedy(prompt, 40) for prompt in prompts(24, VOCAB, seed=99)]
    paths = [folder / "a.dwx", folder / "b.dwx"]
    for path, documents in zip(paths, (said[:10], said[10:]), strict=True):
        dw.FMIndex.build(documents, path=path)
    return dw.FMIndex.open(paths)


def drafters(index, nodes=16):
    kinds = dw.drafters
    return {
        "ngram": kinds.NGram(max_nodes=nodes),
        "suffix": kinds.Suffix(max_nodes=nodes),
        "outputs": kinds.Outputs(max_nodes=nodes),
        "trigram": kinds.Trigram([index.extract(d) for d in range(len(index))], max_nodes=nodes),
        "retrieval": kinds.Retrieval(index, max_nodes=nodes),
        "retrieval as rest": kinds.Retrieval(index, style="rest", max_nodes=nodes),
        "retrieval as suffix decoding": kinds.Retrieval(index, style="suffix-decoding", max_nodes=nodes),
        "suffix in generations": kinds.Suffix(max_tokens=16, max_nodes=nodes),
        "mix": kinds.Mix(kinds.NGram(), kinds.Suffix(), kinds.Trigram(), kinds.Retrieval(index), max_nodes=nodes),
        "mix of mixes": kinds.Mix(kinds.Mix(kinds.Suffix()), kinds.Mix(kinds.Retrieval(index)), max_nodes=nodes),
    }


STYLES = ["retrieval as rest", "retrieval as suffix decoding"]
NAMES = ["ngram", "suffix", "suffix in generations", "trigram", "retrieval", *STYLES, "mix", "mix of mixes"]


@pytest.mark.parametrize("nodes", [1, 2, 16, 64])
@pytest.mark.parametrize("name", NAMES)
def test_greedy_equals_recomputing_everything(name, nodes, index):
    some = prompts(8, VOCAB, seed=1)
    with dw.testing.toy_engine(**TOY, drafter=drafters(index, nodes)[name]) as engine:
        outputs = engine.generate(some, dw.SamplingParams(max_new_tokens=24))
        assert engine.stats().pages_free == engine.stats().pages_total
    for prompt, output in zip(some, outputs, strict=True):
        assert output.token_ids.tolist() == ORACLE.greedy(prompt, 24)
    accepted = sum(output.stats.accepted for output in outputs)
    assert sum(output.stats.steps for output in outputs) + accepted == 8 * 24
    assert (accepted > 0) == (nodes > 1)


@pytest.mark.parametrize("name", NAMES)
def test_a_seeded_sample_is_the_same_with_any_drafter(name, index):
    some = prompts(6, VOCAB, seed=3)
    each = [dw.SamplingParams(max_new_tokens=20, seed=100 + i, temperature=0.8, top_k=9) for i in range(len(some))]
    with dw.testing.toy_engine(**TOY, drafter=None) as engine:
        plain = [output.token_ids.tolist() for output in engine.generate(some, each)]
    with dw.testing.toy_engine(**TOY, drafter=drafters(index)[name]) as engine:
        assert [output.token_ids.tolist() for output in engine.generate(some, each)] == plain
        # Other texts have passed through the drafter meanwhile.
        assert engine.generate(some[0], each[0]).token_ids.tolist() == plain[0]


def test_a_corpus_of_the_answers_is_followed_nearly_to_the_end(tmp_path):
    prompt = prompts(1, VOCAB, seed=5)[0]
    answer = ORACLE.greedy(prompt, 48)
    index = dw.FMIndex.build([prompt + answer], path=tmp_path / "answers.dwx")
    for drafter in (dw.drafters.Retrieval(index), dw.drafters.Mix(dw.drafters.NGram(), dw.drafters.Retrieval(index))):
        with dw.testing.toy_engine(**TOY, drafter=drafter) as engine:
            output = engine.generate(prompt, dw.SamplingParams(max_new_tokens=48))
        assert output.token_ids.tolist() == answer
        assert output.stats.steps <= 12


def test_a_corpus_may_know_more_tokens_than_the_model(tmp_path):
    prompt = [1, 2, 3]
    index = dw.FMIndex.build([[1, 2, 3, 5000, 6000], [1, 2, 3, 7]], path=tmp_path / "a.dwx")
    large = [[2, 3, 5000], [2, 3, 1 << 19]]
    for drafter in (dw.drafters.Retrieval(index), dw.drafters.Trigram(large)):
        with dw.testing.toy_engine(**TOY, drafter=drafter) as engine:
            output = engine.generate(prompt, dw.SamplingParams(max_new_tokens=6))
        assert output.token_ids.tolist() == ORACLE.greedy(prompt, 6)


def test_long_loops_are_drafted_from_the_text_itself():
    with dw.testing.toy_engine(
        VOCAB, context_weight=0, draft_policy="always", drafter=dw.drafters.Suffix(max_nodes=32)
    ) as engine:
        output = engine.generate([1, 2, 3], dw.SamplingParams(max_new_tokens=400))
    assert output.stats.steps < 80


def test_a_long_text_takes_bounded_memory_and_closing_gives_it_back():
    class Spy(dw.drafters.Suffix):
        def close(self, sequence):
            self.kept = self.bytes(sequence)
            super().close(sequence)
            assert self.bytes(sequence) == 0

    kept = {}
    for max_tokens in (64, 4096):
        drafter = Spy(max_tokens=max_tokens)
        with dw.testing.toy_engine(**TOY, drafter=drafter) as engine:
            output = engine.generate([1, 2, 3], dw.SamplingParams(max_new_tokens=700))
        assert output.token_ids.tolist() == ORACLE.greedy([1, 2, 3], 700)
        kept[max_tokens] = drafter.kept
    assert kept[64] <= 1.5 * 140 * 64 < kept[4096]


@pytest.mark.parametrize("name", NAMES)
def test_two_engines_may_share_a_drafter(name, index):
    shared = drafters(index)[name]
    some = prompts(6, VOCAB, seed=8)
    right = [ORACLE.greedy(prompt, 16) for prompt in some]
    wrong = []

    def run(batch):
        with dw.testing.toy_engine(**TOY, drafter=shared) as engine:
            for i in range(0, len(some), batch):
                outputs = engine.generate(some[i : i + batch], dw.SamplingParams(max_new_tokens=16))
                if [output.token_ids.tolist() for output in outputs] != right[i : i + batch]:
                    wrong.append(i)

    # Batches of different sizes, so that a draft that reaches the other engine would not fit.
    threads = [threading.Thread(target=run, args=(batch,)) for batch in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_mix_learns_whom_to_trust(index):
    class Spy(dw.drafters.Mix):
        def close(self, sequence):
            self.seen = self.weights(sequence)
            super().close(sequence)

    mix = Spy(dw.drafters.Suffix(), dw.drafters.Trigram([[t, t + 1, t + 2] for t in range(60)]))
    with dw.testing.toy_engine(VOCAB, context_weight=0, draft_policy="always", drafter=mix) as engine:
        engine.generate([1, 2, 3], dw.SamplingParams(max_new_tokens=200))
    assert mix.seen[0] > mix.seen[1]
    assert mix.weights(0) == [0.5, 0.5]


def test_what_is_wrong_is_named(tmp_path):
    kinds = dw.drafters
    tiny = dw.FMIndex.build([[1, 2]], path=tmp_path / "tiny.dwx", tier="tiny")
    full = dw.FMIndex.build([[1, 2]], path=tmp_path / "full.dwx")

    class Mine:
        def propose(self, view):
            return None

    for make, message in [
        (lambda: kinds.Suffix(-1), "min_prob must be a probability, 0 … 1, got -1"),
        (lambda: kinds.Suffix("x"), "min_prob must be a number, got 'x'"),
        (lambda: kinds.Suffix(float("nan")), "min_prob must be a probability, 0 … 1, got NaN"),
        (lambda: kinds.Suffix(10**400), "min_prob must be a number, got 1000"),
        (lambda: kinds.Suffix(max_nodes="x"), "max_nodes must be an integer, got 'x'"),
        (lambda: kinds.NGram(-1), "max_ngram must be 0 … 2147483647, got -1"),
        (lambda: kinds.NGram(17), "max_ngram must be 1 … 16, got 17"),
        (lambda: kinds.NGram(2.0), "max_ngram must be an integer, got 2.0"),
        (lambda: kinds.NGram(True), "max_ngram must be an integer, got True"),
        (lambda: kinds.NGram(2, None), "min_prob must be a number, got None"),
        (lambda: kinds.NGram(2, np.True_), "min_prob must be a number, got "),
        (lambda: kinds.NGram(max_nodes=-1), "max_nodes must be 0 … 2147483647, got -1"),
        (lambda: kinds.Trigram(iterations=-1), "iterations must be 0 … 2147483647, got -1"),
        (lambda: kinds.Trigram(depth=2**70), "depth must be 0 … 2147483647, got 1180591620717411303424"),
        (lambda: kinds.Trigram(3), "documents must be a sequence of documents, or None, got int"),
        (lambda: kinds.Trigram([[1], [[1], [2, 3]]]), r"documents\[1\] must be a sequence of integers, got list"),
        (lambda: kinds.Outputs(max_tokens=-1), "max_tokens must be 0 … 2147483647, got -1"),
        (lambda: kinds.Outputs("x"), "min_prob must be a number, got 'x'"),
        (lambda: kinds.Retrieval(None), "index must be an FMIndex, got NoneType; FMIndex.open opens a file"),
        (lambda: kinds.Retrieval(full, -1), "max_match must be 0 … 2147483647, got -1"),
        (lambda: kinds.Retrieval(full, min_match="x"), "min_match must be an integer, got 'x'"),
        (lambda: kinds.Retrieval(full, min_prob=[1]), r"min_prob must be a number, got \[1\]"),
        (lambda: kinds.Mix(None), r"drafters\[0\] must be one of draftwood.drafters, got NoneType"),
        (lambda: kinds.Mix(kinds.Suffix(), max_nodes=1.5), "max_nodes must be an integer, got 1.5"),
        (lambda: kinds.Trigram(iterations=0), "iterations must be 1 … 10000, got 0"),
        (lambda: kinds.Trigram([[1.5]]), r"documents\[0\] must be a sequence of integers, got 1 dimensions of float64"),
        (lambda: kinds.Trigram([[-1]]), r"documents\[0\] must be ids of 0 … 2\^32 − 1, got -1"),
        (lambda: kinds.Trigram(["text"]), r"documents\[0\] must be token ids, got str"),
        (lambda: kinds.Suffix(max_tokens=15), r"max_tokens must be 16 … 2\^30, got 15"),
        (
            lambda: kinds.Retrieval(full, style="REST"),
            'style must be "escape", "rest" or "suffix-decoding", got "REST"',
        ),
        (
            lambda: kinds.Retrieval(full, style="rest", factor=2),
            'the style must be "suffix-decoding" with these, got rest',
        ),
        (lambda: kinds.Retrieval(full, path=False), 'the style must be "suffix-decoding" with these, got escape'),
        (lambda: kinds.Retrieval(full, style="suffix-decoding", factor=-1), r"factor must be 0 … 10\^6, got -1"),
        (lambda: kinds.Retrieval(full, max_rows=0), r"max_rows must be 1 … 2\^20, got 0"),
        (lambda: kinds.Retrieval(full, 65), "max_match must be 1 … 64, got 65"),
        (lambda: kinds.Retrieval(full, 4, 5), "min_match must be 1 … 4"),
        (lambda: kinds.Retrieval(tiny), "compact, standard or fast for drafting, got tiny"),
        (lambda: kinds.Mix(), "the number of drafters must be 1 … 8, got 0"),
        (lambda: kinds.Outputs(max_tokens=3), r"max_tokens must be 64 … 2\^30, got 3"),
        (lambda: kinds.Mix(*[kinds.Suffix()] * 9), "the number of drafters must be 1 … 8, got 9"),
        (lambda: kinds.Mix(kinds.Suffix(), Mine()), r"drafters\[1\] must be one of draftwood.drafters, got Mine"),
        (lambda: dw.testing.toy_engine(drafter=kinds.Suffix(max_nodes=0)), "max_nodes must be 1 …"),
    ]:
        with pytest.raises(dw.InvalidArgument, match=message):
            make()


def test_settings_are_shown(index):
    kinds = dw.drafters
    assert repr(kinds.NGram(np.int64(4), np.float32(0.5))) == "NGram(max_ngram=4, min_prob=0.5)"
    assert repr(kinds.Suffix(1)) == "Suffix(min_prob=1, max_tokens=4194304)"
    assert repr(kinds.Outputs()) == "Outputs(min_prob=0.01, max_tokens=1048576)"
    assert repr(kinds.Suffix()) == "Suffix(min_prob=0.01, max_tokens=4194304)"
    assert (kinds.Suffix(0.5, 99).min_prob, kinds.Suffix(0.5, 99).max_tokens) == (0.5, 99)
    assert repr(kinds.Trigram()) == "Trigram(iterations=150, depth=4)"
    assert repr(kinds.Mix(kinds.NGram(), kinds.Retrieval(index))).startswith("Mix(NGram(max_ngram=3, min_prob=0.0")
    assert (kinds.Retrieval(index, 5).max_match, kinds.Retrieval(index).index) == (5, index)
    rest, suffixes = kinds.Retrieval(index, style="rest"), kinds.Retrieval(index, style="suffix-decoding", max_rows=9)
    assert (rest.style, rest.max_match, rest.min_match, rest.max_rows, rest.max_depth) == ("rest", 16, 2, 5000, 10)
    assert kinds.Retrieval(index, 1, style="rest").min_match == 1
    assert [kinds.Retrieval(index).max_nodes, rest.max_nodes, suffixes.max_nodes] == [16, 64, 64]
    assert repr(suffixes).endswith("style='suffix-decoding', max_rows=9, max_depth=64, factor=1, offset=0, path=False)")


def test_an_index_of_another_tokenizer_is_refused(tmp_path):
    class Letters:
        fingerprint = "ab" * 32

        def encode_plain(self, texts):
            return [np.frombuffer(text.encode(), np.uint8).astype(np.int32) for text in texts]

    index = dw.FMIndex.build(["abcab"], path=tmp_path / "a.dwx", tokenizer=Letters())
    assert index.count("ab") == 2
    index.check_tokenizer(Letters())
    other = Letters()
    other.fingerprint = "cd" * 32
    with pytest.raises(dw.IndexFormatError, match=r"built with the tokenizer cdcdcdcdcdcd…, got abababababab…"):
        dw.FMIndex.open(tmp_path / "a.dwx", tokenizer=other)


def test_past_outputs_draft_for_later_requests_within_their_bound():
    drafter = dw.drafters.Outputs(max_tokens=4096, max_nodes=16)
    mix = dw.drafters.Mix(dw.drafters.Suffix(), drafter)
    sizes = {"vocab_size": VOCAB, "context_weight": 5.0, "draft_policy": "always"}
    params = dw.SamplingParams(max_new_tokens=64)
    with dw.testing.toy_engine(**{**sizes, "drafter": mix}) as engine:
        first = engine.generate(prompts(20, VOCAB, seed=3), params)
        assert 0 < drafter.tokens <= 4096
        again = engine.generate(prompts(20, VOCAB, seed=3), params)
    for a, b in zip(first, again, strict=True):
        assert a.token_ids.tolist() == b.token_ids.tolist()
        assert b.stats.tokens_per_step > 4 > 2 > a.stats.tokens_per_step
    plain = Oracle(vocab_size=VOCAB, context_weight=5.0).greedy(prompts(20, VOCAB, seed=3)[0], 64)
    assert first[0].token_ids.tolist() == plain
    with dw.testing.toy_engine(**{**sizes, "drafter": drafter}) as engine:
        engine.generate(prompts(80, VOCAB, seed=4), params)
    assert 2048 < drafter.tokens <= 4096


def test_past_outputs_of_another_salt_are_never_drafted():
    prompt, sizes = prompts(1, VOCAB, seed=5)[0], {"vocab_size": VOCAB, "context_weight": 5.0, "draft_policy": "always"}

    def salted(salt):
        return dw.SamplingParams(max_new_tokens=64, seed=1, temperature=1.0, cache_salt=salt)

    drafter = dw.drafters.Outputs()
    with dw.testing.toy_engine(**sizes, drafter=drafter) as engine:
        first = engine.generate(prompt, salted("mine"))
        kept = drafter.tokens
        for salt in (None, "yours", "mine ", "Mine", "\ud800"):
            other = engine.generate(prompt, salted(salt))
            assert other.token_ids.tolist() == first.token_ids.tolist()
            assert other.stats.drafted == first.stats.drafted == 0, salt
        assert drafter.tokens == 6 * kept
        again = engine.generate(prompt, salted("mine"))
        assert again.token_ids.tolist() == first.token_ids.tolist()
        assert again.stats.steps < first.stats.steps / 3
    # Another engine's texts come under the same numbers: they share by their salts alone.
    with dw.testing.toy_engine(**sizes, drafter=drafter) as engine:
        assert engine.generate(prompt, salted("theirs")).stats.drafted == 0
        assert engine.generate(prompt, salted("yours")).stats.steps < first.stats.steps / 3


@pytest.mark.parametrize("salt", [7, b"bytes", "", ["a"], True])
def test_a_salt_that_is_no_string_is_refused(salt):
    with (
        dw.testing.toy_engine() as engine,
        pytest.raises(dw.InvalidArgument, match="cache_salt must be a string of at least one character, or None"),
    ):
        engine.generate([1, 2], dw.SamplingParams(cache_salt=salt))
