"""The compiled core: sessions, drafters, formats. Every algorithm of the library runs behind these classes."""

from collections.abc import Sequence
from typing import Any, final

from numpy import float32, int32, int64
from numpy.typing import NDArray
from typing_extensions import disjoint_base

__all__ = ["Event", "Forest", "NGram", "Session", "TokenBytes", "Views", "__version__", "isa"]

__version__: str

def isa() -> str: ...

@final
class Event:
    request: int
    sequence: int | None
    tokens: bytes
    text: str
    chosen: bytes
    top_ids: bytes
    top: bytes
    finish_reason: str | None
    stop_token: int | None
    stop_string: int | None
    error: Exception | None
    stats: tuple[int, int, int, int, int, int]

@final
class Forest:
    def __new__(cls) -> Forest: ...
    def __len__(self) -> int: ...
    def clear(self) -> None: ...
    def add_root(self, views: Views, i: int) -> None: ...
    def add(
        self,
        views: Views,
        i: int,
        tokens: NDArray[int64],
        parents: NDArray[int64],
        prob: NDArray[float32] | None = None,
    ) -> None: ...

@disjoint_base
class NGram:
    def __new__(cls, max_ngram: int = 3, min_prob: float = 0.01) -> NGram: ...
    @property
    def max_ngram(self) -> int: ...
    @property
    def min_prob(self) -> float: ...
    def propose_batch(self, views: Views) -> Forest: ...
    def close(self, sequence: int) -> None: ...

@final
class Session:
    def __new__(
        cls,
        *,
        vocab: int,
        max_context: int,
        page_size: int,
        pages: int,
        max_step_rows: int,
        tree_budget: int,
        end_tokens: Sequence[int],
        token_bytes: TokenBytes | None = None,
    ) -> Session: ...
    @property
    def page_size(self) -> int: ...
    @property
    def has_text(self) -> bool: ...
    @property
    def plan_capacity(self) -> int: ...
    def submit(
        self,
        prompt: NDArray[int32],
        *,
        temperature: float,
        top_k: int,
        top_p: float,
        min_p: float,
        seed: int,
        max_new_tokens: int,
        min_new_tokens: int,
        stop: Sequence[str],
        ignore_eos: bool,
        logprobs: int | None = None,
        width: int = 1,
    ) -> int: ...
    def cancel(self, request: int) -> None: ...
    def pause(self, request: int, paused: bool) -> None: ...
    def begin(self) -> Views: ...
    def plan(self, forest: Forest | None, block: NDArray[int32]) -> tuple[list[int], int]: ...
    def verify(self, logits: Any) -> None: ...
    def commit(self) -> tuple[list[Event], bytes | None]: ...
    def commit_paths(
        self,
        survivors: Sequence[tuple[int, int, int, float]],
        finished: Sequence[tuple[int, int, int, float]],
    ) -> tuple[list[int], list[Event], bytes | None]: ...
    def rollback(self) -> None: ...
    def moves_failed(self) -> None: ...
    def take_events(self) -> list[Event]: ...
    def tokens(self, sequence: int) -> bytes | None: ...
    def counts(self) -> dict[str, int]: ...

@final
class TokenBytes: ...

@final
class Views:
    @property
    def idle(self) -> bool: ...
    def __len__(self) -> int: ...
    def view(self, i: int) -> tuple[int, bytes, int, int]: ...
    def fail(self, i: int, error: Exception) -> None: ...
