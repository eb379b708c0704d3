"""`FMIndex` from Python: equal to scans, whatever the ids come in; files and documents that are wrong are named."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

import numpy as np
import pytest

import draftwood as dw

TIERS = ("tiny", "compact", "standard", "fast")


def corpus(seed, alphabet=12, documents=20, longest=60):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, alphabet, int(rng.integers(0, longest))).tolist() for _ in range(documents)]


def places(documents, ids):
    n = len(ids)
    return [[d, i] for d, text in enumerate(documents) for i in range(len(text) - n + 1) if text[i : i + n] == ids]


def followers(documents, ids):
    seen = [documents[d][i + len(ids)] for d, i in places(documents, ids) if i + len(ids) < len(documents[d])]
    found, counts = np.unique(np.array(seen, int), return_counts=True)
    return found.tolist(), counts.tolist()


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("files", [1, 3])
def test_every_answer_equals_a_scan(tier, files, tmp_path):
    documents = corpus(files)
    cuts = np.linspace(0, len(documents), files + 1).astype(int)
    paths = [tmp_path / f"{i}.dwx" for i in range(files)]
    for path, a, b in zip(paths, cuts, cuts[1:], strict=False):
        dw.FMIndex.build(documents[a:b], path=path, tier=tier)
    index = dw.FMIndex.open(paths)
    index.verify()
    assert len(index) == len(documents)
    assert index.count([]) == sum(map(len, documents))
    rng = np.random.default_rng(0)
    for _ in range(60):
        text = documents[int(rng.integers(len(documents)))]
        start = int(rng.integers(len(text) + 1))
        ids = text[start : start + int(rng.integers(1, 5))]
        if not ids:
            continue
        expected = places(documents, ids)
        assert index.count(ids) == len(expected)
        assert index.count(ids, anchored=True) == sum(i == 0 for _, i in expected)
        found, counts = index.next_tokens(ids)
        assert (found.tolist(), counts.tolist()) == followers(documents, ids)
        assert (found.dtype, counts.dtype) == (np.uint32, np.uint64)
        best = sorted(zip(counts.tolist(), found.tolist(), strict=True), key=lambda pair: (-pair[0], pair[1]))[:2]
        assert index.next_tokens(ids, 2)[0].tolist() == [token for _, token in best]
        shares = index.probability(ids)[0]
        assert shares[0].tolist() == found.tolist()
        np.testing.assert_allclose(shares[1], counts / len(expected))
        if tier != "tiny":
            assert index.locate(ids, limit=1000).tolist() == expected
            assert len(index.locate(ids, limit=3)) == min(3, len(expected))
    if tier != "tiny":
        for d, text in enumerate(documents):
            assert index.extract(d).tolist() == text
            assert index.extract(d, 2, 5).tolist() == text[2:5]


def test_attribution_equals_a_scan(tmp_path):
    documents = corpus(4, alphabet=6)
    index = dw.FMIndex.build(documents, path=tmp_path / "a.dwx")
    text = np.random.default_rng(9).integers(0, 6, 80).tolist()
    for least in (1, 3, 5):
        expected = [
            (a, b)
            for a in range(len(text))
            for b in range(a + least, len(text) + 1)
            if places(documents, text[a:b])
            and (a == 0 or not places(documents, text[a - 1 : b]))
            and (b == len(text) or not places(documents, text[a : b + 1]))
        ]
        spans = index.attribute(text, min_length=least, places=1000)
        assert [(span.start, span.end) for span in spans] == expected
        for span in spans:
            assert span.places.tolist() == places(documents, text[span.start : span.end])
            assert span.count == len(span.places) > 0
            assert len(span) == span.end - span.start


def test_ids_come_in_any_form(tmp_path):
    forms = [[1, 2, 3], (1, 2, 3), np.array([1, 2, 3]), np.array([1, 2, 3], np.uint8), np.array([[1, 2, 3]]).T[:, 0]]
    index = dw.FMIndex.build(iter(forms), path=tmp_path / "a.dwx")
    for form in forms:
        assert index.count(form) == len(forms)
    assert index.count([7]) == index.count([2**32 - 1]) == 0
    assert repr(index) == "FMIndex(standard, 5 documents, 15 tokens)"


def test_documents_and_paths_that_are_wrong_are_named(tmp_path):
    def build(documents, **more):
        return dw.FMIndex.build(documents, **({"path": tmp_path / "a.dwx"} | more))

    for make, message in [
        (lambda: build(["text"]), "documents must be token ids, got strings; pass tokenizer= to encode them"),
        (lambda: build("text"), "documents must be a sequence of documents, got one string"),
        (lambda: build([[1], [1 << 20]]), r"token 0 of document 1 must be 0 … 1048575, got 1048576"),
        (lambda: build([[1], [-4]]), r"documents\[1\] must be ids of 0 … 2\^32 − 1, got -4"),
        (lambda: build([[1], [0.5]]), r"documents\[1\] must be a sequence of integers"),
        (lambda: build([[[1]]]), r"documents\[0\] must be a sequence of integers, got 2 dimensions"),
        (lambda: build([[1]], tier="huge"), 'tier must be tiny, compact, standard or fast, got "huge"'),
        (lambda: build([[1]], path=tmp_path / "no" / "a.dwx"), "the index path must be writable"),
        (lambda: build([[1]], tokenizer=3), "tokenizer must be an engine, a tokenizer or the path|tokenizer must be"),
        (lambda: dw.FMIndex.open(tmp_path / "none"), "the index file must be readable"),
        (lambda: dw.FMIndex.open([]), "the number of indexes must be at least 1, got 0"),
    ]:
        with pytest.raises(dw.InvalidArgument, match=message):
            make()
    assert list(tmp_path.iterdir()) == []


def test_queries_that_are_wrong_are_named(tmp_path):
    index = dw.FMIndex.build([[1, 2]], path=tmp_path / "a.dwx")
    tiny = dw.FMIndex.build([[1, 2]], path=tmp_path / "b.dwx", tier="tiny")
    for ask, message in [
        (lambda: index.locate([]), "ids must be at least one token"),
        (lambda: index.locate([1], -1), "limit must be 0 or more, got -1"),
        (lambda: tiny.locate([1]), "compact, standard or fast for locate, got tiny"),
        (lambda: tiny.extract(0), "compact, standard or fast for document_length, got tiny"),
        (lambda: index.count("text"), "ids must be token ids, got str; give the index a tokenizer for text"),
        (lambda: index.extract(1), "the document must be below 1"),
        (lambda: index.extract(-1), "document, start and stop must be 0 or more, got -1"),
        (lambda: index.attribute([1], 0), "min_length must be at least 1, got 0"),
        (lambda: index.attribute([1], 1, places=-1), "places must be 0 or more, got -1"),
    ]:
        with pytest.raises(dw.InvalidArgument, match=message):
            ask()


def test_damage_is_refused_with_its_place(tmp_path):
    path = tmp_path / "a.dwx"
    dw.FMIndex.build(corpus(1, documents=200), path=path)
    whole = path.read_bytes()
    for at, change in [(0, b"X"), (20, b"\xff"), (len(whole) - 1, b"\x55")]:
        path.write_bytes(whole[:at] + change + whole[at + 1 :])
        with pytest.raises(dw.IndexFormatError) as e:
            dw.FMIndex.open(path)
        assert e.value.file == str(path)
        assert isinstance(e.value.offset, int)
    path.write_bytes(whole[:-1])
    with pytest.raises(dw.IndexFormatError, match="the length of the file"):
        dw.FMIndex.open(path)
    path.write_bytes(whole[:9000] + bytes([whole[9000] ^ 1]) + whole[9001:])
    with pytest.raises(dw.IndexFormatError, match="the checksum of the block") as e:
        dw.FMIndex.open(path).verify()
    assert e.value.offset == 4096


def test_progress_is_told_and_its_exceptions_come_out(tmp_path):
    phases, parts = [], []
    index = dw.FMIndex.build([[1, 2]], path=tmp_path / "a.dwx", progress=phases.append)
    assert phases == ["tokens", "sort", "transform", "places", "lists"]
    index.verify(parts.append)
    assert parts[-1] == 1.0

    def stop(phase):
        if phase == "places":
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        dw.FMIndex.build([[1, 2]], path=tmp_path / "b.dwx", progress=stop)


def test_info_is_plain(tmp_path):
    index = dw.FMIndex.build([[1, 2], [5]], path=tmp_path / "a.dwx", tier="fast")
    told = json.loads(json.dumps(index.info()))
    assert (told["tier"], told["documents"], told["tokens"], told["fingerprint"]) == ("fast", 2, 3, None)
    assert told["bytes"] == (tmp_path / "a.dwx").stat().st_size
    assert (told["files"][0]["distinct"], told["files"][0]["sections"]["Positions"]) == (3, 4 * 5)


def test_threads_share_an_index(tmp_path):
    documents = corpus(7)
    index = dw.FMIndex.build(documents, path=tmp_path / "a.dwx")
    wrong = []

    def ask(seed):
        for ids in corpus(seed, documents=30, longest=4):
            if ids and index.locate(ids, 1000).tolist() != places(documents, ids):
                wrong.append(ids)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_processes_share_an_index(tmp_path):
    documents = corpus(8)
    path = tmp_path / "a.dwx"
    index = dw.FMIndex.build(documents, path=path)
    asked = [ids for ids in corpus(9, documents=20, longest=4) if ids]
    code = "import json, sys, draftwood as dw; i = dw.FMIndex.open(sys.argv[1])\n"
    code += "print(json.dumps([i.locate(ids, 1000).tolist() for ids in json.loads(sys.argv[2])]))"
    others = [
        subprocess.Popen([sys.executable, "-c", code, str(path), json.dumps(asked)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    expected = [places(documents, ids) for ids in asked]
    assert any(expected)
    assert [index.locate(ids, 1000).tolist() for ids in asked] == expected
    for other in others:
        assert json.loads(other.communicate()[0]) == expected


def test_documents_are_data_for_a_tokenizer(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    backend = tokenizers.Tokenizer(tokenizers.models.BPE({chr(c): i for i, c in enumerate(range(33, 127))}, []))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    backend.add_special_tokens(["<end>"])
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>")
    documents = ["abc<end>abc", "", "xabc"]
    index = dw.FMIndex.build(documents, path=tmp_path / "a.dwx", tokenizer=fast)
    assert index.count("abc") == 3
    assert index.count("<end>") == 1
    assert index.count([backend.token_to_id("<end>")]) == 0
    assert index.fingerprint == dw.FMIndex.open(tmp_path / "a.dwx", tokenizer=fast).fingerprint
    assert index.tokenizer.decode(index.extract(2)) == "xabc"
