"""`draftwood generate --beams`: the best texts of a search, and how it came to them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ..errors import InvalidArgument
from .citing import citations_json, cite, open_sources, show_cited, show_sources
from .draw import elided, visible
from .generate import as_chat, logprobs_json, origin_of, phases_of, read_prompt, show_logprobs
from .lattice import LEGEND, draw_lattice
from .source import drafter_of, open_engine
from .terminal import Terminal, printable
from .trees import label_of

if TYPE_CHECKING:
    from ..engine import Engine
    from ..types import BeamParams, Beams, Hypothesis, Logprobs, SamplingParams
    from .citing import Citation
    from .generate import Options

__all__ = ["BeamOptions", "run_search"]

_STOCHASTIC = {"sequences": "sequences", "first-token": "first_token"}


@dataclass(frozen=True, slots=True)
class BeamOptions:
    """What the command line asked of the search; None where it did not say."""

    beams: int | None
    returned: int | None
    groups: int | None
    diversity_penalty: float | None
    length_penalty: float | None
    stochastic: str | None

    def check_absent(self) -> None:
        """Without a search there is nothing that these could mean."""
        names = ("--return", "--beam-groups", "--diversity-penalty", "--length-penalty", "--stochastic")
        fields = (self.returned, self.groups, self.diversity_penalty, self.length_penalty, self.stochastic)
        for name, value in zip(names, fields, strict=True):
            if value is not None:
                raise InvalidArgument.of(name, "used with --beams", value, "add --beams 4")


def run_search(options: Options, sampling: SamplingParams, beams: BeamOptions) -> int:
    """Searches, then shows the texts; 0."""
    terminal = Terminal(as_json=options.as_json, debug=options.debug)
    with terminal.guard():
        _search(options, _params(options, sampling, beams), sampling.logprobs, terminal)
    return 0


def _params(options: Options, sampling: SamplingParams, beams: BeamOptions) -> BeamParams:
    from ..types import BeamParams

    if beams.stochastic not in (None, *_STOCHASTIC):
        raise InvalidArgument.of("--stochastic", "one of " + ", ".join(_STOCHASTIC), repr(beams.stochastic))
    draws = sampling.temperature > 0
    warpers = {name: getattr(sampling, name) for name in ("top_k", "top_p", "min_p")}
    if not draws and (sampling.top_k, sampling.top_p, sampling.min_p) != (0, 1.0, 0.0):
        raise InvalidArgument.of("--top-k, --top-p and --min-p", "used with --temperature", warpers)
    count, groups = beams.beams or 0, beams.groups or 1
    default = groups if groups > 1 else count if beams.stochastic else 1
    given: dict[str, Any] = {"diversity_penalty": beams.diversity_penalty, "length_penalty": beams.length_penalty}
    given = {name: value for name, value in given.items() if value is not None}
    if draws:
        given |= {"do_sample": True, "temperature": sampling.temperature, **warpers}
    return BeamParams(
        num_beams=count,
        num_return=default if beams.returned is None else beams.returned,
        num_beam_groups=groups,
        stochastic=_STOCHASTIC[beams.stochastic] if beams.stochastic else False,  # type: ignore[arg-type]
        max_new_tokens=sampling.max_new_tokens,
        stop=sampling.stop,
        ignore_eos=sampling.ignore_eos,
        seed=sampling.seed,
        keep_lattice=options.show,
        **given,
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """A text, and what was asked about it."""

    text: Hypothesis
    citations: list[Citation] | None
    logprobs: Logprobs | None


def _search(options: Options, params: BeamParams, alternatives: int | None, terminal: Terminal) -> None:
    drafter = drafter_of(options.drafter, options.max_nodes)
    prompt = read_prompt(options, terminal)
    start = perf_counter()
    with open_engine(options.model, drafter, terminal) as engine:
        loaded = perf_counter() - start
        vocab = engine.executor.caps.vocab_size
        if alternatives is not None and not 0 <= alternatives <= vocab:
            raise InvalidArgument.of("--logprobs", f"0 … {vocab}, the vocabulary size", alternatives)
        ids = engine.encode(as_chat(prompt, options, engine))
        sources = open_sources(options.cite, options.cite_min, engine) if options.cite else None
        start = perf_counter()
        with terminal.wait(f"searching with {params.num_beams} beams, {len(ids)} prompt tokens"):
            beams: Beams = engine.beam_search(ids, params)
        seconds = perf_counter() - start
        cited = [None if sources is None else cite(one, sources, options.cite_min, engine) for one in beams]
        judged = [None] * len(beams) if alternatives is None else _judged(engine, ids, beams, alternatives)
        found = [_Found(*one) for one in zip(beams, cited, judged, strict=True)]
        if not options.as_json:
            if options.show:
                _draw(beams, engine, terminal)
            _write(found, engine, terminal, headings=not options.show)
            if options.stats:
                _tell(beams, seconds, terminal)
        terminal.document(_document(engine, options, beams, found, loaded, seconds))


def _judged(engine: Engine, ids: Any, beams: Beams, alternatives: int) -> list[Logprobs]:
    """The model's law at each token of the texts: they are read once more, since a search keeps no rows."""
    from ..reading import logprobs_of_given

    return logprobs_of_given(engine, [(ids, one.token_ids) for one in beams], alternatives)


def _draw(beams: Beams, engine: Engine, terminal: Terminal) -> None:
    assert beams.lattice is not None
    err, label = terminal.err, label_of(engine)
    for line in draw_lattice(beams.lattice, beams, label, err.width):
        err.print(line, soft_wrap=True)
    err.print(LEGEND, style="dim", markup=False)
    for rank, one in enumerate(beams, 1):
        about = f"■{rank} {_about(one)} "
        text = elided(visible(one.text), max(8, err.width - len(about)))
        err.print(about + text, style="bold green" if rank == 1 else "default", markup=False, soft_wrap=True)


def _about(one: Hypothesis) -> str:
    """Score, sum and end of a text; of draws their weight."""
    total = float(one.step_scores.sum())
    parts = [f"score {one.score:.3f}", f"sum {total:.2f}", f"{len(one.token_ids)} tokens", f"{one.finish_reason}"]
    if one.log_weight is not None:
        parts.append(f"log weight {one.log_weight:.2f}")
    return ", ".join(parts)


def _write(found: list[_Found], engine: Engine, terminal: Terminal, *, headings: bool) -> None:
    """The texts on stdout; headings between several of them, and all about them, on stderr, so that a pipe gets texts
    alone."""
    out, label = terminal.out, label_of(engine)
    for rank, one in enumerate(found, 1):
        if headings and len(found) > 1:
            terminal.err.print(f"{rank}: {_about(one.text)}", style="cyan", markup=False)
        text = one.text.text
        if one.citations is not None:
            show_cited(text, one.citations, terminal)
            out.print()
        else:
            out.file.write((printable(text) if out.is_terminal else text) + "\n")
        out.file.flush()
        if one.logprobs is not None:
            show_logprobs(one.text.token_ids, one.logprobs, label, terminal)
        if one.citations is not None:
            show_sources(text, one.citations, terminal)


def _tell(beams: Beams, seconds: float, terminal: Terminal) -> None:
    stats = beams.stats
    for line in (
        f"{stats.beam_steps} steps of the search in {stats.steps} forwards and {seconds:.2f} s; "
        f"{stats.drafted} drafted rows, speculation {stats.speculation}",
        f"ms per forward: {phases_of(stats)}",
        f"{stats.prompt_tokens} prompt tokens; seed {stats.seed}",
    ):
        terminal.note(line)


def _document(
    engine: Engine, options: Options, beams: Beams, found: list[_Found], loaded: float, seconds: float
) -> dict[str, Any]:
    lattice = beams.lattice
    return {
        **origin_of(engine, options),
        "hypotheses": [_told(one) for one in found],
        "stats": asdict(beams.stats),
        "seconds": {"load": loaded, "total": seconds},
        "lattice": None if lattice is None else asdict(lattice),
    }


def _told(one: _Found) -> dict[str, Any]:
    told = asdict(one.text)
    if one.logprobs is not None:
        told["logprobs"] = logprobs_json(one.logprobs)
    if one.citations is not None:
        told["citations"] = citations_json(one.text.text, one.citations)
    return told
