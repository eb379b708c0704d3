"""From what a caller passes to a request of the session."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .errors import InvalidArgument, UnsupportedModel, shown_as
from .ticket import Asked, Ticket
from .types import SamplingParams

if TYPE_CHECKING:
    from .models.tokenizer import Tokenizer
    from .reads import Read
    from .session import Session

Prompt = Any
"""A string, a sequence of ids, or a list of chat messages."""

_MOST_SAMPLES = 4096


def random_seed() -> int:
    """63 bits of the system's randomness. `secrets` gives the same, and its import loads all of hashing."""
    return int.from_bytes(os.urandom(8), "little") >> 1


def prompts_of(prompt: Any) -> tuple[list[Any], bool]:
    """The prompts of a call, and whether it was a single one: a nested list is a batch."""
    if isinstance(prompt, str):
        return [prompt], True
    if isinstance(prompt, Mapping):
        if _is_message(prompt):
            raise InvalidArgument.of(
                "prompt", "a string, ids, or a list of messages", "one message", "put it in a list"
            )
        return [prompt], True
    if getattr(prompt, "ndim", None) == 1:
        return [prompt], True
    try:
        items = list(prompt)
    except TypeError:
        raise InvalidArgument.of("prompt", "a string, ids, or a list of messages", type(prompt).__name__) from None
    if not items:
        raise InvalidArgument.of("prompt", "at least one token, or at least one prompt", "an empty list")
    if _is_message(items[0]) or not _is_prompt(items[0]):
        return [items], True
    return items, False


def params_of(params: Any, count: int, kind: type) -> list[Any]:
    """The parameters of each of `count` prompts: the same for all, or a list of as many; None takes the defaults."""
    if params is None:
        return [kind()] * count
    if isinstance(params, kind):
        return [params] * count
    each = list(params) if isinstance(params, Sequence) else [params]
    if len(each) != count or not all(isinstance(one, kind) for one in each):
        expected = f"a {kind.__name__} or a list of {count}, one per prompt"
        got = f"{len(each)} values" if len(each) != count else ", ".join(type(one).__name__ for one in each)
        raise InvalidArgument.of("params", expected, got)
    return each


def _is_message(item: Any) -> bool:
    return isinstance(item, Mapping) and not item.keys().isdisjoint(("role", "content"))


def _is_prompt(item: Any) -> bool:
    return isinstance(item, str) or (isinstance(item, Iterable) and getattr(item, "ndim", 1) != 0)


def encode_prompt(prompt: Any, tokenizer: Tokenizer | None, problem: Exception | None) -> Any:
    """Ids [T] int32 of one prompt."""
    import numpy as np

    if isinstance(prompt, Mapping):
        got = f"a dict of {', '.join(map(repr, prompt))}"
        raise InvalidArgument.of(
            "prompt", "a string, ids, or a list of messages", got, "dicts are for encoders of sound"
        )
    messages = isinstance(prompt, list) and bool(prompt) and isinstance(prompt[0], Mapping)
    if isinstance(prompt, str) or messages:
        if tokenizer is None:
            raise problem or UnsupportedModel.of("text without a tokenizer", "pass token ids, or give the engine one")
        return tokenizer.encode_chat(prompt) if messages else tokenizer.encode(prompt)
    if getattr(prompt, "ndim", 1) != 1:
        raise InvalidArgument.of("prompt ids", "one-dimensional", f"{prompt.ndim} dimensions")
    try:
        array = np.asarray(prompt)
    except Exception:
        array = np.empty(0, object)
    if array.size and array.dtype.kind not in "iu":
        raise InvalidArgument.of("prompt ids", "integers", f"{array.dtype} values")
    if array.size and (array.min() < 0 or array.max() >= 2**31):
        bad = array.min() if array.min() < 0 else array.max()
        raise InvalidArgument.of("a prompt id", "0 or more, and below the vocabulary size", bad)
    return np.ascontiguousarray(array, np.int32)


def _field(value: Any, kind: type, name: str, expected: str) -> Any:
    """A parameter as the core wants it; what cannot be one is refused by its name."""
    if not _is_bool(value) and hasattr(value, "__float__" if kind is float else "__index__"):
        try:
            return float(value) if kind is float else value.__index__()
        except (TypeError, ValueError, OverflowError):  # arrays of several values; integers beyond all floats
            pass
    raise InvalidArgument.of(name, expected, shown_as(repr, value))


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool) or getattr(getattr(value, "dtype", None), "kind", "") == "b"


def _flag(value: Any, name: str) -> bool:
    if not _is_bool(value) or getattr(value, "ndim", 0) != 0:
        raise InvalidArgument.of(name, "True or False", shown_as(repr, value))
    return bool(value)


def _count(value: Any, name: str, most: int = 2**31 - 1) -> int:
    number: int = _field(value, int, name, "an integer")
    if not 0 <= number <= most:
        raise InvalidArgument.of(name, f"0 … {most}", number)
    return number


def _salt(value: Any) -> int:
    """A salt as the core compares it: 64 bits of a hash, of which nobody finds a second text."""
    if value is None:
        return 0
    if not isinstance(value, str) or not value:
        raise InvalidArgument.of("cache_salt", "a string of at least one character, or None", repr(value))
    from hashlib import blake2b

    return int.from_bytes(blake2b(value.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def submit(
    session: Session,
    ids: Any,
    params: SamplingParams,
    seed: int,
    is_stream: bool,
    forced: Any = None,
    read: Read | None = None,
) -> Ticket:
    """Queues one prompt; checks every field. `read` is what an encoder shall read for it."""
    stop = [params.stop] if isinstance(params.stop, str) else list(params.stop)
    if not all(isinstance(one, str) for one in stop):
        raise InvalidArgument.of("stop", "strings", repr(stop))
    if stop and not session.core.has_text:
        raise UnsupportedModel.of("a stop string without a tokenizer", "give the engine a tokenizer")
    seed = _count(seed, "seed", 2**64 - 1)
    n, drawn = _samples(params, is_stream)
    is_ranked = params.best_of is not None and drawn > 1
    # Ranks are means of log-probabilities, whether the caller sees them or not.
    logprobs = 0 if params.logprobs is None and is_ranked else params.logprobs
    rules = native_rules(params)
    others: list[Any] = []
    processed: list[Any] = []
    if params.processors:
        from .processing import Processed, rules_of

        leading, others = rules_of(params.processors)
        rules += leading
    if others:
        ends = [] if params.ignore_eos else session.core.end_tokens
        # A draw may fall on any token, so that rules which test tokens test them all.
        first = Processed(others, ids, ends, 2**31 if params.temperature else 1)
        processed = [first, *(first.apart() for _ in range(1, drawn))]
    if read is not None:
        rules += read.rules(len(ids), params.max_new_tokens)
    request = session.core.submit(
        ids,
        temperature=_field(params.temperature, float, "temperature", "a number"),
        top_k=_count(params.top_k, "top_k"),
        top_p=_field(params.top_p, float, "top_p", "a number"),
        min_p=_field(params.min_p, float, "min_p", "a number"),
        seed=seed,
        max_new_tokens=_count(params.max_new_tokens, "max_new_tokens"),
        min_new_tokens=_count(params.min_new_tokens, "min_new_tokens"),
        stop=stop,
        ignore_eos=bool(params.ignore_eos),
        logprobs=None if logprobs is None else _count(logprobs, "logprobs"),
        samples=drawn,
        rules=rules,
        foreign=bool(processed),
        forced=forced,
        backspace=None
        if params.backspace_token_id is None
        else _count(params.backspace_token_id, "backspace_token_id"),
        source=None if read is None else read.source.token_ids,
        salt=_salt(params.cache_salt),
    )
    if read is not None:
        read.bind(request)
    if processed:
        session.ruled.add(request, processed, params.backspace_token_id)
    asked = Asked(seed, stop, params.logprobs, n, drawn, is_ranked)
    return Ticket(request, asked, session.times, is_stream, processed)


def _samples(params: SamplingParams, is_stream: bool) -> tuple[int, int]:
    """How many samples are wanted, and how many are drawn."""
    n = _at_least_one(params.n, "n")
    if params.best_of is None:
        drawn = n
    else:
        drawn = _at_least_one(params.best_of, "best_of")
        if drawn < n:
            raise InvalidArgument.of("best_of", f"at least n = {n}", drawn)
        if is_stream and drawn > n:
            raise InvalidArgument.of(
                "best_of", f"None or n = {n} in a stream", drawn, "which samples are the best is known at the end"
            )
    if drawn > 1 and params.temperature == 0:
        name = "n" if n > 1 else "best_of"
        raise InvalidArgument.of(name, "1 with temperature=0", drawn, "greedy samples would all be the same")
    return n, drawn


def _at_least_one(value: Any, name: str) -> int:
    number = _count(value, name, _MOST_SAMPLES)
    if number == 0:
        raise InvalidArgument.of(name, f"1 … {_MOST_SAMPLES}", number)
    return number


def native_rules(params: SamplingParams) -> list[Any]:
    """The rules that fields ask for, in the order in which they are applied."""
    from . import constraints

    rules: list[constraints.NativeRule] = []
    if params.repetition_penalty != 1.0:
        rules.append(constraints.RepetitionPenalty(params.repetition_penalty))
    if params.no_repeat_ngram_size != 0:
        rules.append(constraints.NoRepeatNgrams(params.no_repeat_ngram_size))
    if len(params.bad_words):
        rules.append(constraints.BadWords(params.bad_words))
    if params.allowed_tokens is not None:
        rules.append(constraints.AllowedTokens(params.allowed_tokens))
    return [rule.core for rule in rules]
