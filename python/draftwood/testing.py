"""For tests and examples: an engine without weights."""

from __future__ import annotations

from typing import Any

from .engine import Engine
from .loading import Parts
from .types import CacheConfig

__all__ = ["toy_engine"]


def toy_engine(
    vocab_size: int = 256,
    *,
    drafter: Any = "auto",
    draft_policy: str = "auto",
    max_context: int = 4096,
    seed: int = 0,
    context_weight: float = 0.5,
    stop_ids: tuple[int, ...] = (),
    cache: CacheConfig | None = None,
) -> Engine:
    """An engine over a model of hashes: needs only NumPy, and every logit depends on every visible cache slot.

    Shapes
        vocab_size: V; context_weight: 0 makes loops that drafts follow, 10 makes texts that none can.
    Returns
        An `Engine` without a tokenizer: prompts are token ids.
    Errors
        InvalidArgument for sizes outside their range.
    Cost
        V² float32 of memory; microseconds per row.
    Source
        None.
    Example
        >>> import draftwood as dw
        >>> dw.testing.toy_engine().generate([1, 2, 3], dw.SamplingParams(max_new_tokens=3)).token_ids.shape
        (3,)
    """
    from .models.toy import ToyExecutor

    executor = ToyExecutor(vocab_size, max_context, seed, context_weight)
    parts = Parts(executor, "toy", tuple(stop_ids))
    return Engine(parts, drafter=drafter, draft_policy=draft_policy, cache=cache or CacheConfig())
