"""Scorers over hidden states: native and transformers show the states of the model, and find the same texts."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import draftwood as dw
from support.beams import assert_close, shape

torch = pytest.importorskip("torch")

from support.hf_tiny import tiny_model  # noqa: E402
from support.seq2seq import sources, tiny  # noqa: E402

VOCAB, WIDTH = 96, 64
PARAMS = dw.BeamParams(num_beams=4, num_return=4, max_new_tokens=8, eos_token_id=[9, 30], scorer_top_k=3)


class Probe:
    """The log of a linear classifier's probability; notes what it read and said."""

    needs_hidden = True

    def __init__(self, width):
        self.vector = np.random.default_rng(1).standard_normal(width).astype(np.float32) / np.sqrt(width)
        self.calls = []

    def log_prob(self, ids, hidden=None):
        scores = -np.log1p(np.exp(-(hidden @ self.vector) * 4))
        self.calls.append(([tuple(one) for one in ids], hidden, scores))
        return scores


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    sizes = {"hidden": WIDTH, "feed_forward": 128, "heads": 4, "kv_heads": 2}
    return tiny_model("llama", VOCAB, seed=5, **sizes)


def test_native_and_transformers_show_the_states_of_the_model(model):
    rng = np.random.default_rng(2)
    some = [rng.integers(0, VOCAB, n).tolist() for n in (3, 17, 40)]
    read, changed = {}, 0
    for executor in ("native", "transformers"):
        with dw.Engine(model, executor=executor, drafter=None) as engine:
            probes = [Probe(WIDTH) for _ in some]
            each = [dataclasses.replace(PARAMS, scorer=probe) for probe in probes]
            found = engine.beam_search(some, each)
            read[executor] = found, probes
            for beams, probe, prompt in zip(found, probes, some, strict=True):
                assert len(probe.calls) == beams.stats.beam_steps == beams.stats.steps
                plain = engine.beam_search(prompt, PARAMS)
                changed += shape(beams) != shape(plain)
                for ids, hidden, _ in probe.calls:
                    assert hidden.shape == (len(ids), WIDTH) and hidden.dtype == np.float32
                    texts = torch.tensor([[*prompt, *one] for one in ids])
                    with torch.inference_mode():
                        right = model.model(texts).last_hidden_state[:, -1].numpy()
                    assert np.abs(hidden - right).max() < 1e-4 * max(1.0, float(np.abs(right).max()))
    assert changed >= 4
    for (ours, probe), (theirs, other) in zip(
        zip(*read["native"], strict=True), zip(*read["transformers"], strict=True), strict=True
    ):
        assert_close(shape(ours), shape(theirs))
        for (ids, _, scores), (same, _, others) in zip(probe.calls, other.calls, strict=True):
            assert ids == same
            assert np.abs(scores - others).max() < 1e-4


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_encoder_decoders_have_them_too(family):
    translator, some = tiny(family), sources(family, 2)
    width = translator.config.d_model
    with dw.Engine(translator, drafter=None) as engine:
        for prompt in some:
            probe = Probe(width)
            found = engine.beam_search(prompt, dataclasses.replace(PARAMS, scorer=probe))
            assert found.error is None and len(probe.calls) == found.stats.steps
            start = translator.config.decoder_start_token_id
            ids, hidden, _ = probe.calls[-1]
            with torch.inference_mode():
                texts = torch.tensor([[start, *one] for one in ids])
                right = translator.get_decoder()(
                    input_ids=texts,
                    encoder_hidden_states=translator.get_encoder()(torch.tensor([prompt])).last_hidden_state.expand(
                        len(ids), -1, -1
                    ),
                ).last_hidden_state[:, -1]
            assert np.abs(hidden - right.numpy()).max() < 1e-4 * max(1.0, float(right.abs().max()))
        stats = engine.stats()
        assert stats.pages_free == stats.pages_total and not engine.executor.sources
