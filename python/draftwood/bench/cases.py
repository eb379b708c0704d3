"""What is measured: each case names weights, works and arms; the first arm is the reference of the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InvalidArgument
from .arm import ArmSpec
from .models import BenchModel, Weights
from .peers import Peers

__all__ = ["CASES", "Case", "Setting", "Work", "build", "choose"]

_OURS = Path(__file__).with_name("arms") / "ours.py"
_DECODE_PROMPT, _DECODE_TOKENS, _DRAFT_TOKENS, _PREFILL_ROWS = 128, 128, 64, 512
_ROWS, _REPEATS, _ROWS_CONTEXT = (1, 2, 4, 8, 12, 16, 24, 32), 5, 128
_LONG_REPEATS = 3


@dataclass(frozen=True, slots=True)
class Work:
    """One thing that every arm does in a round."""

    name: str
    kind: str
    """decode, prefill, rows, start or load; see `worker.py`."""
    prompt: tuple[int, ...]
    tokens: int = 1
    bytes: float = 0.0
    """Bytes that must be read for it at least; 0 if no floor is meant."""
    multiply_adds: Mapping[str, float] = field(default_factory=dict)
    """By the type of the weights."""
    rows: int = 1
    repeats: int = 1
    ends: bool = False
    """Whether an end token ends it."""
    group: str | None = None
    """Works whose ratios are averaged."""
    loaded: int = 0
    """Bytes of the file that is loaded."""

    @property
    def units(self) -> int:
        """What its seconds are for: tokens after the first one when decoding, else the whole."""
        return self.tokens - 1 if self.kind == "decode" else 1

    def frame(self) -> dict[str, Any]:
        """As a worker reads it."""
        frame: dict[str, Any] = {"kind": self.kind, "prompt": list(self.prompt), "tokens": self.tokens}
        if self.kind == "rows":
            frame |= {"rows": self.rows, "repeats": self.repeats}
        return frame | ({"ends": True} if self.ends else {})


@dataclass(frozen=True, slots=True)
class Case:
    """Works and arms."""

    name: str
    about: str
    model: str
    works: tuple[Work, ...]
    arms: tuple[ArmSpec, ...]
    threads: int
    kind: str = "f32"
    """The type of the weights."""
    step_bytes: float = 0.0
    """What one row reads of them."""

    @property
    def units(self) -> int:
        """Units of all works."""
        return sum(work.units for work in self.works)


@dataclass(frozen=True, slots=True)
class Setting:
    """What the command line chose for all cases."""

    threads: int
    executor: str = "native"
    peers: Peers | None = None
    """Where peers and weight files are."""
    beside: bool = True
    """Whether the peers run too."""
    types: tuple[str, ...] = ("f32",)
    data: Path | None = None
    """The folder of text collections, for `spec-bench`."""


def choose(names: Sequence[str]) -> list[str]:
    """Known names without repetition; without any, all that need nothing from outside and no hour."""
    for name in names:
        if name not in CASES:
            raise InvalidArgument.of("CASE", "some of " + ", ".join(CASES), repr(name), "see draftwood bench --list")
    return list(dict.fromkeys(names)) or [name for name in CASES if name not in ("toy", "spec-bench")]


def build(name: str, setting: Setting) -> list[Case]:
    """One case per type of weights; reads prompts' ids and sizes from the files' metadata, no weights."""
    about, make = CASES[name]
    if name == "toy":
        works = (Work("numbers", "decode", tuple(range(1, 9)) * 4, 256),)
        arms = [_ours(arm, {"model": "toy"}, drafter, setting) for arm, drafter in _DRAFTS.items()]
        return [Case(name, about, "toy", works, tuple(arms), setting.threads)]
    if name == "retrieval":
        from .retrieval import retrieval_case

        return [retrieval_case(name, about, setting)]
    return [_build(name, about, make, Weights.find(kind, setting.peers), setting) for kind in setting.types]


def _build(name: str, about: str, make: _Make, weights: Weights, setting: Setting) -> Case:
    model = BenchModel(weights)
    works, drafters, settings = make(model, setting)
    loads = {"model": weights.model, "dtype": weights.dtype, **settings}
    arms = [_ours(arm, loads, drafter, setting) for arm, drafter in drafters.items()]
    drafts = len(drafters) > 1
    # A text that ends where it ends needs arms that know ends: ours.
    if setting.peers is not None and setting.beside and not any(work.ends for work in works):
        kinds = {work.kind for work in works}
        arms += setting.peers.arms(weights.kind, weights.stem, kinds, weights.rounding, drafts=drafts, more=settings)
    full = name if weights.kind == "f32" else f"{name} {weights.kind}"
    about = f"{about}, {weights.kind}"
    return Case(full, about, weights.model, works, tuple(arms), setting.threads, weights.kind, model.step_bytes)


def _ours(name: str, loads: Mapping[str, Any], drafter: Any, setting: Setting) -> ArmSpec:
    # Rounding never excuses a native executor: it promises the same bits with and without drafts.
    exact = loads["model"] == "toy" or setting.executor != "transformers"
    settings = {**loads, "executor": setting.executor, "drafter": drafter}
    return ArmSpec(name, _OURS, settings, exact=exact, install="pip install 'draftwood[torch]'")


_Made = tuple[tuple[Work, ...], Mapping[str, Any], Mapping[str, Any]]
"""Works, drafters of our arms, settings of all arms."""
_Make = Callable[[BenchModel, Setting], _Made]
_PLAIN: Mapping[str, Any] = {"draftwood": None}
_DRAFTS: Mapping[str, Any] = {"draftwood drafts": "auto", "draftwood plain": None}


def _decode(model: BenchModel, _: Setting) -> _Made:
    return (_decoding(model, "document", model.long_text(_DECODE_PROMPT), _DECODE_TOKENS),), _PLAIN, {}


def _forward(model: BenchModel, _: Setting) -> _Made:
    text = model.long_text(_ROWS_CONTEXT + max(_ROWS))
    return tuple(_rows(model, n, text[: _ROWS_CONTEXT + n], _REPEATS) for n in _ROWS), _PLAIN, {}


def _context(model: BenchModel, _: Setting) -> _Made:
    text = model.long_text(model.context)
    settings = {"context": model.context + 16, "f32_cache": 1}
    return (_rows(model, 1, text, _LONG_REPEATS),), _PLAIN, settings


def _drafts(model: BenchModel, _: Setting) -> _Made:
    from ..cli.prompts import read_kinds

    greedy = [kind for kind in read_kinds() if not kind.params]
    works = [_decoding(model, k.name, model.ids(k.prompts[0].content), _DRAFT_TOKENS) for k in greedy]
    return tuple(works), _DRAFTS, {}


def _start(model: BenchModel, _: Setting) -> _Made:
    return (Work("short prompt", "start", model.ids("The capital of France is")),), _PLAIN, {}


def _load(model: BenchModel, _: Setting) -> _Made:
    prompt = model.ids("The capital of France is")
    return (Work("weights", "load", prompt, loaded=model.file_bytes),), _PLAIN, {}


def _prefill(model: BenchModel, _: Setting) -> _Made:
    prompt = model.long_text(_PREFILL_ROWS)
    work = Work("512 rows", "prefill", prompt, 1, model.step_bytes, model.products(len(prompt), 1))
    return (work,), _PLAIN, {}


def _spec_bench(model: BenchModel, setting: Setting) -> _Made:
    from .spec_bench import TOKENS, questions

    if setting.data is None:
        hint = "it must hold spec-bench/question.jsonl.gz (github.com/hemingkx/Spec-Bench)"
        raise InvalidArgument.of("DRAFTWOOD_DATA", "a folder of text collections", "none", hint)
    works = []
    for question in questions(setting.data):
        ids = model.ids(question.messages(model.ids))
        steps = TOKENS - 1
        each = model.step_bytes + model.slot_bytes() * (len(ids) + TOKENS / 2)
        products = model.products(steps, steps)
        works.append(Work(question.name, "decode", ids, TOKENS, steps * each, products, ends=True, group=question.task))
    return tuple(works), _DRAFTS, {}


CASES: Mapping[str, tuple[str, _Make]] = {
    "decode": ("plain greedy decoding, 128 tokens after a prompt of 128", _decode),
    "forward": ("t(n), a step of n = 1 … 32 rows after 128 tokens, and its roofline", _forward),
    "drafts": ("decoding with drafts on the prompts of `draftwood compare`, 64 tokens each", _drafts),
    "prefill": ("reading a prompt of 512 tokens up to the first token", _prefill),
    "context": ("one step of one row after the model's whole context", _context),
    "start": ("from the start of a process to the first token", _start),
    "load": ("reading the weights again in a warm process, the file in the page cache", _load),
    "spec-bench": ("drafts on 20 prompts of each of Spec-Bench's six tasks, 128 tokens at most", _spec_bench),
    "retrieval": ("counts, followers, places, constrained steps and drafts of an index, beside scans", _decode),
    "toy": ("two arms over a model of hashes, without weights: shows how the harness works in seconds", _decode),
}


def _decoding(model: BenchModel, name: str, prompt: tuple[int, ...], tokens: int) -> Work:
    """Each token after the first reads all weights and, on average, the cache of the prompt and half the answer."""
    cache, steps = model.slot_bytes() * (len(prompt) + tokens / 2), tokens - 1
    bytes = steps * (model.step_bytes + cache)
    return Work(name, "decode", prompt, tokens, bytes, model.products(steps, steps))


def _rows(model: BenchModel, rows: int, prompt: tuple[int, ...], repeats: int) -> Work:
    """The last `rows` tokens of the prompt in one step, what is before being cached."""
    bytes = model.step_bytes + model.slot_bytes() * (len(prompt) - 1)
    name = f"{rows} row{'s' * (rows > 1)}"
    return Work(name, "rows", prompt, 1, bytes, model.products(rows, rows), rows, repeats)
