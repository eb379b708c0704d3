"""Builds that are killed: they resume or refuse, and no half index is ever opened. What is spilled changes nothing."""

from __future__ import annotations

import random
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

import draftwood as dw
from draftwood.retrieval import spill


class Counting:
    """A tokenizer of bytes that counts what it encodes."""

    fingerprint = "ab" * 32

    def __init__(self):
        self.encoded = 0

    def encode_plain(self, texts):
        self.encoded += len(texts)
        return [np.frombuffer(text.encode(), np.uint8).astype(np.int32) for text in texts]


def documents(count=400):
    """Text with and without titles, and ids."""
    rng = np.random.default_rng(0)
    for d in range(count):
        text = "".join(map(chr, rng.integers(97, 110, 200)))
        yield [text, (f"id{d}", f"Title {d}", text), (d, None, text), rng.integers(0, 90, 200)][d % 4]


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(spill, "_CHUNK_BYTES", 8000)


def build(path, given=None, tokenizer=None, **more):
    given = documents() if given is None else given
    return dw.FMIndex.build(given, path=path, tokenizer=tokenizer or Counting(), **more)


def test_a_spilled_build_is_the_same_file(tmp_path, monkeypatch):
    build(tmp_path / "whole.dwx")
    monkeypatch.setattr(spill, "_CHUNK_BYTES", 8000)
    index = build(tmp_path / "spilled.dwx")
    assert (tmp_path / "spilled.dwx").read_bytes() == (tmp_path / "whole.dwx").read_bytes()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["spilled.dwx", "whole.dwx"]
    assert (index.name(1), index.name(2), index.name(3)) == (("id1", "Title 1"), ("2", None), (None, None))
    assert bytes(index.title_end) == b" @@"
    assert bytes(index.extract(1).tolist()).startswith(b" Title 1 @@ ")
    monkeypatch.setattr(spill, "_CHUNK_DOCUMENTS", 7)
    build(tmp_path / "counted.dwx")
    assert (tmp_path / "counted.dwx").read_bytes() == (tmp_path / "whole.dwx").read_bytes()


class Stop(Exception):
    pass


def stopping(after):
    for number, one in enumerate(documents()):
        if number == after:
            raise Stop
        yield one


def test_what_is_spilled_is_not_encoded_again(tmp_path, small_chunks):
    path, whole = tmp_path / "a.dwx", tmp_path / "whole.dwx"
    all_of_it = Counting()
    build(whole, tokenizer=all_of_it)
    with pytest.raises(Stop):
        build(path, stopping(300))
    assert not path.exists()
    chunks = sorted((tmp_path / "a.dwx.partial").glob("*.chunk"))
    assert len(chunks) > 5
    chunks[2].write_bytes(chunks[2].read_bytes()[:-1])  # a broken disk: made again
    resumed = Counting()
    build(path, tokenizer=resumed)
    assert 0 < resumed.encoded < all_of_it.encoded / 2
    assert path.read_bytes() == whole.read_bytes()
    assert not (tmp_path / "a.dwx.partial").exists()


def test_other_documents_and_other_tokenizers_are_refused(tmp_path, small_chunks):
    path = tmp_path / "a.dwx"
    with pytest.raises(Stop):
        build(path, stopping(300))
    changed = [*documents()]
    changed[148] = changed[148][:-1] + "z"  # as long as before, and no name tells
    assert isinstance(changed[148], str)
    other = Counting()
    other.fingerprint = "cd" * 32
    for given, tokenizer, message in [
        (changed, None, "the documents must be those of the build in .*a.dwx.partial that was interrupted, got others"),
        (None, other, "got others from document 0 on; resume=False"),
        ([*documents()][:1], None, "got others from document 0 on"),
    ]:
        with pytest.raises(dw.InvalidArgument, match=message):
            build(path, given, tokenizer)
    one_chunk = next(spill._chunks(documents()))
    with pytest.raises(dw.InvalidArgument, match=f"got only {len(one_chunk)}"):
        build(path, [*documents()][: len(one_chunk)])
    assert not path.exists()
    build(path, changed, resume=False)
    assert [one.name for one in tmp_path.iterdir()] == ["a.dwx"]


def test_one_build_at_a_time(tmp_path, small_chunks):
    def nested():
        yield from documents()
        with pytest.raises(dw.InvalidArgument, match="built by one process at a time"):
            build(tmp_path / "a.dwx")

    build(tmp_path / "a.dwx", nested())


CHILD = textwrap.dedent("""
    import sys
    sys.path.insert(0, {tests!r})
    sys.path.insert(0, {here!r})
    import test_index_build as t
    t.spill._CHUNK_BYTES = 8000
    print("go", flush=True)
    t.build({path!r}, tokenizer=t.Counting(), given=t.documents(4000))
    print("done", flush=True)
""")


def killed_at(path, seconds, here):
    """Runs a build in another process and kills it; whether it was done before."""
    script = CHILD.format(tests=str(here.parent), here=str(here), path=str(path))
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "go\n"
    time.sleep(seconds)
    child.kill()
    return "done" in child.communicate()[0]


@pytest.mark.parametrize("times", [3, pytest.param(20, marks=pytest.mark.long)])
def test_kill_minus_nine_at_random_moments(times, tmp_path, request, monkeypatch):
    monkeypatch.setattr(spill, "_CHUNK_BYTES", 8000)
    whole, path = tmp_path / "whole.dwx", tmp_path / "a.dwx"
    start = time.perf_counter()
    build(whole, documents(4000))
    seconds = time.perf_counter() - start
    draw = random.Random(times)
    outcomes = set()
    for _ in range(times):
        is_done = killed_at(path, draw.uniform(0, 1.2 * seconds), request.path.parent)
        if path.exists():  # never half of it
            dw.FMIndex.open(path).verify()
            assert path.read_bytes() == whole.read_bytes()
            outcomes.add("whole")
        else:
            assert not is_done
            outcomes.add("none")
        if draw.random() < 0.3 and not path.exists():
            build(path, documents(4000))  # resumes
        if path.exists():
            assert path.read_bytes() == whole.read_bytes()
            path.unlink()
    build(path, documents(4000))
    assert path.read_bytes() == whole.read_bytes()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.dwx", "whole.dwx"]
    assert "none" in outcomes
