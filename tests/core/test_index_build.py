"""Builds that are killed: they resume or refuse, and no half index is ever opened. What is spilled changes nothing."""

from __future__ import annotations

import random
import resource
import signal
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


@pytest.mark.parametrize("spilled", [False, True])
def test_one_build_at_a_time(spilled, tmp_path, monkeypatch):
    if spilled:
        monkeypatch.setattr(spill, "_CHUNK_BYTES", 8000)
    refused = []

    def refuse(_=None):
        # Others have their own documents: had they won, the file would tell.
        with pytest.raises(
            dw.InvalidArgument, match=r"must be built by one process at a time, got .*; wait for"
        ) as error:
            build(tmp_path / "a.dwx", [[1, 2, 3]], resume=bool(len(refused) % 2))
        refused.append(error.value)

    def nested():
        refuse()
        yield from documents()
        refuse()

    build(tmp_path / "whole.dwx")
    build(tmp_path / "a.dwx", nested(), progress=refuse)
    assert len(refused) >= 6
    assert (tmp_path / "a.dwx").read_bytes() == (tmp_path / "whole.dwx").read_bytes()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.dwx", "whole.dwx"]


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("chunk", [8000, 8 << 20])
def test_a_file_that_an_earlier_version_left_is_no_obstacle(chunk, resume, tmp_path, monkeypatch):
    monkeypatch.setattr(spill, "_CHUNK_BYTES", chunk)
    (tmp_path / "a.dwx.partial").write_bytes(bytes(5000))
    assert len(build(tmp_path / "a.dwx", resume=resume)) == 400
    assert [one.name for one in tmp_path.iterdir()] == ["a.dwx"]


def test_ids_that_no_index_takes_are_named_before_they_are_written(tmp_path, monkeypatch):
    path = tmp_path / "a.dwx"
    fine = [np.random.default_rng(d).integers(0, 90, 200) for d in range(60)]
    wrong = [ids.copy() for ids in fine]
    wrong[25][7] = 1 << 20
    message = (
        r"^token 7 of document 25 must be 0 … 1048575, got 1048576; the index takes vocabularies of up to 2\^20 ids$"
    )
    with pytest.raises(dw.InvalidArgument, match=message):
        build(path, wrong)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(spill, "_CHUNK_BYTES", 8000)
    with pytest.raises(dw.InvalidArgument, match=message):
        build(path, wrong)
    # Ten documents make a chunk; that of document 25 is not written, so that the build goes on once it is mended.
    chunks = sorted(one.name for one in (tmp_path / "a.dwx.partial").glob("*.chunk"))
    assert chunks == ["000000.chunk", "000001.chunk"]
    build(path, fine)
    assert [one.name for one in tmp_path.iterdir()] == ["a.dwx"]
    path.unlink()
    with pytest.raises(dw.InvalidArgument, match=r"token 7 of document 5 must be"):
        build(path, wrong[20:])
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_called_that(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def full(phase):
        if phase == "sort":
            resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))

    try:
        with pytest.raises(
            dw.InvalidArgument, match=r"the room for the index must be as large as its file, got .*a\.dwx"
        ):
            build(tmp_path / "a.dwx", progress=full)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


START = textwrap.dedent("""
    import os, resource, signal, sys
    sys.path.insert(0, {tests!r})
    sys.path.insert(0, {here!r})
    import test_index_build as t
""")

CHILD = START + textwrap.dedent("""
    t.spill._CHUNK_BYTES = 8000
    print("go", flush=True)
    t.build({path!r}, tokenizer=t.Counting(), given=t.documents(4000))
    print("done", flush=True)
""")


def started(script, here, **values):
    """Another process, which prints."""
    script = script.format(tests=str(here.parent), here=str(here), **values)
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)


def killed_at(path, seconds, here):
    """Runs a build in another process and kills it; whether it was done before."""
    child = started(CHILD, here, path=str(path))
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


KILLED = START + textwrap.dedent("""
    t.spill._CHUNK_BYTES = {chunk}

    def progress(phase):
        if phase == {phase!r}:
            if not {limit}:
                os.kill(os.getpid(), signal.SIGKILL)
            # The system kills the process when a file grows beyond the limit: in the middle of writing the index.
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))

    t.build({path!r}, progress=progress)
    print("done")
""")
MOMENTS = [("sort", 0), ("transform", 0), ("places", 0), ("lists", 0), ("sort", 1), ("sort", 4096), ("lists", 100_000)]


@pytest.mark.parametrize("chunk", [8 << 20, 8000])
def test_kill_minus_nine_in_each_phase_and_while_writing(chunk, tmp_path, request, monkeypatch):
    monkeypatch.setattr(spill, "_CHUNK_BYTES", chunk)
    whole = tmp_path / "whole.dwx"
    build(whole)
    children = {}
    for number, (phase, limit) in enumerate(MOMENTS):
        path = tmp_path / f"{number}.dwx"
        if number % 2:
            build(path, [[1, 2, 3]])  # an older index, which must stay
        older = path.read_bytes() if path.exists() else None
        child = started(KILLED, request.path.parent, path=str(path), chunk=chunk, phase=phase, limit=limit)
        children[path] = (child, limit, older)
    for path, (child, limit, older) in children.items():
        assert child.communicate()[0] == ""
        assert child.returncode == -(signal.SIGXFSZ if limit else signal.SIGKILL)
        assert (path.read_bytes() if path.exists() else None) == older
        partial = path.with_name(f"{path.name}.partial")
        written = [one.stat().st_size for one in partial.glob("index-*.tmp")]
        assert len(written) == 1  # it was at it
        assert not limit or written == [limit]
        assert (chunk > 8000) == (not any(partial.glob("*.chunk")))
        resumed = Counting()
        build(path, tokenizer=resumed)
        assert path.read_bytes() == whole.read_bytes()
        assert (chunk > 8000) == (resumed.encoded > 100)
        assert not partial.exists()


RACING = START + textwrap.dedent("""
    t.spill._CHUNK_BYTES = {chunk}
    given = [[{number}] * 300] * {documents}
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(5):
        try:
            t.build({path!r}, given)
            print("done")
        except t.dw.InvalidArgument as error:
            print(error.what, error.expected)
""")


@pytest.mark.parametrize("chunk", [8 << 20, 8000])
def test_processes_that_build_one_path_leave_one_whole_file(chunk, tmp_path, request):
    path = tmp_path / "a.dwx"
    children = [
        started(RACING, request.path.parent, path=str(path), chunk=chunk, number=n, documents=20 + n) for n in range(4)
    ]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    told = [line for child in children for line in child.communicate()[0].splitlines()]
    assert len(told) == 20
    assert set(told) - {"done"} <= {"the index path built by one process at a time"}
    assert "done" in told
    index = dw.FMIndex.open(path)
    index.verify()
    (number,) = [n for n in range(4) if index.count([n])]
    assert (len(index), index.count([number])) == (20 + number, 300 * (20 + number))
    assert [one.name for one in tmp_path.iterdir()] == ["a.dwx"]


FORKING = START + textwrap.dedent("""
    def forking():
        yield "one"
        if not os.fork():
            raise SystemExit  # leaves the build as a child: the claim is the parent's
        os.wait()
        assert os.path.exists({path!r} + ".partial/lock")
        yield "two"

    print(len(t.build({path!r}, forking())))
""")


def test_a_forked_child_does_not_give_its_parents_path_away(tmp_path, request):
    child = started(FORKING, request.path.parent, path=str(tmp_path / "a.dwx"))
    assert child.communicate()[0] == "2\n"
    assert [one.name for one in tmp_path.iterdir()] == ["a.dwx"]
