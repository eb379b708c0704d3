"""The tokens of an index that is being built, on disk: memory stays bounded, and a killed build goes on.

`NAME.partial/` holds numbered chunks, each the tokens of some whole documents with a hash of what they were made from.
A chunk appears complete or not at all (temporary file, synchronised, renamed). A build that finds chunks compares
hashes: equal ones need no tokenizer again, others are refused. The folder belongs to the build's claim on the path
(`_core.IndexClaim`): one build at a time, and it goes when the index has been published or no chunk waits in it.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _core
from ..errors import InvalidArgument
from .encoding import Encoded, Given, encode_batch, given

if TYPE_CHECKING:
    from ..models.tokenizer import Tokenizer

__all__ = ["fill_corpus", "is_interrupted"]

_CHUNK_BYTES = 8 << 20
_CHUNK_DOCUMENTS = 1 << 16
_BATCH = 256
_MAGIC = b"DWXCHUNK"
_VERSION = 1
_HEADER = struct.Struct("<8sII32s32sIQQI")
"""Magic, version, documents, hash of the input, hash of all that follows, first document, tokens, bytes of names,
whether documents have tokens of titles."""


def is_interrupted(path: str) -> bool:
    """Whether chunks of an earlier build of the index are there."""
    return any(_core.IndexClaim.folder_of(path).glob("*.chunk"))


def fill_corpus(
    corpus: _core.Corpus,
    documents: Iterable[Any],
    tokenizer: Tokenizer | None,
    claim: _core.IndexClaim,
    *,
    resume: bool,
) -> bool:
    """Puts all documents into `corpus`: a small corpus into its memory, a larger one as files in the claim's folder.

    Returns
        Whether documents have tokens of titles.
    Errors
        InvalidArgument for documents that are none or others than those of the build that is to be resumed.
    """
    if isinstance(documents, str | bytes):
        raise InvalidArgument.of("documents", "a sequence of documents", "one string", "put it into a list")
    if not resume:
        claim.clear()
    chunks = _with_last(_chunks(documents))
    first = next(chunks, None)
    if first is None or (first[1] and not any(claim.folder.glob("*.chunk"))):
        ready = encode_all(first[0], tokenizer, 0) if first is not None else []
        for one in ready:
            corpus.push(one.ids)
            corpus.name_last(one.name, one.title)
        return any(one.has_title_tokens for one in ready)
    return _spill(corpus, (chunk for chunk, _ in chain([first], chunks)), tokenizer, claim.folder)


def encode_all(chunk: Sequence[Given], tokenizer: Tokenizer | None, first: int) -> list[Encoded]:
    """The ids of a chunk, batch by batch: all at once would hold the tokenizer's own results for all of them."""
    starts = range(0, len(chunk), _BATCH)
    return [one for at in starts for one in encode_batch(chunk[at : at + _BATCH], tokenizer, first + at)]


def _spill(
    corpus: _core.Corpus,
    chunks: Iterable[list[Given]],
    tokenizer: Tokenizer | None,
    folder: Path,
) -> bool:
    key = hashlib.sha256(b"" if tokenizer is None else bytes.fromhex(tokenizer.fingerprint)).digest()
    number = start = 0
    has_titles = False
    for chunk in chunks:
        file = folder / f"{number:06}.chunk"
        digest = _input_hash(key, chunk, start)
        known = _read_header(file)
        if known is not None and known[3] != digest:
            _refuse(folder, f"others from document {start} on")
        if known is None:
            known = _write(file, digest, encode_all(chunk, tokenizer, start), start)
        has_titles |= bool(known[8])
        _push(corpus, file, known)
        number, start = number + 1, start + len(chunk)
    if (folder / f"{number:06}.chunk").exists():
        _refuse(folder, f"only {start}")
    return has_titles


def _refuse(folder: Path, got: str) -> None:
    expected, hint = f"those of the build in {folder} that was interrupted", "resume=False (--restart) starts anew"
    raise InvalidArgument.of("the documents", expected, got, hint)


def _chunks(documents: Iterable[Any]) -> Iterator[list[Given]]:
    """Cuts the documents where their own sizes say, so that the same ones are cut alike in the next run."""
    chunk: list[Given] = []
    size = 0
    for number, document in enumerate(documents):
        one = given(document, number)
        chunk.append(one)
        size += _size(one.content)
        if size >= _CHUNK_BYTES or len(chunk) == _CHUNK_DOCUMENTS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _size(content: Any) -> int:
    try:
        return len(content) * (1 if isinstance(content, str) else 4)
    except TypeError:
        return 4  # no document; refused when it is encoded


def _with_last(chunks: Iterator[list[Given]]) -> Iterator[tuple[list[Given], bool]]:
    """Each chunk, and whether it is the last one."""
    waiting = next(chunks, None)
    while waiting is not None:
        following = next(chunks, None)
        yield waiting, following is None
        waiting = following


def _input_hash(key: bytes, chunk: Sequence[Given], start: int) -> bytes:
    """SHA-256 of the documents as they were given."""
    sha = hashlib.sha256(key)
    for number, one in enumerate(chunk, start):
        if isinstance(one.content, str):
            kind, content = b"s", one.content.encode("utf-8", "surrogatepass")
        else:
            from .ids import ids_of

            kind, content = b"i", ids_of(one.content, f"documents[{number}]").tobytes()
        for part in (kind, one.name.encode(), one.title.encode(), b"t" * one.has_title_tokens, content):
            sha.update(struct.pack("<Q", len(part)))
            sha.update(part)
    return sha.digest()


def _write(file: Path, digest: bytes, documents: Sequence[Encoded], start: int) -> tuple[Any, ...]:
    """Writes a chunk; returns its header."""
    lengths = np.array([len(one.ids) for one in documents], np.uint32)
    names = [text.encode() for one in documents for text in (one.name, one.title)]
    sizes = np.array([len(name) for name in names], np.uint32)
    joined = b"".join(names)
    padding = bytes(-len(joined) % 4)
    ids = np.concatenate([one.ids for one in documents]) if documents else np.zeros(0, np.uint32)
    body = [lengths.tobytes(), sizes.tobytes(), joined, padding, ids.astype("<u4").tobytes()]
    sha = hashlib.sha256()
    for part in body:
        sha.update(part)
    titles = int(any(one.has_title_tokens for one in documents))
    header = (_MAGIC, _VERSION, len(documents), digest, sha.digest(), start, len(ids), len(joined), titles)
    partial = file.with_suffix(".tmp")
    try:
        with partial.open("wb") as out:
            out.write(_HEADER.pack(*header))
            out.writelines(body)
            out.flush()
            os.fsync(out.fileno())
        partial.rename(file)
    except OSError as error:
        hint = "check the folder, the rights in it and the free space"
        raise InvalidArgument.of("the index path", "writable", f"{file}: {error.strerror}", hint) from error
    return header


def _read_header(file: Path) -> tuple[Any, ...] | None:
    """The header of a whole chunk; None if there is none, or one that a broken disk has damaged."""
    try:
        with file.open("rb") as source:
            head = source.read(_HEADER.size)
            if len(head) < _HEADER.size:
                return None
            header = _HEADER.unpack(head)
            if header[:2] != (_MAGIC, _VERSION) or hashlib.file_digest(source, "sha256").digest() != header[4]:
                return None
            return header
    except FileNotFoundError:
        return None


def _push(corpus: _core.Corpus, file: Path, header: tuple[Any, ...]) -> None:
    documents, named = header[2], header[7]
    with file.open("rb") as source:
        source.seek(_HEADER.size)
        lengths = np.frombuffer(source.read(4 * documents), np.uint32)
        ends = np.cumsum(np.frombuffer(source.read(8 * documents), np.uint32), dtype=np.int64).tolist()
        text = source.read(named)
    names = []
    if named:
        parts = [text[a:b].decode() for a, b in zip([0, *ends], ends, strict=False)]
        names = list(zip(parts[::2], parts[1::2], strict=True))
    offset = _HEADER.size + 12 * documents + named + -named % 4
    corpus.push_file(file, offset, lengths, names)
