"""What a caller gives an encoder–decoder: a text or sound for the encoder, and what the decoder begins with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import _core
from .errors import InvalidArgument, UnsupportedModel
from .requests import encode_prompt, prompts_of

if TYPE_CHECKING:
    from .running import RunningEngine

__all__ = ["Read", "decoder_ids", "decoder_prompts", "read_prompt"]


@dataclass(frozen=True, slots=True)
class Read:
    """What the encoder of `executor` shall read for a request."""

    executor: Any
    source: Any
    max_context: int

    def rules(self, prompt: int, limit: int) -> list[_core.Rule]:
        """Rules that are a part of the model, of a text with so many tokens in front and at most so many to come."""
        rules: list[_core.Rule] = self.executor.settings.rules(prompt, min(limit, self.max_context - prompt))
        return rules

    def bind(self, request: int) -> None:
        """Lets the executor know; whoever ends the request calls `free`."""
        self.executor.sources[request] = self.source

    def free(self, request: int) -> None:
        """Forgets the keys of a request; a step that is running with them keeps them until it is over."""
        self.executor.sources.pop(request, None)


def decoder_prompts(given: Any, count: int) -> Sequence[Any]:
    """One decoder prompt per prompt: the same for all, or a list of as many."""
    if given is None:
        return [None] * count
    each, single = prompts_of(given)
    if single:
        return each * count
    if len(each) != count:
        raise InvalidArgument.of("decoder_prompt", f"one, or a list of {count}, one per prompt", len(each))
    return each


def read_prompt(engine: RunningEngine, prompt: Any, decoder_prompt: Any) -> tuple[Any, Read | None]:
    """The ids [T] that a text begins with, and what its encoder reads, if the model has one."""
    settings = getattr(engine.executor, "settings", None)
    if settings is None:
        if decoder_prompt is not None:
            hint = "put it into the prompt"
            raise InvalidArgument.of("decoder_prompt", "None for a model without an encoder", "one", hint)
        return engine.encode(prompt), None
    executor: Any = engine.executor
    if not executor.reads_sound and not isinstance(prompt, Mapping):
        prompt = engine.encode(prompt)
    source = executor.source(prompt)
    ids = None if decoder_prompt is None else decoder_ids(engine, decoder_prompt)
    return settings.prompt(ids), Read(executor, source, engine.max_context)


def decoder_ids(engine: RunningEngine, prompt: Any) -> Any:
    """Ids [T] of what a decoder says. A string is continued, so the tokenizer must not put its end tokens behind it."""
    if not isinstance(prompt, str):
        return encode_prompt(prompt, engine.tokenizer, engine._tokenizer_problem)
    if engine.tokenizer is None:
        raise engine._tokenizer_problem or UnsupportedModel.of("text without a tokenizer", "pass token ids")
    return engine.tokenizer.encode_plain([prompt])[0]
