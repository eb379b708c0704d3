"""Documents from files: text and JSON lines, read as a stream."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ..errors import InvalidArgument

__all__ = ["SPLITS", "read_documents"]

SPLITS = ("file", "paragraph", "line")

Progress = Callable[[int], None]


def read_documents(
    paths: Iterable[str | Path], *, split: str = "file", field: str = "text", progress: Progress | None = None
) -> Iterator[str]:
    """The documents of files, in order: the field of each line of `.jsonl`; other files are UTF-8 text.

    `split` cuts text files into documents: whole files, paragraphs (between blank lines) or lines; empty ones are left
    out. `progress` is called with the number of bytes read since its last call.

    Errors
        InvalidArgument for files that cannot be read and lines without the field, naming the line.
    """
    if split not in SPLITS:
        raise InvalidArgument.of("split", "one of " + ", ".join(SPLITS), repr(split))
    tell = progress if progress is not None else lambda count: None
    for path in map(Path, paths):
        try:
            if path.suffix == ".jsonl":
                yield from _json_lines(path, field, tell)
            else:
                yield from _text(path, split, tell)
        except OSError as error:
            raise InvalidArgument.of("a file of documents", "readable", f"{path}: {error.strerror}") from error


def _text(path: Path, split: str, tell: Progress) -> Iterator[str]:
    with path.open("rb") as file:
        if split == "file":
            content = file.read()
            tell(len(content))
            yield _decoded(content)
            return
        waiting: list[bytes] = []
        for line in file:
            tell(len(line))
            if split == "line":
                text = _decoded(line).rstrip("\r\n")
                if text:
                    yield text
            elif line.strip():
                waiting.append(line)
            elif waiting:
                yield _decoded(b"".join(waiting)).rstrip("\r\n")
                waiting = []
        if waiting:
            yield _decoded(b"".join(waiting)).rstrip("\r\n")


def _json_lines(path: Path, field: str, tell: Progress) -> Iterator[str]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            tell(len(line))
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise InvalidArgument.of(f"{path}, line {number}", "a JSON object", error) from error
            yield _field(row, field, f"{path}, line {number}")


def _field(row: Any, field: str, where: str) -> str:
    value = row.get(field) if isinstance(row, dict) else None
    if not isinstance(value, str):
        got = f"{type(value).__name__}" if isinstance(row, dict) and field in row else "none"
        raise InvalidArgument.of(where, f"an object with a string {field!r}", got, "--field names another one")
    return value


def _decoded(content: bytes) -> str:
    return content.decode("utf-8", "replace")
