"""`draftwood compare`: the same texts generated plainly and with draft trees, over one set of weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import InvalidArgument
from ..types import SamplingParams
from .measure import Difference, Timed, compare_texts, time_text
from .prompts import Kind, Prompt, choose, read_kinds
from .source import drafter_of, has_chat, open_pair
from .stage import Stage
from .terminal import INTERRUPTED, Interrupt, Terminal
from .trees import StepTree, tree_of_step

if TYPE_CHECKING:
    from ..engine import Engine
    from ..step import StepPlan

__all__ = ["Case", "Options", "run_compare"]

_WARM_UP_TOKENS = 8
_DIFFERS = 1


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asked for."""

    kinds: str | None
    tokens: int
    prompts: int
    model: str
    drafter: str
    max_nodes: int | None
    list_kinds: bool
    as_json: bool
    debug: bool


@dataclass(frozen=True, slots=True)
class Case:
    """One prompt, generated both ways."""

    kind: Kind
    prompt: Prompt
    plain: Timed
    drafted: Timed
    difference: Difference | None


@dataclass(slots=True)
class _Best:
    """The step whose tree is worth drawing, of those that accepted anything."""

    tree: StepTree | None = None
    kind: str = ""

    def offer(self, tree: StepTree, kind: str) -> None:
        if tree.accepted and (self.tree is None or tree.interest > self.tree.interest):
            self.tree, self.kind = tree, kind


def run_compare(options: Options) -> int:
    """0, 1 if texts differ by more than rounding, 130 after ctrl-C with the kinds that were finished."""
    terminal = Terminal(as_json=options.as_json, debug=options.debug)
    with terminal.guard():
        status = _list(terminal) if options.list_kinds else _compare(options, terminal)
    return status


def _list(terminal: Terminal) -> int:
    kinds = read_kinds()
    for kind in kinds:
        terminal.out.print(f"{kind.name:12} {kind.about}", markup=False)
    terminal.document([{"kind": kind.name, "about": kind.about, "prompts": len(kind.prompts)} for kind in kinds])
    return 0


def _compare(options: Options, terminal: Terminal) -> int:
    from . import report

    kinds = choose(options.kinds)
    most = max(len(kind.prompts) for kind in kinds)
    if not 1 <= options.prompts <= most:
        raise InvalidArgument.of("--prompts", f"1 … {most}", options.prompts)
    if options.drafter == "none":
        raise InvalidArgument.of("--drafter", "auto or ngram", "none", "plain decoding is the other side already")
    if options.tokens < 2:
        raise InvalidArgument.of("--tokens", "2 or more", options.tokens, "a speed needs a second token")
    plain, drafted = open_pair(options.model, drafter_of(options.drafter, options.max_nodes), terminal)
    best = _Best()
    with plain, drafted, Interrupt() as interrupt:
        with terminal.wait("warming up"):
            for engine in (plain, drafted):
                engine.generate([1, 2, 3], SamplingParams(max_new_tokens=_WARM_UP_TOKENS, ignore_eos=True))
        cases = _cases(kinds, options, (plain, drafted), best, interrupt, terminal)
        result = report.Result(plain, drafted, options, cases, best.tree, best.kind)
        if cases:
            report.show(result, terminal)
        terminal.document(report.document(result))
    if interrupt.pressed:
        return INTERRUPTED
    return _DIFFERS if any(case.difference and not case.difference.near_tie for case in cases) else 0


def _cases(
    kinds: list[Kind],
    options: Options,
    engines: tuple[Engine, Engine],
    best: _Best,
    interrupt: Interrupt,
    terminal: Terminal,
) -> list[Case]:
    work = [(kind, prompt) for kind in kinds for prompt in kind.prompts[: options.prompts]]
    cases: list[Case] = []
    with Stage(terminal, len(work)) as stage:
        for kind, prompt in work:
            stage.begin(kind.name, prompt.source)
            case = _case(kind, prompt, options, engines, best, (stage, interrupt), flip=len(cases) % 2 == 1)
            if case is None:
                break
            stage.end(case.difference)
            cases.append(case)
    return cases


def _case(
    kind: Kind,
    prompt: Prompt,
    options: Options,
    engines: tuple[Engine, Engine],
    best: _Best,
    watchers: tuple[Stage, Interrupt],
    *,
    flip: bool,
) -> Case | None:
    """Both texts of a prompt, every other time the drafted one first; None if ctrl-C came between."""
    stage, interrupt = watchers
    params = SamplingParams(max_new_tokens=options.tokens, stop=prompt.stop, **kind.params)
    ids = _encoded(engines[0], prompt)

    def on_step(plan: StepPlan, events: list[Any]) -> None:
        best.offer(tree_of_step(plan, events), kind.name)

    engines[1].on_step(on_step)
    timed: dict[int, Timed] = {}
    for side in (1, 0) if flip else (0, 1):
        stage.side(side)
        timed[side] = time_text(engines[side], ids, params, stage.show)
        stage.done(timed[side])
        if interrupt.pressed:
            return None
    engines[1].on_step(None)
    texts = (timed[0].output.token_ids, timed[1].output.token_ids)
    return Case(kind, prompt, timed[0], timed[1], compare_texts(*engines, ids, params, texts))


def _encoded(engine: Engine, prompt: Prompt) -> Any:
    """Chat messages go as plain text to a model without a chat template."""
    content = prompt.content
    if isinstance(content, list) and not has_chat(engine):
        content = content[-1]["content"]
    return engine.encode(content)
