"""`draftwood index`: from files to an index, what it shows, and what it refuses."""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

import draftwood as dw
from draftwood.errors import InvalidArgument
from draftwood.retrieval.corpora import read_documents

Command = Callable[..., Result]
tokenizers = pytest.importorskip("tokenizers")


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A tokenizer.json with one token per printable character."""
    letters = {char: i for i, char in enumerate(string.ascii_letters + string.punctuation + "ĠĊ")}
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(letters, []))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    path = tmp_path / "tokenizer.json"
    backend.save(str(path))
    return str(path)


@pytest.fixture
def built(command: Command, model: str, tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("the cat sat\n\nthe cat ran\nthe dog sat\n")
    out = tmp_path / "a.dwx"
    result = command("index", "build", str(out), str(tmp_path / "a.txt"), "--model", model, "--split", "paragraph")
    assert result.exit_code == 0, result.stderr
    assert "2 documents, 34 tokens" in result.stdout
    assert "sorting" in result.stderr
    return out


def test_a_search_shows_count_followers_and_places(command: Command, built: Path, model: str) -> None:
    result = command("index", "search", str(built), "the ", "--model", model, "--context", "3")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == [
        "3 occurrences", "followed by 'c' 2, 'd' 1", "0:0  the cat", "1:0  the cat", "1:12  an the dog",
    ]  # fmt: skip
    told = json.loads(command("index", "search", str(built), "cat", "--model", model, "--json").stdout)
    assert (told["count"], told["followers"]) == (2, [{"id": told["followers"][0]["id"], "text": " ", "count": 2}])
    assert told["places"][0] == {"document": 0, "offset": 4, "before": "the ", "match": "cat", "after": " sat"}
    absent = command("index", "search", str(built), "cow", "--model", model)
    assert (absent.exit_code, absent.stdout) == (1, "0 occurrences\n")


def test_several_files_and_the_tiny_tier(command: Command, built: Path, model: str, tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_text('{"body": "a cat"}\n\n{"body": "no dog"}\n')
    tiny = tmp_path / "b.dwx"
    told = json.loads(
        command(
            "index", "build", str(tiny), str(tmp_path / "b.jsonl"), "--model", model, "--field", "body", "--tier",
            "tiny", "--json",
        ).stdout
    )  # fmt: skip
    assert (told["documents"], told["tokens"], told["tier"]) == (2, 11, "tiny")
    result = command("index", "search", str(built), "cat", "--also", str(tiny), "--model", model)
    assert result.stdout.startswith("3 occurrences\n")
    assert "does not know where" in result.stdout
    told = json.loads(command("index", "info", str(built), str(tiny), "--json").stdout)
    assert told["documents"] == 4
    assert len(told["files"]) == 2
    shown = command("index", "info", str(built)).stdout
    assert "LowBits" in shown
    assert "standard" in shown


def test_verify(command: Command, built: Path) -> None:
    result = command("index", "verify", str(built))
    assert (result.exit_code, result.stdout) == (0, f"{built}: all checksums are right\n")
    whole = built.read_bytes()
    built.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    result = command("index", "verify", str(built), "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["class"] == "IndexFormatError"
    assert "the checksum of the block" in result.stderr


def test_what_is_wrong_is_one_line(command: Command, built: Path, model: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"text": "fine"}\n{"text": 3}\n')
    out = str(tmp_path / "c.dwx")
    for arguments, message in [
        (("build", out, str(tmp_path / "none.txt"), "--model", model), "No such file"),
        (("build", out, str(bad), "--model", model), "line 2 must be an object with a string 'text', got int"),
        (("build", out, str(built), "--model", model, "--split", "word"), "split must be one of file, paragraph, line"),
        (("build", out, str(bad), "--model", str(tmp_path / "none")), "the tokenizer must be"),
        (("build", out, str(built), "--model", model, "--tier", "big"), "tier must be tiny, compact, standard or fast"),
        (("info", str(bad)), "must be at least 4096 bytes long"),
        (("search", str(built), "", "--model", model), "the text must be at least one token"),
        (("search", str(built), "a", "--model", model, "--limit", "-1"), "--limit must be 0 or more"),
    ]:
        result = command("index", *arguments)
        assert result.exit_code == 2, arguments
        assert message in " ".join(result.stderr.split()), result.stderr
        assert "Traceback" not in result.stderr
    assert not Path(out).exists()


def test_an_index_of_another_tokenizer_is_refused(command: Command, built: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    backend = tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0}, []))
    backend.decoder = tokenizers.decoders.ByteLevel()
    backend.save(str(other / "tokenizer.json"))
    result = command("index", "search", str(built), "a", "--model", str(other))
    assert result.exit_code == 2
    assert "the index must be built with the tokenizer" in result.stderr


def test_documents_are_cut_as_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\ntwo\r\n\n \nthree \xff\n")
    read: list[int] = []
    assert list(read_documents([path], progress=read.append)) == ["one\ntwo\r\n\n \nthree \ufffd\n"]
    assert sum(read) == path.stat().st_size
    assert list(read_documents([path], split="line")) == ["one", "two", " ", "three \ufffd"]
    assert list(read_documents([path, path], split="paragraph")) == ["one\ntwo", "three \ufffd"] * 2
    with pytest.raises(InvalidArgument, match="a file of documents must be readable"):
        list(read_documents([tmp_path]))


def test_the_drafter_refuses_a_model_of_another_tokenizer(built: Path) -> None:
    drafter = dw.drafters.Mix(dw.drafters.Suffix(), dw.drafters.Retrieval(dw.FMIndex.open(built)))

    class Other:
        fingerprint = "00" * 32

    with pytest.raises(dw.IndexFormatError, match="built with the tokenizer 000000000000…"):
        drafter.check_tokenizer(Other())
