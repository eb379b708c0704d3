"""`generate --cite`: which parts of a text an index holds, underlined, and the documents that hold them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ..errors import InvalidArgument
from .terminal import Terminal, printable

if TYPE_CHECKING:
    from ..engine import Engine
    from ..retrieval import FMIndex
    from ..types import Hypothesis, Output

__all__ = ["Citation", "cite", "citations_json", "open_sources", "show_cited", "show_sources"]

_LISTED = 20
_PLACES = 5
_QUOTED = 60


@dataclass(frozen=True, slots=True)
class Citation:
    """A part of the text that occurs: tokens and characters `start … end`, how often, and some of the places."""

    tokens: tuple[int, int]
    chars: tuple[int, int]
    count: int
    places: tuple[dict[str, Any], ...]


def open_sources(paths: Sequence[str], min_length: int, engine: Engine) -> FMIndex:
    """The index of the sources; refuses one of another tokenizer."""
    from ..retrieval import FMIndex

    if min_length < 1:
        raise InvalidArgument.of("--cite-min", "at least 1", min_length)
    index = FMIndex.open(list(paths))
    if engine.tokenizer is not None:
        index.check_tokenizer(engine.tokenizer)
    return index


def cite(output: Output | Hypothesis, index: FMIndex, min_length: int, engine: Engine) -> list[Citation]:
    """The parts of at least so many tokens, in the order of the text."""
    citations = []
    for span in index.attribute(output.token_ids, min_length, places=_PLACES):
        chars = _characters(span.start, output, engine), _characters(span.end, output, engine)
        cited = output.text[slice(*chars)]
        chars = chars[1] - len(cited.lstrip()), chars[0] + len(cited.rstrip())
        if chars[0] < chars[1]:  # neither blank nor cut off by a stop string
            places = tuple(_place(index, *place) for place in span.places.tolist())
            citations.append(Citation((span.start, span.end), chars, span.count, places))
    return citations


def _characters(tokens: int, output: Output | Hypothesis, engine: Engine) -> int:
    """Characters of the text that the first tokens are; an unfinished one does not count."""
    decoded = engine.tokenizer.token_bytes.decode(output.token_ids[:tokens]) if engine.tokenizer is not None else ""
    while not output.text.startswith(decoded):
        decoded = decoded[: min(len(decoded) - 1, len(output.text))]
    return len(decoded)


def _place(index: FMIndex, document: int, offset: int) -> dict[str, Any]:
    name, title = index.name(document)
    return {"document": document, "offset": offset, "id": name, "title": title}


def show_cited(text: str, citations: Sequence[Citation], terminal: Terminal) -> None:
    """Prints the text; where somebody looks, cited parts are underlined and numbered."""
    out = terminal.out
    if not out.is_terminal:
        if not out.quiet:
            out.file.write(text)
        return
    from rich.text import Text

    inside = {at for one in citations for at in range(*one.chars)}
    borders = sorted({0, len(text), *(at for one in citations for at in one.chars)})
    shown = Text()
    for start, end in pairwise(borders):
        shown.append(printable(text[start:end]), style="underline" if start in inside else "")
        for number, one in enumerate(citations, 1):
            if one.chars[1] == end:
                shown.append(f"[{number}]", style="cyan")
    out.print(shown, end="", soft_wrap=True)


def show_sources(text: str, citations: Sequence[Citation], terminal: Terminal) -> None:
    """Lists the documents of each cited part."""
    from rich.text import Text

    err = terminal.err
    if not citations:
        terminal.note("no part of the text is in the sources")
        return
    covered = len({at for one in citations for at in range(*one.chars)})
    err.print(f"{covered / max(len(text), 1):.0%} of the text is in the sources", style="bold", markup=False)
    for number, one in enumerate(citations[:_LISTED], 1):
        quote = " ".join(printable(text[slice(*one.chars)]).split())
        quote = quote if len(quote) <= _QUOTED else f"{quote[: _QUOTED // 2]} … {quote[-_QUOTED // 2 :]}"
        times = "once" if one.count == 1 else f"{one.count:,} times"
        line = Text()
        line.append(f"[{number}] ", style="cyan")
        line.append(quote, style="underline")
        line.append(f"  {times}" + (": " if one.places else ""), style="dim")
        line.append("; ".join(_named(place) for place in one.places))
        if one.count > len(one.places) > 0:
            line.append(" …", style="dim")
        err.print(line, soft_wrap=True)
    if len(citations) > _LISTED:
        terminal.note(f"and {len(citations) - _LISTED} more; --json has them all")


def _named(place: dict[str, Any]) -> str:
    names = [printable(place[key]) for key in ("title", "id") if place[key]]
    name = f"{names[0]} ({names[1]})" if len(names) == 2 else (names or [f"document {place['document']}"])[0]
    return f"{name} at {place['offset']}"


def citations_json(text: str, citations: Sequence[Citation]) -> list[dict[str, Any]]:
    """For the JSON document."""
    return [
        {
            "start": one.tokens[0],
            "end": one.tokens[1],
            "text": text[slice(*one.chars)],
            "count": one.count,
            "places": list(one.places),
        }
        for one in citations
    ]
