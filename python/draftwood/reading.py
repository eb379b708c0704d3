"""What a model makes of given texts: `Engine.score` and `Engine.embed`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InvalidArgument, UnsupportedModel
from .reads import decoder_ids, read_prompt
from .requests import encode_prompt, prompts_of
from .ticket import sound_output
from .types import Logprobs, SamplingParams

if TYPE_CHECKING:
    from .engine import Engine


def score(engine: Engine, prompt: Any, continuation: Any) -> Any:
    """See `Engine.score`: a generation whose choices are given."""
    prompts, single = prompts_of(prompt)
    continuations = [continuation] if single else list(continuation)
    if len(continuations) != len(prompts):
        expected = f"{len(prompts)} continuations, one per prompt"
        raise InvalidArgument.of("continuation", expected, len(continuations))
    pairs = [_ids(engine, *pair) for pair in zip(prompts, continuations, strict=True)]
    scores = [logprobs.chosen for logprobs in logprobs_of_given(engine, pairs, 0)]
    return scores[0] if single else scores


def logprobs_of_given(engine: Engine, pairs: Sequence[tuple[Any, Any]], alternatives: int) -> list[Logprobs]:
    """Raw log-probabilities of continuations, and of so many alternatives to each token; pairs of ids."""

    def submit(ids: Any, forced: Any) -> Any:
        params = SamplingParams(max_new_tokens=len(forced), ignore_eos=True, logprobs=alternatives, seed=0)
        return engine._submit(ids, params, forced=forced)

    outputs = [sound_output(ticket) for ticket in engine._run_all(submit(*pair) for pair in pairs)]
    return [output.logprobs for output in outputs if output.logprobs is not None]


def _ids(engine: Engine, prompt: Any, continuation: Any) -> tuple[Any, Any]:
    """Ids of the prompt and of the continuation."""
    if getattr(engine.executor, "settings", None) is not None:
        return _heard(engine, prompt, continuation)
    strings = isinstance(prompt, str), isinstance(continuation, str)
    if strings[0] != strings[1]:
        got = "a string and ids" if strings[0] else "ids and a string"
        raise InvalidArgument.of("prompt and continuation", "two strings, or ids both", got)
    if all(strings):
        alone, together = engine.encode(prompt), engine.encode(prompt + continuation)
        most = min(len(alone), len(together))
        differs = np.flatnonzero(alone[:most] != together[:most])
        border = int(differs[0]) if len(differs) else most
        ids, forced = together[:border], together[border:]
    else:
        ids, forced = engine.encode(prompt), encode_prompt(continuation, None, None)
    if not len(forced):
        raise InvalidArgument.of("continuation", "at least one token", "none")
    if not len(ids):
        raise InvalidArgument.of("prompt", "at least one token before the continuation", "none")
    if len(ids) + len(forced) > engine.max_context:
        expected = f"at most {engine.max_context} tokens together"
        raise InvalidArgument.of("prompt and continuation", expected, len(ids) + len(forced))
    return ids, forced


def _heard(engine: Engine, prompt: Any, continuation: Any) -> tuple[Any, Any]:
    """The same for a model whose encoder reads the prompt: the continuation is a text of its own."""
    forced = decoder_ids(engine, continuation)
    if not len(forced):
        raise InvalidArgument.of("continuation", "at least one token", "none")
    begin = len(read_prompt(engine, prompt, None)[0])
    if begin + len(forced) > engine.max_context:
        raise InvalidArgument.of("continuation", f"at most {engine.max_context - begin} tokens", len(forced))
    return prompt, forced


def embed(engine: Engine, text: Any) -> Any:
    """See `Engine.embed`: one token more, of which the row is kept instead of the token."""
    if not engine.executor.caps.hidden_states:
        raise UnsupportedModel.of(f"hidden states of {engine.executor.caps.name}", "use a model with weights")
    texts, single = prompts_of(text)
    params = SamplingParams(max_new_tokens=1, ignore_eos=True, seed=0)
    kept = engine._session.hidden
    tickets: list[Any] = []

    def submit(ids: Any) -> Any:
        tickets.append(engine._submit(ids, params, keep_hidden=True))
        return tickets[-1]

    try:
        for ticket in engine._run_all(submit(one) for one in texts):
            sound_output(ticket)
        states = [_array(kept[ticket.request]) for ticket in tickets]
    finally:
        for ticket in tickets:
            kept.pop(ticket.request, None)
    return states[0] if single else states


def _array(state: Any) -> Any:
    """A NumPy copy of what an executor returned, a torch tensor perhaps."""
    return np.array(state.float().numpy() if hasattr(state, "float") else state, np.float32)
