"""What a model's generation settings say about each text of its decoder: how it begins and ends, what it never says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..errors import InvalidArgument, UnsupportedModel

__all__ = ["DecoderSettings"]


@dataclass(frozen=True, slots=True)
class DecoderSettings:
    """Read from `generation_config` as a part of the model, in transformers' sense; what is a matter of taste (sampling
    values, lengths, penalties) is not."""

    start: tuple[int, ...]
    """What a text begins with."""
    prepends: bool
    """Whether `start` is put before a decoder prompt that does not begin with it."""
    problem: str | None
    """Why a decoder prompt must be given."""
    forced_bos: int | None
    forced_eos: tuple[int, ...]
    suppressed: tuple[int, ...]
    begin_suppressed: tuple[int, ...]
    bad_words: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, model: Any) -> DecoderSettings:
        """Of a transformers encoder–decoder."""
        settings = model.generation_config
        start = settings.decoder_start_token_id
        if start is None:
            start = settings.bos_token_id
        if not isinstance(start, int):
            raise UnsupportedModel.of(
                f"a generation_config whose decoder_start_token_id is {start!r}", "set it to the id a text begins with"
            )
        whisper = model.config.model_type == "whisper"
        tokens, problem = _whisper_start(start, settings, model.config) if whisper else ((start,), None)
        return cls(
            start=tokens,
            prepends=not whisper,
            problem=problem,
            forced_bos=settings.forced_bos_token_id,
            forced_eos=_many(settings.forced_eos_token_id),
            suppressed=_many(settings.suppress_tokens),
            begin_suppressed=_many(settings.begin_suppress_tokens),
            bad_words=tuple(tuple(word) for word in settings.bad_words_ids or ()),
        )

    def prompt(self, ids: NDArray[np.int32] | None) -> NDArray[np.int32]:
        """The decoder's prompt [T]: `ids` as transformers would complete them, or the model's own start."""
        if ids is None:
            if self.problem is not None:
                raise InvalidArgument.of("decoder_prompt", self.problem, "none")
            return np.array(self.start, np.int32)
        if not len(ids):
            raise InvalidArgument.of("decoder_prompt", "at least one token", "none", "leave it out for the model's own")
        if self.prepends and ids[0] != self.start[0]:
            return np.concatenate([np.array(self.start, np.int32), ids])
        return ids

    def rules(self, prompt: int, limit: int) -> list[_core.Rule]:
        """The rules of a text after `prompt` tokens that ends after at most `limit` more."""
        found = []
        if self.bad_words:
            from ..constraints import BadWords

            found.append(BadWords(self.bad_words).core)
        first = self.forced_bos if prompt == 1 else None
        last = (limit - 1, self.forced_eos) if self.forced_eos else None
        begin = (int(first is not None), self.begin_suppressed) if self.begin_suppressed else None
        if first is not None or last is not None or self.suppressed or begin is not None:
            found.append(_core.Rule.placed(first, last, self.suppressed, begin))
        return found


def _many(value: int | Sequence[int] | None) -> tuple[int, ...]:
    if value is None:
        return ()
    return tuple(one for one in ((value,) if isinstance(value, int) else value) if one >= 0)


def _whisper_start(start: int, settings: Any, config: Any) -> tuple[tuple[int, ...], str | None]:
    """Whisper's start, language, task and notimestamps tokens, by the rules of its own `generate`; and what is missing
    if the language would have to be heard first."""
    language, task = getattr(settings, "language", None), getattr(settings, "task", None)
    tokens: list[int | None] = [start]
    if language is None and task is None:
        forced = getattr(settings, "forced_decoder_ids", None) or getattr(config, "forced_decoder_ids", None) or []
        for place, token in forced:
            if place == len(tokens):
                tokens.append(token)
    languages, tasks = getattr(settings, "lang_to_id", None), getattr(settings, "task_to_id", None) or {}
    problem = None
    if language is not None:
        known = languages or {}
        tokens[1:2] = [known.get(language, known.get(f"<|{language}|>"))]
    if languages and (len(tokens) < 2 or tokens[1] is None):
        problem = "start, language, task and notimestamps tokens, since this model would have to detect the language"
    if task is not None or language is not None:
        tokens.append(tasks.get(task or "transcribe"))
    without = getattr(settings, "no_timestamps_token_id", None)
    if getattr(settings, "return_timestamps", False):
        problem = "given, for a model that is set to return timestamps"
    elif without is not None and tokens[-1] != without:
        tokens.append(without)
    return tuple(token for token in tokens if token is not None), problem
