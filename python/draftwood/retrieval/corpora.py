"""Documents from files: text, JSON lines and Parquet, read as a stream."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InvalidArgument, UnsupportedModel, shown_as
from .arguments import iterable_of, path_of

__all__ = ["SPLITS", "Fields", "read_documents"]

SPLITS = ("file", "paragraph", "line")
_ROWS = 1024

Progress = Callable[[int], None]
Document = tuple[str, str | None, str]


@dataclass(frozen=True, slots=True)
class Fields:
    """Which fields of the rows of a file hold what, for `read_documents`; None: rows have no such thing.

    Example
        >>> from draftwood.retrieval import Fields
        >>> Fields(text="body", title="headline").names
        ['body', 'headline']
    """

    text: str = "text"
    id: str | None = None
    title: str | None = None

    @property
    def names(self) -> list[str]:
        """All of them."""
        return [name for name in (self.text, self.id, self.title) if name is not None]


def read_documents(
    paths: Iterable[str | Path], *, split: str = "file", fields: Fields | None = None, progress: Progress | None = None
) -> Iterator[Document]:
    """The documents of files, in order, one by one, as `FMIndex.build` takes them.

    Rows of `.jsonl` and `.parquet` files (those need pyarrow) are documents; other files are UTF-8 text, cut by
    `split`; empty pieces are left out. Where no field says the id, it is the file's path, with the number of the
    piece's first line, or of the row.

    Shapes
        paths: files; split: a document of a text file is the "file", a "paragraph" (between blank lines) or a "line";
        fields: which fields of rows hold text, id and title; progress: called with the number of bytes read since its
        last call.
    Returns
        An iterator of (id, title, text); the title is None where no field holds one.
    Errors
        InvalidArgument for files that cannot be read and rows without a field, naming the row; UnsupportedModel for
        Parquet without pyarrow.
    Cost
        One document, or 1024 rows of Parquet, in memory at a time.
    Source
        None.
    Example
        >>> import tempfile
        >>> from pathlib import Path
        >>> from draftwood.retrieval import Fields, read_documents
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "facts.jsonl"
        ...     _ = path.write_text('{"n": 1, "body": "The bridge was finished in 1932."}')
        ...     list(read_documents([path], fields=Fields("body", id="n")))
        [('1', None, 'The bridge was finished in 1932.')]
    """
    if not isinstance(split, str) or split not in SPLITS:
        raise InvalidArgument.of("split", "one of " + ", ".join(SPLITS), shown_as(repr, split))
    if isinstance(paths, str | bytes):
        raise InvalidArgument.of("paths", "a sequence of paths", "one", "put it into a list")
    paths = [path_of(path, f"paths[{i}]") for i, path in enumerate(iterable_of(paths, "paths", "a sequence of paths"))]
    fields = Fields() if fields is None else fields
    tell = progress if progress is not None else lambda count: None
    for path in map(Path, paths):
        try:
            if path.suffix == ".jsonl":
                yield from _json_lines(path, fields, tell)
            elif path.suffix == ".parquet":
                yield from _parquet(path, fields, tell)
            else:
                yield from _text(path, split, tell)
        except OSError as error:
            raise InvalidArgument.of("a file of documents", "readable", f"{path}: {error.strerror or error}") from error


def _text(path: Path, split: str, tell: Progress) -> Iterator[Document]:
    with path.open("rb") as file:
        if split == "file":
            content = file.read()
            tell(len(content))
            yield str(path), None, _decoded(content)
            return
        waiting: list[bytes] = []
        first = 1
        for number, line in enumerate(file, 1):
            tell(len(line))
            if split == "line":
                text = _decoded(line).rstrip("\r\n")
                if text:
                    yield f"{path}:{number}", None, text
            elif line.strip():
                first = first if waiting else number
                waiting.append(line)
            elif waiting:
                yield f"{path}:{first}", None, _decoded(b"".join(waiting)).rstrip("\r\n")
                waiting = []
        if waiting:
            yield f"{path}:{first}", None, _decoded(b"".join(waiting)).rstrip("\r\n")


def _json_lines(path: Path, fields: Fields, tell: Progress) -> Iterator[Document]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            tell(len(line))
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise InvalidArgument.of(f"{path}, line {number}", "a JSON object", error) from error
            yield _row(row, fields, f"{path}, line {number}", f"{path}:{number}")


def _parquet(path: Path, fields: Fields, tell: Progress) -> Iterator[Document]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise UnsupportedModel.of("Parquet files without pyarrow", "pip install draftwood[parquet]") from error
    try:
        with path.open("rb") as source, ParquetFile(source) as file:
            known = file.schema_arrow.names
            for name in fields.names:
                if name not in known:
                    raise InvalidArgument.of(str(path), f"a table with a column {name!r}", ", ".join(known), _HINT)
            bytes_per_row = path.stat().st_size / max(file.metadata.num_rows, 1)
            number = 0
            for batch in file.iter_batches(batch_size=_ROWS, columns=fields.names):
                for row in batch.to_pylist():
                    yield _row(row, fields, f"{path}, row {number}", f"{path}:{number}")
                    number += 1
                tell(round(batch.num_rows * bytes_per_row))
    except ArrowException as error:
        raise InvalidArgument.of(str(path), "a Parquet file", error) from error


_HINT = "--field, --id-field and --title-field name others"


def _row(row: Any, fields: Fields, where: str, name: str) -> Document:
    text = _field(row, fields.text, where)
    if fields.id is not None:
        name = _field(row, fields.id, where, or_number=True)
    return name, None if fields.title is None else _field(row, fields.title, where), text


def _field(row: Any, field: str, where: str, *, or_number: bool = False) -> str:
    value = row.get(field) if isinstance(row, Mapping) else None
    if or_number and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        got = f"{type(value).__name__}" if isinstance(row, Mapping) and field in row else "none"
        raise InvalidArgument.of(where, f"an object with a string {field!r}", got, _HINT)
    return value


def _decoded(content: bytes) -> str:
    return content.decode("utf-8", "replace")
