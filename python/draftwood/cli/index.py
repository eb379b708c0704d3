"""`draftwood index`: building, looking into, checking and searching index files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ..errors import InvalidArgument
from ..requests import _count as count_of
from ..retrieval import FMIndex
from .terminal import Terminal, printable

if TYPE_CHECKING:
    from ..retrieval.corpora import Fields

__all__ = ["run_build", "run_info", "run_search", "run_verify"]

_PHASES = {"tokens": "reading", "sort": "sorting", "transform": "transforming", "places": "placing", "lists": "listing"}
_STARTS = {"tokens": 0.0, "sort": 0.5, "transform": 0.8, "places": 0.85, "lists": 0.9}
"""About where the phases begin, as parts of the whole."""


def run_build(
    out: str,
    files: Sequence[str],
    model: str,
    tier: str,
    split: str,
    fields: Fields,
    restart: bool,
    *,
    as_json: bool,
    debug: bool,
) -> int:
    """Builds and tells what it became."""
    from ..retrieval.corpora import read_documents
    from ..retrieval.spill import is_interrupted
    from ..retrieval.tokens import tokenizer_of

    terminal = Terminal(as_json=as_json, debug=debug)
    with terminal.guard():
        size = sum(_size(file) for file in files)
        tokenizer = tokenizer_of(model)
        if is_interrupted(out) and not restart:
            terminal.note("an interrupted build is there: what it has encoded is used again")
        start, read = perf_counter(), 0
        with _bar(terminal, "reading") as show:

            def count(more: int) -> None:
                nonlocal read
                read += more
                show("reading", _STARTS["sort"] * min(read / max(size, 1), 1.0))

            index = FMIndex.build(
                read_documents(files, split=split, fields=fields, progress=count),
                path=out,
                tokenizer=tokenizer,
                tier=tier,
                resume=not restart,
                progress=lambda phase: show(_PHASES[phase], _STARTS[phase]),
            )
        seconds = perf_counter() - start
        told = index.info()
        terminal.document(told | {"seconds": seconds})
        terminal.out.print(
            f"{out}: {told['documents']:,} documents, {told['tokens']:,} tokens, {told['bytes'] / 1e6:,.1f} MB "
            f"({told['bytes'] / max(told['tokens'], 1):.1f} bytes per token) in {seconds:.1f} s",
            markup=False,
        )
    return 0


def run_info(indexes: Sequence[str], *, as_json: bool, debug: bool) -> int:
    """Prints what is in the headers."""
    terminal = Terminal(as_json=as_json, debug=debug)
    with terminal.guard():
        told = FMIndex.open(list(indexes)).info()
        terminal.document(told)
        for file in told["files"]:
            _show_file(terminal, file)
    return 0


def run_verify(indexes: Sequence[str], *, as_json: bool, debug: bool) -> int:
    """Compares the checksums of the files one by one."""
    terminal = Terminal(as_json=as_json, debug=debug)
    with terminal.guard():
        sizes = []
        for path in indexes:
            index = FMIndex.open(path)
            with _bar(terminal, f"verifying {path}") as show:
                index.verify(lambda done, path=path: show(f"verifying {path}", done))  # type: ignore[misc]
            sizes.append({"path": path, "bytes": index.info()["bytes"], "whole": True})
            terminal.out.print(f"{path}: all checksums are right", markup=False)
        terminal.document(sizes)
    return 0


def run_search(
    paths: Sequence[str], text: str, model: str, limit: int, context: int, *, as_json: bool, debug: bool
) -> int:
    """Prints count, followers and places; 1 if there are none."""
    terminal = Terminal(as_json=as_json, debug=debug)
    with terminal.guard():
        for name, value in (("--limit", limit), ("--context", context)):
            count_of(value, name)
        index = FMIndex.open(list(paths), tokenizer=model)
        tokenizer: Any = index.tokenizer
        ids = tokenizer.encode_plain([text])[0]
        if not len(ids):
            raise InvalidArgument.of("the text", "at least one token", repr(text))
        count = index.count(ids)
        followers, counts = index.next_tokens(ids, top=8)
        can_place = index.info()["tier"] != "tiny"
        places = index.locate(ids, limit).tolist() if can_place else []
        found = [_place(index, document, offset, len(ids), context) for document, offset in places]
        follows = [
            {"id": token, "text": tokenizer.decode([token]), "count": seen}
            for token, seen in zip(followers.tolist(), counts.tolist(), strict=True)
        ]
        terminal.document(
            {"text": text, "ids": ids, "count": count, "followers": follows, "places": found if can_place else None}
        )
        _show_search(terminal, count, follows, found, can_place)
    return 0 if count else 1


def _place(index: FMIndex, document: int, offset: int, length: int, context: int) -> dict[str, Any]:
    """A place with the text around it."""
    tokenizer: Any = index.tokenizer
    start = max(offset - context, 0)
    around = index.extract(document, start, offset + length + context)
    first = offset - start
    parts = around[:first], around[first : first + length], around[first + length :]
    before, match, after = (tokenizer.decode(part) for part in parts)
    name, title = index.name(document)
    return {
        "document": document,
        "id": name,
        "title": title,
        "offset": offset,
        "before": before,
        "match": match,
        "after": after,
    }


def _show_search(
    terminal: Terminal, count: int, follows: list[dict[str, Any]], found: list[dict[str, Any]], can_place: bool
) -> None:
    from rich.text import Text

    out = terminal.out
    out.print(f"{count:,} occurrence{'' if count == 1 else 's'}", style="bold")
    if follows:
        out.print("followed by", ", ".join(f"{one['text']!r} {one['count']:,}" for one in follows), markup=False)
    if not can_place:
        out.print("an index of the tiny tier does not know where")
    for one in found:
        name = one["document"] if one["id"] is None else printable(one["id"])
        line = Text(f"{name} at {one['offset']}  ", style="dim")
        for name, style in (("before", "not dim"), ("match", "bold green not dim"), ("after", "not dim")):
            line.append(printable(one[name]).replace("\n", " "), style=style)
        out.print(line, soft_wrap=True)


def _show_file(terminal: Terminal, file: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    per_token = max(file["tokens"], 1)
    rows = [
        ("file", file["path"]),
        ("tier", file["tier"]),
        ("documents", f"{file['documents']:,}"),
        ("tokens", f"{file['tokens']:,}, {file['distinct']:,} distinct"),
        ("size", f"{file['bytes'] / 1e6:,.1f} MB, {file['bytes'] / per_token:.2f} bytes per token"),
        ("tokenizer", file["fingerprint"] or "none stored: fits all"),
    ]
    rows += [(f"  {name}", f"{size / per_token:.2f} bytes per token") for name, size in file["sections"].items()]
    for name, value in rows:
        grid.add_row(Text(name), Text(value))
    terminal.out.print(grid)
    terminal.out.print()


@contextmanager
def _bar(terminal: Terminal, text: str) -> Iterator[Callable[[str, float], None]]:
    """A progress bar; where nobody watches, a line per phase."""
    if not terminal.watched:
        last = ""

        def note(phase: str, done: float) -> None:
            nonlocal last
            if phase != last:
                terminal.note(phase)
                last = phase

        yield note
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=terminal.err, transient=True) as progress:
        task = progress.add_task(text, total=1.0)
        yield lambda phase, done: progress.update(task, description=phase, completed=done)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError as error:
        raise InvalidArgument.of("a file of documents", "readable", f"{path}: {error.strerror}") from error
