"""`FMIndex` from Python: equal to scans, whatever the ids come in; files and documents that are wrong are named."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

import numpy as np
import pytest

import draftwood as dw
from draftwood.retrieval.corpora import read_documents

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
        (lambda: build([[1]], tier=None), "tier must be tiny, compact, standard or fast, got None"),
        (lambda: build([[1]], path=None), "path must be a string or a path, got NoneType"),
        (lambda: build([[1]], path=b"a.dwx"), "path must be a string or a path, got bytes"),
        (lambda: build([[1]], path=tmp_path / "a\0.dwx"), "path must be a path without NUL characters"),
        (lambda: build([[1]], tier=10**5000), "tier must be .*, got a value of type int that cannot be shown"),
        (lambda: build([(10**5000, "", [1])]), r"the id of documents\[0\] must be a number of at most 4,300 digits"),
        (lambda: build([[1]], path="\ud800"), "path must be a path without NUL characters and lone surrogates"),
        (lambda: list(read_documents("a.txt")), "paths must be a sequence of paths, got one; put it into a list"),
        (lambda: list(read_documents([3])), r"paths\[0\] must be a string or a path, got int"),
        (lambda: list(read_documents([], split=[])), "split must be one of file, paragraph, line, got "),
        (lambda: build([[1]], resume="no"), "resume must be True or False, got 'no'"),
        (lambda: build([[1]], progress=3), "progress must be a function or None, got int"),
        (lambda: build([[1]], title_end=3), "title_end must be a sequence of integers, got 0 dimensions"),
        (lambda: build(None), "documents must be a sequence of documents, got NoneType"),
        (lambda: build(3), "documents must be a sequence of documents, got int"),
        (lambda: build([[[1], [2, 3]]]), r"documents\[0\] must be a sequence of integers, got list that is no array"),
        (lambda: build([[True]]), r"documents\[0\] must be a sequence of integers, got 1 dimensions of bool"),
        (lambda: dw.FMIndex.open([]), "the number of indexes must be at least 1, got 0"),
        (lambda: dw.FMIndex.open(3), "path must be the path of an index file, or a list of them, got int"),
        (lambda: dw.FMIndex.open([None]), r"path\[0\] must be a string or a path, got NoneType"),
        (lambda: dw.FMIndex.open(tmp_path), "the index file must be a regular file"),
        (lambda: dw.FMIndex.open("a\0"), "path.* must be a path without NUL characters"),
    ]:
        with pytest.raises(dw.InvalidArgument, match=message):
            make()
    assert list(tmp_path.iterdir()) == []


def test_queries_that_are_wrong_are_named(tmp_path):
    index = dw.FMIndex.build([[1, 2]], path=tmp_path / "a.dwx")
    tiny = dw.FMIndex.build([[1, 2]], path=tmp_path / "b.dwx", tier="tiny")
    for ask, message in [
        (lambda: index.locate([]), "ids must be at least one token"),
        (lambda: index.locate([1], -1), "limit must be 0 … 9223372036854775807, got -1"),
        (lambda: index.locate([1], 2**70), "limit must be 0 … 9223372036854775807, got 1180591620717411303424"),
        (lambda: index.locate([1], 10**5000), "limit must be 0 … 9223372036854775807, got a value of type int that"),
        (lambda: index.count([1], anchored=10**5000), "anchored must be True or False, got a value of type int that"),
        (lambda: index.locate([1], "x"), "limit must be an integer, got 'x'"),
        (lambda: index.locate([1], True), "limit must be an integer, got True"),
        (lambda: index.locate([1], np.True_), "limit must be an integer, got "),
        (lambda: index.locate([1], np.array([1, 2])), r"limit must be an integer, got array\(\[1, 2\]\)"),
        (lambda: index.locate([1], anchored=1), "anchored must be True or False, got 1"),
        (lambda: index.count([1], anchored="yes"), "anchored must be True or False, got 'yes'"),
        (lambda: index.count([[1], [2, 3]]), "ids must be a sequence of integers, got list that is no array"),
        (lambda: index.count([2**70]), "ids must be a sequence of integers, got 1 dimensions of object"),
        (lambda: index.count([np.nan]), "ids must be a sequence of integers, got 1 dimensions of float64"),
        (lambda: index.count([[1]]), "ids must be a sequence of integers, got 2 dimensions of int64"),
        (lambda: index.count(None), "ids must be a sequence of integers, got 0 dimensions of object"),
        (lambda: index.count({1}), "ids must be a sequence of integers, got 0 dimensions of object"),
        (lambda: index.counts([[1], "text"]), r"ngrams\[1\] must be token ids, got str; give the index a tokenizer"),
        (lambda: index.counts([[1], [-2]]), r"ngrams\[1\] must be ids of 0 … 2\^32 − 1, got -2"),
        (lambda: index.counts([1, 2]), r"ngrams\[0\] must be a sequence of integers, got 0 dimensions of int64"),
        (lambda: index.counts(np.ones((2, 2))), "ngrams must be a sequence of integers, got 1 dimensions of float64"),
        (lambda: index.counts("text"), "ngrams must be a sequence of n-grams, got one string; put it into a list"),
        (lambda: index.counts(7), "ngrams must be a sequence of n-grams, got int"),
        (lambda: index.counts([[1]], anchored=None), "anchored must be True or False, got None"),
        (lambda: index.next_tokens([1], -1), "top must be 0 … 9223372036854775807, got -1"),
        (lambda: index.next_tokens([1], 1.5), "top must be an integer, got 1.5"),
        (lambda: index.next_tokens([1], anchored=0), "anchored must be True or False, got 0"),
        (lambda: index.probability([1], "x"), "next must be an integer, got 'x'"),
        (lambda: index.probability([1], 2**32), "next must be 0 … 4294967295, got 4294967296"),
        (lambda: index.name(2**70), "the document must be 0 … 9223372036854775807, got 1180591620717411303424"),
        (lambda: index.name(1), "the document must be below 1"),
        (lambda: index.name(-1), "the document must be 0 … 9223372036854775807, got -1"),
        (lambda: index.name(None), "the document must be an integer, got None"),
        (lambda: index.document("a"), "the document must be an integer, got 'a'"),
        (lambda: index.extract(0, 1.5), "start must be an integer, got 1.5"),
        (lambda: index.extract(0, 0, "x"), "stop must be an integer, got 'x'"),
        (lambda: index.extract(0, -1), "start must be 0 … 9223372036854775807, got -1"),
        (lambda: index.attribute([1], 2**70), "min_length must be 0 … 9223372036854775807, got 1180591620717411303424"),
        (lambda: index.attribute([1], np.nan), "min_length must be an integer, got nan"),
        (lambda: index.verify(3), "progress must be a function or None, got int"),
        (lambda: tiny.locate([1]), "compact, standard or fast for locate, got tiny"),
        (lambda: tiny.extract(0), "compact, standard or fast for document_length, got tiny"),
        (lambda: index.count("text"), "ids must be token ids, got str; give the index a tokenizer for text"),
        (lambda: index.extract(1), "the document must be below 1"),
        (lambda: index.extract(-1), "the document must be 0 … 9223372036854775807, got -1"),
        (lambda: index.attribute([1], 0), "min_length must be at least 1, got 0"),
        (lambda: index.attribute([1], 1, places=-1), "places must be 0 … 9223372036854775807, got -1"),
    ]:
        with pytest.raises(dw.InvalidArgument, match=message) as e:
            ask()
        assert e.value.what
        assert e.value.expected
        assert e.value.got
        assert e.value.hint is not None


def test_numbers_of_numpy_are_numbers(tmp_path):
    index = dw.FMIndex.build([[1, 2, 1], [1]], path=tmp_path / "a.dwx")
    for one in (np.int8(1), np.uint64(1), np.array(1)):
        assert index.locate([1], one).tolist() == index.locate([1], 1).tolist()
        assert index.next_tokens([1], one)[0].tolist() == [2]
        assert index.probability([1], np.int64(2)) == (1 / 3, 1)
        assert index.extract(one, np.int16(0)).tolist() == [1]
        assert index.document(one).number == 1
        assert len(index.attribute([1, 2], one, places=one)) == 1
    assert index.count([1], anchored=np.True_) == 2
    assert index.locate([1], 2**63 - 1).tolist() == [[0, 0], [0, 2], [1, 0]]
    assert index.extract(0, 2**40, 2**40).tolist() == []


def test_many_counts_at_once_equal_one_by_one(tmp_path):
    documents = corpus(11, alphabet=5, documents=40)
    paths = [tmp_path / f"{i}.dwx" for i in range(2)]
    for path, part in zip(paths, (documents[:7], documents[7:]), strict=True):
        dw.FMIndex.build(part, path=path, tier="tiny")
    index = dw.FMIndex.open(paths)
    asked = [*corpus(12, alphabet=6, documents=200, longest=5), [], [9], [2**32 - 1]]
    for anchored in (False, True):
        expected = [index.count(ids, anchored=anchored) for ids in asked]
        assert expected[-3:] == [40 if anchored else sum(map(len, documents)), 0, 0]
        found = index.counts(asked, anchored=anchored)
        assert (found.tolist(), found.dtype) == (expected, np.uint64)
        assert index.counts(map(tuple, asked), anchored=anchored).tolist() == expected
    pairs = np.random.default_rng(0).integers(0, 5, (300, 2))
    expected = [len(places(documents, pair.tolist())) for pair in pairs]
    for form in (pairs, pairs.astype(np.uint8), np.asfortranarray(pairs), pairs.tolist(), list(pairs)):
        assert index.counts(form).tolist() == expected
    assert index.counts([]).tolist() == index.counts(np.zeros((0, 3), np.int64)).tolist() == []
    assert index.counts(np.zeros((2, 0), np.int64)).tolist() == [sum(map(len, documents))] * 2


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
    assert index.counts(["abc", "zz", [index.tokenizer.encode_plain(["x"])[0][0]], "bc<"]).tolist() == [3, 0, 1, 1]
    assert index.fingerprint == dw.FMIndex.open(tmp_path / "a.dwx", tokenizer=fast).fingerprint
    assert index.tokenizer.decode(index.extract(2)) == "xabc"
