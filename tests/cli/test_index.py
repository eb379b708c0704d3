"""`draftwood index`: from files to an index, what it shows, and what it refuses."""

from __future__ import annotations

import json
import re
import string
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

import draftwood as dw
from draftwood.errors import InvalidArgument, UnsupportedModel
from draftwood.retrieval import Fields, read_documents, spill
from support.terminals import in_a_terminal

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
    source = built.with_name("a.txt")
    result = command("index", "search", str(built), "the ", "--model", model, "--context", "3")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == [
        "3 occurrences", "followed by 'c' 2, 'd' 1", f"{source}:1 at 0  the cat",
        f"{source}:3 at 0  the cat", f"{source}:3 at 12  an the dog",
    ]  # fmt: skip
    told = json.loads(command("index", "search", str(built), "cat", "--model", model, "--json").stdout)
    assert (told["count"], told["followers"]) == (2, [{"id": told["followers"][0]["id"], "text": " ", "count": 2}])
    assert told["places"][0] == {
        "document": 0, "id": f"{source}:1", "title": None, "offset": 4, "before": "the ", "match": "cat",
        "after": " sat",
    }  # fmt: skip
    absent = command("index", "search", str(built), "cow", "--model", model)
    assert (absent.exit_code, absent.stdout) == (1, "0 occurrences\n")


def test_whoever_watches_sees_a_bar(built: Path, model: str) -> None:
    out, source = str(built.with_name("b.dwx")), str(built.with_name("a.txt"))
    seen = in_a_terminal("index", "build", out, source, "--model", model, "--split", "paragraph")
    # The bar names the phase and the time; it has gone, and the cursor is back, when the result is told.
    bar, told = seen[: seen.rindex("\x1b[?25h")], seen[seen.rindex("\x1b[?25h") :]
    lines = [line for line in re.split(r"[\r\n]+", bar) if "━" in line]
    assert any("reading" in line for line in lines), seen
    assert any("listing" in line for line in lines), seen
    assert all(re.search(r"\d:\d\d:\d\d", line) for line in lines), seen
    assert "\x1b[2K" in told
    assert "2 documents, 34 tokens" in " ".join(told.split())
    assert "━" not in told
    seen = in_a_terminal("index", "verify", out, COLUMNS="200")  # room for the path and the bar
    assert "verifying" in seen
    assert "━" in seen
    assert seen.rstrip().endswith("all checksums are right")


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
        (("search", str(built), "a", "--model", model, "--limit", "-1"), "--limit must be 0 …"),
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
    assert list(read_documents([path], progress=read.append)) == [(str(path), None, "one\ntwo\r\n\n \nthree \ufffd\n")]
    assert sum(read) == path.stat().st_size
    lines = [(1, "one"), (2, "two"), (4, " "), (5, "three \ufffd")]
    assert list(read_documents([path], split="line")) == [(f"{path}:{n}", None, text) for n, text in lines]
    paragraphs = [(f"{path}:1", None, "one\ntwo"), (f"{path}:5", None, "three \ufffd")]
    assert list(read_documents([path, path], split="paragraph")) == paragraphs * 2
    with pytest.raises(InvalidArgument, match="a file of documents must be readable"):
        list(read_documents([tmp_path]))


ROWS = [
    {"n": 7, "name": "First", "body": "the cat"},
    {"n": 8, "name": "", "body": ""},
    {"n": 9, "name": "Über", "body": "a dog"},
]


def write_rows(path: Path, rows: list[dict[str, object]]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pyarrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=2)
    return path


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_rows_are_documents_with_ids_and_titles(kind: str, tmp_path: Path) -> None:
    path = write_rows(tmp_path / f"a.{kind}", ROWS)
    read: list[int] = []
    found = list(read_documents([path], fields=Fields("body", "n", "name"), progress=read.append))
    assert found == [("7", "First", "the cat"), ("8", "", ""), ("9", "Über", "a dog")]
    assert sum(read) == path.stat().st_size
    first = 1 if kind == "jsonl" else 0
    assert [one[:2] for one in read_documents([path], fields=Fields("body"))][2] == (f"{path}:{first + 2}", None)
    with pytest.raises(InvalidArgument, match="--field, --id-field and --title-field name others"):
        list(read_documents([path], fields=Fields("text")))
    numbers = write_rows(tmp_path / f"b.{kind}", [{"text": "x", "n": 0.5}])
    with pytest.raises(InvalidArgument, match=r"b\.\w+, (line 1|row 0) must be an object with a string 'n', got float"):
        list(read_documents([numbers], fields=Fields(id="n")))
    path.write_bytes(b"PAR1 no rows at all PAR1")
    with pytest.raises(InvalidArgument, match=f"a.{kind}.* must be a (JSON object|Parquet file), got"):
        list(read_documents([path]))


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "a.parquet").write_bytes(b"")
    with pytest.raises(UnsupportedModel, match=r"pip install draftwood\[parquet\]"):
        list(read_documents([tmp_path / "a.parquet"]))


def test_titles_can_be_searched_and_an_interrupted_build_goes_on(
    command: Command, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"n": d, "name": string.ascii_letters[d], "body": "word " * 200} for d in range(40)]
    source, out = write_rows(tmp_path / "a.jsonl", rows), tmp_path / "a.dwx"
    monkeypatch.setattr(spill, "_CHUNK_BYTES", 4000)
    arguments = ("index", "build", str(out), str(source), "--model", model, "--field", "body")
    named = (*arguments, "--id-field", "n", "--title-field", "name")

    def fails(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(spill, "_push", fails)
        assert command(*named).exit_code == 130
    assert "others from document 0 on" in command(*arguments).stderr
    result = command(*named)
    assert result.exit_code == 0, result.stderr
    assert "an interrupted build is there" in result.stderr
    index = dw.FMIndex.open(out, tokenizer=model)
    assert index.name(3) == ("3", "d")
    assert index.count(" d @@", anchored=True) == 1
    assert command(*arguments, "--restart").exit_code == 0
    assert dw.FMIndex.open(out).name(3) == (f"{source}:4", None)


def test_the_drafter_refuses_a_model_of_another_tokenizer(built: Path) -> None:
    drafter = dw.drafters.Mix(dw.drafters.Suffix(), dw.drafters.Retrieval(dw.FMIndex.open(built)))

    class Other:
        fingerprint = "00" * 32

    with pytest.raises(dw.IndexFormatError, match="built with the tokenizer 000000000000…"):
        drafter.check_tokenizer(Other())
