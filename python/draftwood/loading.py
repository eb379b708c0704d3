"""From what a user names to the parts of an engine: executor, tokenizer, stop ids, session."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import _core
from .errors import InvalidArgument, OutOfPages, UnsupportedModel
from .executors.options import NativeOptions
from .types import CacheConfig, Executor

if TYPE_CHECKING:
    from .session import BatchDrafter, Session

_STEP_ROWS = 512
_DEFAULT_NODES = 16
_CONTEXTS = 8
_MADE = "choose where the executor is made"


@dataclass(frozen=True, slots=True)
class Parts:
    """What an engine is made of."""

    executor: Executor
    name: str
    stop_ids: tuple[int, ...] = ()
    tokenizer: Any = None
    tokenizer_problem: Exception | None = None
    """Why there is no tokenizer; raised when text is used."""
    max_context: int | None = None


def load_parts(
    model: Any,
    tokenizer: Any,
    *,
    max_context: int | None,
    executor: str = "auto",
    dtype: str = "auto",
    options: NativeOptions | None = None,
) -> Parts:
    """Reads whatever `model` is: an executor, a name, a file, a folder or a module."""
    options = options or NativeOptions()
    if isinstance(model, str | os.PathLike):
        from .models.load import load_source

        return load_source(os.fspath(model), max_context=max_context, executor=executor, dtype=dtype, options=options)
    made = isinstance(model, Parts)
    if not made and not (hasattr(model, "forward") and hasattr(model, "caps")):
        from .models.load import load_module

        return load_module(model, tokenizer, max_context=max_context, executor=executor, dtype=dtype, options=options)
    for name, value in (("executor", executor), ("dtype", dtype)):
        if value != "auto":
            hint = _MADE
            expected = f'"auto" for a {type(model).__name__}, whose executor is there'
            raise InvalidArgument.of(name, expected, repr(value), hint)
    options.check_unused("an executor that is there", _MADE)
    return model if made else Parts(model, model.caps.name, tokenizer=tokenizer, max_context=max_context)


def auto_drafter(max_nodes: int = _DEFAULT_NODES) -> Any:
    """What `drafter="auto"` stands for: everything that the text itself says."""
    from .drafters import Mix, NGram, Suffix

    return Mix(NGram(), Suffix(), max_nodes=max_nodes)


def make_drafter(drafter: Any) -> tuple[BatchDrafter | None, int]:
    """The drafter of an engine in its long form, and the most nodes of its trees."""
    if drafter is None:
        return None, 1
    if isinstance(drafter, str):
        if drafter != "auto":
            raise InvalidArgument.of("drafter", '"auto", None or a drafter', repr(drafter))
        drafter = auto_drafter()
    nodes = getattr(drafter, "max_nodes", _DEFAULT_NODES)
    if not isinstance(nodes, int) or not 1 <= nodes <= _STEP_ROWS:
        raise InvalidArgument.of("the drafter's max_nodes", f"1 … {_STEP_ROWS}", nodes)
    if hasattr(drafter, "propose_batch"):
        return drafter, nodes
    if hasattr(drafter, "propose"):
        from .step import PythonDrafter

        return PythonDrafter(drafter), nodes
    raise InvalidArgument.of("drafter", "an object with propose(view)", type(drafter).__name__, "see draftwood.Drafter")


def make_session(parts: Parts, drafter: Any, cache: CacheConfig, draft_policy: str = "auto") -> tuple[Session, int]:
    """The session of an engine, with its pool of pages, and the most nodes of its trees."""
    from .session import Session

    long_form, nodes = make_drafter(drafter)
    check = getattr(drafter, "check_tokenizer", None)
    if check is not None and parts.tokenizer is not None:
        check(parts.tokenizer)
    caps = parts.executor.caps
    if getattr(drafter, "needs_hidden", False) and not caps.hidden_states:
        raise UnsupportedModel.of(
            f"{type(drafter).__name__}, a drafter that needs hidden states, on {caps.name}, which has none,",
            "take a drafter without needs_hidden, or an executor with caps.hidden_states",
        )
    context = parts.max_context or caps.max_context
    if not 2 <= context <= caps.max_context:
        raise InvalidArgument.of("max_context", f"2 … {caps.max_context}, the model's own limit", context)
    page_bytes = caps.slot_bytes * cache.page_size
    one_context = -(-(context + nodes) // cache.page_size)
    if cache.bytes is None:
        quarter = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
        pages = min(quarter // page_bytes, _CONTEXTS * one_context)
    else:
        pages = cache.bytes // page_bytes
    if pages < 1:
        raise OutOfPages(
            f"the cache must hold at least one page of {page_bytes} bytes, got {cache.bytes} bytes; "
            "give CacheConfig more bytes",
            needed=1,
            free=pages,
            total=pages,
            hint="give CacheConfig more bytes",
        )
    tokenizer = parts.tokenizer
    core = _core.Session(
        vocab=caps.vocab_size,
        max_context=context,
        page_size=cache.page_size,
        pages=min(pages, 2**31 // cache.page_size - 1) + 1,
        max_step_rows=_STEP_ROWS,
        tree_budget=nodes,
        end_tokens=sorted(set(parts.stop_ids)),
        token_bytes=None if tokenizer is None else tokenizer.token_bytes,
        draft_policy=draft_policy,
    )
    parts.executor.allocate(min(pages, 2**31 // cache.page_size - 1) + 1, cache.page_size)
    return Session(core, parts.executor, long_form, measures=draft_policy == "auto"), nodes
