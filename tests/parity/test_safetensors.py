"""safetensors: files and sharded folders as the Python package `safetensors` and transformers write them."""

from __future__ import annotations

import json

import numpy as np
import pytest

import draftwood as dw
from draftwood import _core

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")


def values(file, name, count):
    out = np.full(count, np.nan, np.float32)
    file.dequantize(name, out)
    return torch.from_numpy(out)


def test_tensors_of_every_type_equal_those_of_the_package(tmp_path):
    generator = torch.Generator().manual_seed(0)
    kinds = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    tensors = {
        f"{kind}.{i}": torch.randn(shape, generator=generator).to(dtype)
        for kind, dtype in kinds.items()
        for i, shape in enumerate([(), (7,), (3, 5), (2, 1, 4), (300, 300)])
    }
    tensors |= {"mask": torch.ones(3, dtype=torch.bool), "empty": torch.zeros(0, 4), "ids": torch.arange(3)}
    safetensors.save_file(tensors, tmp_path / "x.safetensors", {"format": "pt"})
    file = _core.SafeTensors.open(tmp_path / "x.safetensors")
    assert file.files() == [str(tmp_path / "x.safetensors")]
    listed = {name: (shape, kind) for name, shape, kind in file.tensors()}
    assert listed.pop("ids") == ((3,), "I64")
    assert "mask" not in listed
    for name, (shape, kind) in listed.items():
        tensor = tensors[name]
        assert (shape, kinds[kind]) == (tuple(tensor.shape), tensor.dtype)
        assert torch.equal(values(file, name, tensor.numel()), tensor.float().reshape(-1)), name
    assert set(listed) == set(tensors) - {"ids", "mask"}
    for name, words in (("ids", "I64"), ("mask", "BOOL")):
        with pytest.raises(dw.UnsupportedModel, match=words):
            values(file, name, 3)
    with pytest.raises(dw.errors.ModelFormatError, match='tensor "nothing" must be in the file'):
        values(file, "nothing", 3)


def test_a_sharded_folder_of_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=256,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        tie_word_embeddings=False,
    )
    module = transformers.LlamaForCausalLM(config)
    module.save_pretrained(tmp_path, max_shard_size="150KB")
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    file = _core.SafeTensors.open(tmp_path)
    assert len(file.files()) == len(set(index["weight_map"].values())) > 1
    state = module.state_dict()
    assert {name for name, _, _ in file.tensors()} == set(state)
    for name, shape, kind in file.tensors():
        assert (shape, kind) == (tuple(state[name].shape), "F32")
        assert torch.equal(values(file, name, state[name].numel()).reshape(shape), state[name])


def test_damaged_headers_are_refused_or_read_as_by_the_package(tmp_path):
    path = tmp_path / "x.safetensors"
    safetensors.save_file({"a": torch.zeros(2, 3), "b": torch.ones(4, dtype=torch.bfloat16)}, path)
    sound = path.read_bytes()
    header = 8 + int.from_bytes(sound[:8], "little")
    rng = np.random.default_rng(0)
    outcomes = {True: 0, False: 0}
    for _ in range(2000):
        data = bytearray(sound)
        at = int(rng.integers(0, header))
        data[at] = int(rng.choice([data[at] ^ 1, *b'0123456789{}[]",: ']))
        path.write_bytes(data)
        try:
            theirs = {name: tuple(tensor.shape) for name, tensor in safetensors.load_file(path).items()}
        except Exception:
            theirs = None
        try:
            file = _core.SafeTensors.open(path)
        except (dw.errors.ModelFormatError, dw.UnsupportedModel) as error:
            assert theirs is None, (error, bytes(data))
            assert 0 <= error.offset <= header
            outcomes[False] += 1
            continue
        ours = {name: shape for name, shape, _ in file.tensors()}
        assert theirs is None or all(theirs[name] == shape for name, shape in ours.items())
        outcomes[True] += 1
    assert min(outcomes.values()) > 20, outcomes
