"""Several drafts from one row per step: from `SuperposedParams` to the core's search, from its drafts to `Beams`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from .beams import end_tokens_of
from .errors import InvalidArgument, UnsupportedModel
from .requests import _count as count_of
from .requests import _field as field_of
from .retrieval.index import FMIndex, index_of
from .retrieval.steps import Prompted, engine_of, run_searches
from .types import Beams, BeamStats, Hypothesis

if TYPE_CHECKING:
    from .engine import Engine
    from .search import SuperposedParams

__all__ = ["SuperposedSearch", "run"]

_PAPERS_ALPHA = 0.54


class SuperposedSearch:
    """The search of one prompt, as the engine's steps drive it: one text, whose rows are mixtures of its drafts."""

    seed = None
    """Nothing is drawn."""
    refusal = "drafts share one row already"

    def __init__(self, core: _core.Superposed, embed: Callable[[NDArray[np.int32]], NDArray[np.float32]]) -> None:
        self._core, self._embed = core, embed

    @property
    def done(self) -> bool:
        """Whether the search has ended."""
        return self._core.done

    def step(self, values: Any, rows: Sequence[int], kind: str) -> list[tuple[int, int, float]]:
        """Moves all drafts on by what one row says; the text that goes on is called by its best draft's token."""
        return self._core.step(values, rows, kind)

    def vector(self) -> NDArray[np.float32] | None:
        """What the next row begins with, [d]: Σ γ · E, added in f32 in the order of the drafts. None before the first
        step, when the row is the prompt's."""
        mixture = self._core.mixture()
        if not mixture:
            return None
        embeddings = self._embed(np.array([token for token, _ in mixture], np.int32))
        mixed = embeddings[0] * np.float32(mixture[0][1])
        for row, (_, weight) in zip(embeddings[1:], mixture[1:], strict=True):
            mixed += row * np.float32(weight)
        return mixed

    def beams(
        self,
        stats: BeamStats,
        decode: Callable[[NDArray[np.int32]], str] | None = None,
        error: Exception | None = None,
    ) -> Beams:
        """The drafts."""
        found = []
        for tokens, steps, parents, score, is_finished in self._core.drafts():
            ids = np.frombuffer(tokens, np.int32)
            found.append(
                Hypothesis(
                    token_ids=ids,
                    score=score,
                    text="" if decode is None else decode(ids[:-1] if is_finished else ids),
                    finish_reason="stop" if is_finished else "length",
                    stop_reason=int(ids[-1]) if is_finished else None,
                    step_scores=np.frombuffer(steps, np.float64).astype(np.float32),
                    beam_indices=np.frombuffer(parents, np.int32),
                    raw_score=score,
                )
            )
        return Beams(tuple(found), stats, error)


def run(engine: Engine, prompts: Sequence[Any], params: SuperposedParams, index: FMIndex | None) -> list[Beams]:
    """Searches for all prompts side by side."""
    engine, index = engine_of(engine), None if index is None else index_of(index)
    if not engine.executor.caps.embeddings:
        what = f"superposed decoding, whose rows are vectors, on {engine.executor.caps.name},"
        raise UnsupportedModel.of(what, "take the native or the transformers executor of a decoder-only model")
    if index is not None and engine.tokenizer is not None:
        index.check_tokenizer(engine.tokenizer)
    searches = [_opened(engine, prompt, params, index) for prompt in prompts]
    ended = run_searches(engine, searches)
    decode = None if engine.tokenizer is None else engine.tokenizer.decode
    return [search.beams(decode) for search in ended]


def _opened(engine: Engine, prompt: Any, params: SuperposedParams, index: FMIndex | None) -> Prompted:
    ids = engine.encode(prompt)
    caps, executor = engine.executor.caps, engine.executor
    drafts = count_of(params.num_drafts, "num_drafts")
    if drafts < 1:
        raise InvalidArgument.of("num_drafts", "at least 1", drafts)
    limit = count_of(params.max_new_tokens, "max_new_tokens")
    if limit < 1:
        raise InvalidArgument.of("max_new_tokens", "at least 1", limit)
    limit = min(limit, max(1, engine.max_context - len(ids)))
    ends = end_tokens_of(params, engine._beams._stop_ids)
    if ends and ends[-1] >= caps.vocab_size:
        raise InvalidArgument.of("eos_token_id", f"below the vocabulary size {caps.vocab_size}", ends[-1])
    table = None if engine.tokenizer is None else engine.tokenizer.token_bytes
    banned = [] if table is None else [*table.holes(), *range(len(table), caps.vocab_size)]
    alpha = params.alpha
    if alpha is None:
        alpha = 0.0 if index is None else _PAPERS_ALPHA
    weights = params.order_weights
    if isinstance(weights, str) or not hasattr(weights, "__len__"):
        raise InvalidArgument.of("order_weights", "a sequence of numbers", type(weights).__name__)
    core = _core.Superposed(
        None if index is None else index.core,
        ids.tolist(),
        drafts=drafts,
        length=limit,
        tokens=3 * drafts if params.top_k is None else count_of(params.top_k, "top_k"),
        temperature=field_of(params.temperature, float, "temperature", "a number"),
        alpha=field_of(alpha, float, "alpha", "a number"),
        orders=[field_of(weight, float, "order_weights", "numbers") for weight in weights],
        ends=ends,
        banned=banned,
    )
    return Prompted(ids, SuperposedSearch(core, executor.embed), 1, limit)  # type: ignore[attr-defined]  # caps.embeddings promises it
