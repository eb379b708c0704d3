"""`InCorpus` over transformers modules: greedy texts and beams are those of masks over full runs without a cache."""

from __future__ import annotations

import numpy as np
import pytest

import draftwood as dw
from support.hf_tiny import tiny_model
from support.toy import prompts

torch = pytest.importorskip("torch")
VOCAB = 64


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def model(request):
    torch.set_num_threads(1)
    module = tiny_model(request.param, VOCAB, seed=4, hidden=64, feed_forward=96, heads=4, kv_heads=2)
    with dw.Engine(module, executor="transformers") as engine:
        yield module, engine


def log_probs(module, text):
    with torch.no_grad():
        return torch.log_softmax(module(torch.tensor([text])).logits[0, -1].double(), -1).numpy()


def following(documents, said):
    found = set()
    for document in documents:
        for at in range(len(document) - len(said)):
            if document[at : at + len(said)] == said:
                found.add(document[at + len(said)])
    return sorted(found)


def masked_beams(module, documents, prompt, width, steps):
    live = [([], 0.0)]
    for _ in range(steps):
        longer = []
        for said, score in live:
            row = log_probs(module, [*prompt, *said])
            longer += [([*said, token], score + row[token]) for token in following(documents, said)]
        if not longer:
            break
        live = sorted(longer, key=lambda one: -one[1])[:width]
    return live


def test_texts_are_those_of_a_mask(model, tmp_path):
    module, engine = model
    rng = np.random.default_rng(1)
    documents = [rng.integers(0, 16, 60).tolist() for _ in range(8)]
    rule = dw.search.InCorpus(dw.FMIndex.build(documents, path=tmp_path / "a.dwx"))
    differs = 0
    for prompt in prompts(5, VOCAB, seed=2, longest=12):
        (greedy, _) = masked_beams(module, documents, prompt, 1, 8)[0]
        out = engine.generate(prompt, dw.SamplingParams(max_new_tokens=8, processors=[rule]))
        assert out.token_ids.tolist() == greedy
        differs += greedy[0] != int(np.argmax(log_probs(module, prompt)))
        params = dw.BeamParams(num_beams=3, num_return=3, max_new_tokens=5, length_penalty=0.0, processors=[rule])
        expected = masked_beams(module, documents, prompt, 3, 5)
        assert len(expected) == 3 and all(len(said) == 5 for said, _ in expected)
        found = engine.beam_search(prompt, params)
        assert [beam.token_ids.tolist() for beam in found] == [said for said, _ in expected]
        assert np.allclose([beam.score for beam in found], [score for _, score in expected], atol=1e-3)
    assert differs  # the model alone says something else
