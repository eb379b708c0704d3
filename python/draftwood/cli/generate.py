"""`draftwood generate`: one text, streamed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ..errors import DraftwoodError, InvalidArgument
from .citing import citations_json, cite, open_sources, show_cited, show_sources
from .source import chat_messages, drafter_of, has_chat, open_engine
from .terminal import INTERRUPTED, Interrupt, Terminal, printable
from .trees import StepTree, label_of, lines_of, tree_of_step

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..engine import Engine
    from ..step import StepPlan
    from ..types import BeamStats, Logprobs, Output, SamplingParams, Stats
    from .searching import BeamOptions

__all__ = [
    "Options",
    "as_chat",
    "logprobs_json",
    "origin_of",
    "phases_of",
    "read_prompt",
    "run_generate",
    "show_logprobs",
]

_CHUNK = 512
"""Rows of the prompt that one step processes."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asked for, sampling aside."""

    prompt: str | None
    model: str
    chat: bool | None
    system: str | None
    drafter: str
    max_nodes: int | None
    show: bool
    stats: bool
    as_json: bool
    debug: bool
    cite: tuple[str, ...] = ()
    cite_min: int = 8


def run_generate(options: Options, params: SamplingParams, search: BeamOptions) -> int:
    """Streams the text; 0, or 130 after ctrl-C with what there was."""
    terminal = Terminal(as_json=options.as_json, debug=options.debug)
    with terminal.guard():
        search.check_absent()
        status = _generate(options, params, terminal)
    return status


def _generate(options: Options, params: SamplingParams, terminal: Terminal) -> int:
    drafter = drafter_of(options.drafter, options.max_nodes)
    prompt = read_prompt(options, terminal)
    start = perf_counter()
    with open_engine(options.model, drafter, terminal) as engine:
        loaded = perf_counter() - start
        ids = engine.encode(as_chat(prompt, options, engine))
        sources = open_sources(options.cite, options.cite_min, engine) if options.cite else None
        run = _Run(engine, terminal, options.show, holds_text=sources is not None)
        output = run.stream(ids, params)
        citations = None if sources is None else cite(output, sources, options.cite_min, engine)
        if not options.as_json:
            if citations is not None:
                show_cited(output.text, citations, terminal)
            _tell(output, run, options, terminal)
            if citations is not None:
                show_sources(output.text, citations, terminal)
        document = _document(engine, options, output, run, loaded)
        terminal.document(
            document if citations is None else document | {"citations": citations_json(output.text, citations)}
        )
    return INTERRUPTED if run.interrupted else 0


def read_prompt(options: Options, terminal: Terminal) -> str:
    """The prompt of the command line, or what standard input holds."""
    text = options.prompt
    if text is None:
        if sys.stdin.isatty():
            terminal.note("type the prompt; ctrl-D on a line of its own ends it")
        text = sys.stdin.read().rstrip("\n")
    if not text:
        raise InvalidArgument.of("the prompt", "some text", "none", "pass it as an argument or on standard input")
    return text


def as_chat(prompt: str, options: Options, engine: Engine) -> Any:
    """The prompt as `Engine.encode` takes it: through the chat template, or as it is."""
    chat = has_chat(engine) if options.chat is None else options.chat
    if chat:
        return chat_messages(prompt, options.system)
    if options.system is not None:
        raise InvalidArgument.of(
            "--system", "used with a chat", "a raw prompt", "leave out --raw, or put it in the prompt"
        )
    return prompt


class _Run:
    """One text on its way to the terminal."""

    def __init__(self, engine: Engine, terminal: Terminal, show: bool, *, holds_text: bool = False) -> None:
        self._engine, self._terminal, self._show = engine, terminal, show
        self._holds_text = holds_text  # shown afterwards, with its sources
        self.label = label_of(engine)
        self._interrupt = Interrupt()
        self.trees: list[StepTree] = []
        self.first_seconds, self.total_seconds, self.first_tokens = 0.0, 0.0, 0

    @property
    def interrupted(self) -> bool:
        """Whether ctrl-C ended it."""
        return self._interrupt.pressed

    def stream(self, ids: Any, params: SamplingParams) -> Output:
        """Generates, showing the text as it comes, or the trees if those were asked for."""
        self._engine.on_step(self._on_step)
        start = perf_counter()
        stream = self._engine.stream(ids, params)
        written = 0
        with self._interrupt, self._writing() as count, self._reading(len(ids)) as bar:
            try:
                for event in stream:
                    written += len(event.token_ids)
                    count(written)
                    if not self.first_seconds:
                        self.first_seconds, self.first_tokens = perf_counter() - start, len(event.token_ids)
                        if bar is not None:
                            bar.stop()
                    if not self._show and not self._holds_text:
                        self._write(event.text)
                    if self._interrupt.pressed:
                        break
            except KeyboardInterrupt:
                self._interrupt.pressed = True
            except DraftwoodError:
                self._write("\n")
                raise
            stream.close()
        self.total_seconds = perf_counter() - start
        self._engine.on_step(None)
        self._engine.on_prefill(None)
        assert stream.output is not None
        if self._show and not self._holds_text:
            self._write(stream.output.text)
        return stream.output

    @property
    def tokens_per_second(self) -> float | None:
        """Speed after the first token; None for a text that ended with it."""
        rest = self.total_seconds - self.first_seconds
        count = sum(len(tree.emitted) for tree in self.trees) - self.first_tokens
        return count / rest if count > 0 and rest > 0 else None

    def _reading(self, tokens: int) -> Any:
        """A bar while the prompt is processed."""
        if not self._terminal.watched:
            return nullcontext()
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        bar = Progress(*columns, console=self._terminal.err, transient=True)
        # One chunk has no middle to tell about: the bar only moves to and fro.
        task = bar.add_task(f"reading the prompt, {tokens} tokens", total=tokens if tokens > _CHUNK else None)
        self._engine.on_prefill(lambda done, total: bar.update(task, completed=done))
        return bar

    @contextmanager
    def _writing(self) -> Iterator[Callable[[int], None]]:
        """The number of tokens so far, where the text is held back."""
        if not (self._holds_text and self._terminal.watched):
            yield lambda count: None
            return
        from rich.status import Status

        status = Status("writing", console=self._terminal.err)

        def show(count: int) -> None:
            status.update(f"writing, {count} tokens")
            status.start()

        try:
            yield show
        finally:
            status.stop()

    def _on_step(self, plan: StepPlan, events: list[Any]) -> None:
        tree = tree_of_step(plan, events)
        if not tree.emitted:
            if self._interrupt.pressed:
                raise KeyboardInterrupt
            return
        self.trees.append(tree)
        if self._show:
            self._draw(tree)

    def _draw(self, tree: StepTree) -> None:
        err, number = self._terminal.err, f"step {len(self.trees)}"
        if not tree.drafted:
            err.print(f"{number}: no draft → {self.label(tree.emitted[0])}", style="dim", markup=False)
            return
        err.print(f"{number}: {len(tree.accepted)} of {tree.drafted} accepted", style="cyan")
        for line in lines_of(tree, self.label, err.width):
            err.print(line, soft_wrap=True)

    def _write(self, text: str) -> None:
        out = self._terminal.out
        if text and not out.quiet:
            out.file.write(printable(text) if out.is_terminal else text)
            out.file.flush()


def _tell(output: Output, run: _Run, options: Options, terminal: Terminal) -> None:
    """What follows the text: the rest of its last line, and what was asked for."""
    terminal.out.print()
    if run.interrupted:
        terminal.note(f"stopped after {output.stats.new_tokens} tokens")
    if output.logprobs is not None:
        show_logprobs(output.token_ids, output.logprobs, run.label, terminal)
    if options.stats:
        _show_stats(output, run, terminal)


def show_logprobs(
    token_ids: NDArray[np.int32], logprobs: Logprobs, label: Callable[[int], str], terminal: Terminal
) -> None:
    """A line per token: its log-probability, and the best ones."""
    from rich.table import Table

    table = Table("token", "log-probability", "best ones", title="log-probabilities", title_justify="left")
    for token, chosen, ids, values in zip(token_ids, logprobs.chosen, logprobs.top_ids, logprobs.top, strict=True):
        best = "  ".join(f"{label(int(i))} {value:.2f}" for i, value in zip(ids, values, strict=True))
        table.add_row(*map(_escaped, (label(int(token)), f"{chosen:.3f}", best)))
    terminal.err.print(table)


def logprobs_json(logprobs: Logprobs | None) -> dict[str, Any] | None:
    """For the JSON document."""
    if logprobs is None:
        return None
    return {"chosen": logprobs.chosen, "top_ids": logprobs.top_ids, "top": logprobs.top}


def _show_stats(output: Output, run: _Run, terminal: Terminal) -> None:
    stats = output.stats
    speed = run.tokens_per_second
    after = f", {speed:.1f} tokens/s after it" if speed is not None else ""
    for line in (
        f"{stats.new_tokens} tokens in {run.total_seconds:.2f} s: the first after {run.first_seconds:.2f} s{after}",
        f"{stats.steps} steps, {stats.tokens_per_step:.2f} tokens per step; "
        f"{stats.accepted} of {stats.drafted} drafted tokens accepted",
        f"ms per step: {phases_of(stats)}",
        f"ended by {output.finish_reason}; {stats.prompt_tokens} prompt tokens; seed {stats.seed}",
    ):
        terminal.note(line)


def phases_of(stats: BeamStats | Stats) -> str:
    """What a forward took, in milliseconds by phase."""
    steps = max(stats.steps + stats.prefill_steps, 1)
    return ", ".join(f"{name} {1e3 * seconds / steps:.2f}" for name, seconds in asdict(stats.times).items())


def origin_of(engine: Engine, options: Options) -> dict[str, Any]:
    """Who wrote a text, as JSON tells it."""
    return {"model": engine.name, "executor": engine.executor.caps.name, "drafter": options.drafter}


def _document(engine: Engine, options: Options, output: Output, run: _Run, loaded: float) -> dict[str, Any]:
    stats = output.stats
    return {
        **origin_of(engine, options),
        "text": output.text,
        "token_ids": output.token_ids,
        "finish_reason": output.finish_reason,
        "stop_reason": output.stop_reason,
        "logprobs": logprobs_json(output.logprobs),
        "stats": {**asdict(stats), "tokens_per_step": stats.tokens_per_step},
        "seconds": {"load": loaded, "first_token": run.first_seconds, "total": run.total_seconds},
        "tokens_per_second": run.tokens_per_second,
        "trees": [tree.to_json() for tree in run.trees] if options.show else None,
    }


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
