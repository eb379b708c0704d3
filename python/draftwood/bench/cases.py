"""What is measured: each case names weights, works and arms; the first arm is the reference of the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import InvalidArgument
from .arm import ArmSpec
from .check import FLOAT32_ROUNDING, SIXTEEN_BIT_ROUNDING
from .models import BenchModel, Weights
from .peers import Peers

__all__ = ["CASES", "Case", "Setting", "Work", "build", "choose"]

_OURS = Path(__file__).with_name("arms") / "ours.py"
_DECODE_PROMPT, _DECODE_TOKENS, _DRAFT_TOKENS, _PREFILL_ROWS = 128, 128, 64, 512
_ROWS, _REPEATS, _ROWS_CONTEXT = (1, 2, 4, 8, 12, 16, 24, 32), 5, 128
_LONG_ROWS, _LONG_REPEATS = (8, 1), 3
_COPY_TOKENS, _COPY_PROMPTS, _COPY_KINDS = 128, 3, ("code edit", "extraction")
_BEAMS, _MANY_BEAMS, _BEAM_TOKENS, _FEW_BEAMS = (1, 4, 16), (1, 64), 48, 32
_SIXTEEN_BITS, _IN_PIECES = ("f16", "bf16"), ("spec-bench", "spec-bench-5")
_ON_REQUEST, _FEW_QUESTIONS = ("toy", "prefill-fast", *_IN_PIECES), 5


@dataclass(frozen=True, slots=True)
class Work:
    """One thing that every arm does in a round."""

    name: str
    kind: str
    """decode, prefill, rows, beams, start or load, see `worker.py`; or difference, of two others' seconds."""
    prompt: tuple[int, ...]
    tokens: int = 1
    bytes: float = 0.0
    """Bytes that must be read for it at least, the cache in float32; 0 if no floor is meant."""
    cache_bytes: float = 0.0
    """Those of them that are cache."""
    multiply_adds: Mapping[str, float] = field(default_factory=dict)
    """By the type of the weights."""
    rows: int = 1
    """Of one step; with beams their number."""
    repeats: int = 1
    between: tuple[str, str] | None = None
    """Of a difference: the work, and the one that is taken off."""
    ends: bool = False
    """Whether an end token ends it."""
    group: str | None = None
    """Works whose ratios are averaged."""
    loaded: float = 0.0
    """Bytes of the weights that are loaded, as they lie in memory."""

    @property
    def units(self) -> int:
        """What its seconds are for: tokens after the first one when decoding, all with beams, else the whole."""
        return {"decode": self.tokens - 1, "beams": self.tokens}.get(self.kind, 1)

    @property
    def needs(self) -> str:
        """What an arm must be able to do, as `peers.json` calls it."""
        return "many beams" if self.kind == "beams" and self.rows > _FEW_BEAMS else self.kind

    def bytes_with(self, cache: str) -> float:
        """Bytes that an arm must read whose cache is of that type, f32 or f16."""
        return self.bytes - (self.cache_bytes / 2 if cache == "f16" else 0.0)

    def frame(self) -> dict[str, Any]:
        """As a worker reads it."""
        frame: dict[str, Any] = {"kind": self.kind, "prompt": list(self.prompt), "tokens": self.tokens}
        if self.kind == "rows":
            frame |= {"rows": self.rows, "repeats": self.repeats}
        if self.kind == "beams":
            frame["beams"] = self.rows
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
    in_pieces: bool = False
    """Whether a round is too long to be quiet: then the gate judges pieces of it, see `pieces.py`."""

    @property
    def units(self) -> int:
        """Units of all works."""
        return sum(work.units for work in self.run)

    @property
    def run(self) -> tuple[Work, ...]:
        """Works that arms do: all but differences."""
        return tuple(work for work in self.works if work.between is None)


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
    return list(dict.fromkeys(names)) or [name for name in CASES if name not in _ON_REQUEST]


def build(name: str, setting: Setting) -> list[Case]:
    """One case per type of weights; reads prompts' ids and sizes from the files' metadata, no weights."""
    about, make = CASES[name]
    if name == "toy":
        works = (Work("numbers", "decode", tuple(range(1, 9)) * 4, 256),)
        arms = [_ours(arm, {"model": "toy"}, chosen, setting) for arm, chosen in _DRAFTS.items()]
        return [Case(name, about, "toy", works, tuple(arms), setting.threads)]
    if name == "retrieval":
        from .retrieval import retrieval_case

        return [retrieval_case(name, about, setting)]
    return [_build(name, about, make, Weights.find(kind, setting.peers), setting) for kind in setting.types]


def _build(name: str, about: str, make: _Make, weights: Weights, setting: Setting) -> Case:
    model = BenchModel(weights)
    works, variants, settings = make(model, setting)
    loads = {"model": weights.model, "dtype": weights.dtype, **settings}
    arms = [_ours(arm, loads, chosen, setting, weights.rounding) for arm, chosen in variants.items()]
    drafts = any(chosen.get("drafter") for chosen in variants.values())
    caches = any("cache" in chosen for chosen in variants.values())
    # A text that ends where it ends needs arms that know ends: ours.
    if setting.peers is not None and setting.beside and not any(work.ends or work.between for work in works):
        kinds = {work.needs for work in works}
        arms += setting.peers.arms(
            weights.kind, weights.stem, kinds, weights.rounding, drafts=drafts, caches=caches, more=settings
        )
    full = name if weights.kind == "f32" else f"{name} {weights.kind}"
    about = f"{about}, {weights.kind}"
    in_pieces = name in _IN_PIECES
    return Case(
        full, about, weights.model, works, tuple(arms), setting.threads, weights.kind, model.step_bytes, in_pieces
    )


def _ours(
    name: str, loads: Mapping[str, Any], chosen: _Chosen, setting: Setting, rounding: float = FLOAT32_ROUNDING
) -> ArmSpec:
    # Rounding never excuses a native executor: it promises the same bits with and without drafts. Only what rounds
    # more, and says so in its name, may differ.
    rounds = bool(chosen.keys() & {"numerics", "cache"})
    exact = not rounds and (loads["model"] == "toy" or setting.executor != "transformers")
    return ArmSpec(
        name,
        _OURS,
        {**loads, "executor": setting.executor, "drafter": None, **chosen},
        exact=exact,
        rounding=max(rounding, SIXTEEN_BIT_ROUNDING) if rounds else rounding,
        cache=chosen.get("cache", "f32"),
        install="pip install 'draftwood[torch]'",
    )


_Chosen = Mapping[str, Any]
"""What one of our arms is made with besides the weights: drafter, numerics, cache."""
_Made = tuple[tuple[Work, ...], Mapping[str, _Chosen], Mapping[str, Any]]
"""Works, our arms, settings of all arms."""
_Make = Callable[[BenchModel, Setting], _Made]
_PLAIN: Mapping[str, _Chosen] = {"draftwood": {}}
_DRAFTS: Mapping[str, _Chosen] = {"draftwood drafts": {"drafter": "auto"}, "draftwood plain": {}}
_CACHES: Mapping[str, _Chosen] = {"draftwood": {}, "draftwood f16": {"cache": "f16"}}
_FAST: Mapping[str, _Chosen] = {"draftwood fast": {"numerics": "fast"}, "draftwood exact": {}}


def _decode(model: BenchModel, _: Setting) -> _Made:
    return (_decoding(model, "document", model.long_text(_DECODE_PROMPT), _DECODE_TOKENS),), _PLAIN, {}


def _forward(model: BenchModel, _: Setting) -> _Made:
    text = model.long_text(_ROWS_CONTEXT + max(_ROWS))
    return tuple(_rows(model, n, text[: _ROWS_CONTEXT + n], _REPEATS) for n in _ROWS), _PLAIN, {}


def _context(model: BenchModel, _: Setting) -> _Made:
    text = model.long_text(model.context)
    works = tuple(_rows(model, n, text, _LONG_REPEATS) for n in _LONG_ROWS)
    return works, _CACHES, {"context": model.context + 16}


def _attention(model: BenchModel, _: Setting) -> _Made:
    """What a step takes after the whole context and not after its beginning: attention over the cache between."""
    text = model.long_text(model.context)
    works: list[Work] = []
    for n in _LONG_ROWS:
        late = _rows(model, n, text, _REPEATS)
        early = _rows(model, n, text[: _ROWS_CONTEXT + n], _REPEATS, f"{late.name}, early")
        bytes = late.cache_bytes - early.cache_bytes
        name, between = f"attention of {late.name}", (late.name, early.name)
        rest = Work(name, "difference", (), 1, bytes, bytes, rows=n, between=between)
        works += [late, early, rest]
    return tuple(works), dict(reversed(list(_CACHES.items()))), {"context": model.context + 16}


def _drafts(model: BenchModel, _: Setting) -> _Made:
    from ..cli.prompts import read_kinds

    greedy = [kind for kind in read_kinds() if not kind.params]
    works = [_decoding(model, k.name, model.ids(k.prompts[0].content), _DRAFT_TOKENS) for k in greedy]
    return tuple(works), _DRAFTS, {}


def _copies(model: BenchModel, _: Setting) -> _Made:
    from ..cli.prompts import read_kinds

    works = [
        replace(_decoding(model, f"{kind.name} {number}", model.ids(prompt.content), _COPY_TOKENS), group=kind.name)
        for kind in read_kinds()
        if kind.name in _COPY_KINDS
        for number, prompt in enumerate(kind.prompts[:_COPY_PROMPTS], 1)
    ]
    return tuple(works), _DRAFTS, {}


def _beams(model: BenchModel, _: Setting) -> _Made:
    return _searches(model, _BEAMS)


def _many_beams(model: BenchModel, _: Setting) -> _Made:
    return _searches(model, _MANY_BEAMS)


def _searches(model: BenchModel, beams: Sequence[int]) -> _Made:
    """One beam is greedy decoding, by each arm's own way of it."""
    prompt, steps = model.long_text(_DECODE_PROMPT), _BEAM_TOKENS - 1
    works = []
    for n in beams:
        products = model.products(len(prompt) + steps * n, 1 + steps * n)
        name = "greedy" if n == 1 else f"{n} beams"
        # A step reads weights and the cached prompt once for all beams.
        cache = float(steps * model.slot_bytes() * len(prompt))
        bytes = _BEAM_TOKENS * model.step_bytes + cache
        works.append(Work(name, "beams", prompt, _BEAM_TOKENS, bytes, cache, products, n))
    return tuple(works), _PLAIN, {}


def _start(model: BenchModel, _: Setting) -> _Made:
    return (Work("short prompt", "start", model.ids("The capital of France is")),), _PLAIN, {}


def _load(model: BenchModel, _: Setting) -> _Made:
    prompt = model.ids("The capital of France is")
    return (Work("weights", "load", prompt, loaded=model.step_bytes),), _PLAIN, {}


def _prefill(model: BenchModel, _: Setting) -> _Made:
    prompt = model.long_text(_PREFILL_ROWS)
    work = Work("512 rows", "prefill", prompt, 1, model.step_bytes, 0.0, model.products(len(prompt), 1))
    return (work,), _PLAIN, {}


def _prefill_fast(model: BenchModel, setting: Setting) -> _Made:
    if other := [kind for kind in setting.types if kind not in _SIXTEEN_BITS]:
        hint = 'numerics="fast" concerns weights of 16 bits alone'
        raise InvalidArgument.of("--types", " or ".join(_SIXTEEN_BITS) + " with prefill-fast", ", ".join(other), hint)
    works, _, settings = _prefill(model, setting)
    return works, _FAST, settings


def _spec_bench(model: BenchModel, setting: Setting) -> _Made:
    from .spec_bench import PER_TASK

    return _questions(model, setting, PER_TASK)


def _few_of_spec_bench(model: BenchModel, setting: Setting) -> _Made:
    return _questions(model, setting, _FEW_QUESTIONS)


def _questions(model: BenchModel, setting: Setting, per_task: int) -> _Made:
    from .spec_bench import TOKENS, questions

    if setting.data is None:
        hint = "it must hold spec-bench/question.jsonl.gz (github.com/hemingkx/Spec-Bench)"
        raise InvalidArgument.of("DRAFTWOOD_DATA", "a folder of text collections", "none", hint)
    works = []
    for question in questions(setting.data, per_task):
        ids = model.ids(question.messages(model.ids))
        work = _decoding(model, question.name, ids, TOKENS)
        works.append(replace(work, ends=True, group=question.task))
    return tuple(works), _DRAFTS, {}


CASES: Mapping[str, tuple[str, _Make]] = {
    "decode": ("plain greedy decoding, 128 tokens after a prompt of 128", _decode),
    "forward": ("t(n), a step of n = 1 … 32 rows after 128 tokens, and its roofline", _forward),
    "drafts": ("decoding with drafts on prompts of `draftwood compare`, 64 tokens", _drafts),
    "copies": ("drafts where answers repeat their prompt: code edits, extractions", _copies),
    "prefill": ("reading a prompt of 512 tokens up to the first token", _prefill),
    "prefill-fast": ('the same with numerics="fast", for weights of 16 bits', _prefill_fast),
    "context": ("a step of 8 rows and of 1 after the whole context; f32 and f16 caches", _context),
    "attention": ("attention alone: such a step less the same early in the text", _attention),
    "beams": ("greedy, 4 and 16 beams: 48 tokens after 128, reading these included", _beams),
    "beams-64": ("the same with 64 beams", _many_beams),
    "start": ("from the start of a process to the first token", _start),
    "load": ("reading the weights in a warm process, the file in the page cache", _load),
    "spec-bench": ("drafts on 20 prompts of each of Spec-Bench's tasks, 128 tokens", _spec_bench),
    "spec-bench-5": ("the same on the first 5 of each, for looking", _few_of_spec_bench),
    "retrieval": ("counts, places, constrained steps and drafts of an index, beside scans", _decode),
    "toy": ("two arms over a model of hashes, without weights: the harness in seconds", _decode),
}


def _decoding(model: BenchModel, name: str, prompt: tuple[int, ...], tokens: int) -> Work:
    """Each token after the first reads all weights and, on average, the cache of the prompt and half the answer."""
    steps = tokens - 1
    cache = steps * model.slot_bytes() * (len(prompt) + tokens / 2)
    bytes = steps * model.step_bytes + cache
    return Work(name, "decode", prompt, tokens, bytes, cache, model.products(steps, steps))


def _rows(model: BenchModel, rows: int, prompt: tuple[int, ...], repeats: int, name: str | None = None) -> Work:
    """The last `rows` tokens of the prompt in one step, what is before being cached."""
    cache = float(model.slot_bytes() * (len(prompt) - 1))
    name = name or f"{rows} row{'s' * (rows > 1)}"
    return Work(name, "rows", prompt, 1, model.step_bytes + cache, cache, model.products(rows, rows), rows, repeats)
