"""From what a caller passes to a request of the session, and from events to an Output."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .errors import DraftwoodError, InvalidArgument, OutOfPages, UnsupportedModel
from .types import Logprobs, Output, PhaseTimes, SamplingParams, Stats, StreamEvent, error_of_output

if TYPE_CHECKING:
    from .models.tokenizer import Tokenizer
    from .session import Session


def prompts_of(prompt: Any) -> tuple[list[Any], bool]:
    """The prompts of a call, and whether it was a single one: a nested list is a batch."""
    if isinstance(prompt, str):
        return [prompt], True
    if isinstance(prompt, Mapping):
        raise InvalidArgument.of("prompt", "a string, ids, or a list of messages", "one message", "put it in a list")
    if getattr(prompt, "ndim", None) == 1:
        return [prompt], True
    try:
        items = list(prompt)
    except TypeError:
        raise InvalidArgument.of("prompt", "a string, ids, or a list of messages", type(prompt).__name__) from None
    if not items:
        raise InvalidArgument.of("prompt", "at least one token, or at least one prompt", "an empty list")
    if isinstance(items[0], Mapping) or not _is_prompt(items[0]):
        return [items], True
    return items, False


def _is_prompt(item: Any) -> bool:
    return isinstance(item, str) or (isinstance(item, Iterable) and getattr(item, "ndim", 1) != 0)


def encode_prompt(prompt: Any, tokenizer: Tokenizer | None, problem: Exception | None) -> Any:
    """Ids [T] int32 of one prompt."""
    import numpy as np

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
    if isinstance(value, bool) or not hasattr(value, "__float__" if kind is float else "__index__"):
        raise InvalidArgument.of(name, expected, repr(value))
    return float(value) if kind is float else value.__index__()


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
    session: Session, ids: Any, params: SamplingParams, seed: int, is_stream: bool, forced: Any = None
) -> Ticket:
    """Queues one prompt; checks every field."""
    stop = [params.stop] if isinstance(params.stop, str) else list(params.stop)
    if not all(isinstance(one, str) for one in stop):
        raise InvalidArgument.of("stop", "strings", repr(stop))
    if stop and not session.core.has_text:
        raise UnsupportedModel.of("a stop string without a tokenizer", "give the engine a tokenizer")
    seed = _count(seed, "seed", 2**64 - 1)
    rules = native_rules(params)
    others: list[Any] = []
    processed = None
    if params.processors:
        from .processing import Processed, rules_of

        leading, others = rules_of(params.processors)
        rules += leading
    if others:
        ends = [] if params.ignore_eos else session.core.end_tokens
        # A draw may fall on any token, so that rules which test tokens test them all.
        processed = Processed(others, ids, ends, 2**31 if params.temperature else 1)
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
        logprobs=None if params.logprobs is None else _count(params.logprobs, "logprobs"),
        rules=rules,
        foreign=processed is not None,
        forced=forced,
        salt=_salt(params.cache_salt),
    )
    if processed is not None:
        session.ruled.add(request, processed)
    return Ticket(request, seed, stop, params.logprobs, session.times, is_stream, processed)


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


class Ticket:
    """One submitted prompt: the events that nobody has read yet, and everything generated so far."""

    def __init__(
        self,
        request: int,
        seed: int,
        stop: list[str],
        top: int | None,
        since: PhaseTimes,
        is_stream: bool,
        processed: Any = None,
    ) -> None:
        self.request, self.is_stream, self.paused, self.done = request, is_stream, False, False
        self._seed, self._stop, self._top, self._since = seed, stop, top, since
        self._processed = processed
        self._inbox: deque[Any] = deque()
        self._all: list[Any] = []
        self._times = PhaseTimes()
        self.wake: Any = None
        """Called after each event, from the thread that led the step; used by asyncio."""

    @property
    def unread(self) -> int:
        """Events that a stream has not taken yet."""
        return len(self._inbox)

    def receive(self, event: Any, session: Session) -> None:
        """Takes an event of the session."""
        self._all.append(event)
        if event.finish_reason is not None:
            self.done = True
            self._times = session.times - self._since
        if self.is_stream:
            self._inbox.append(event)
            if self.wake is not None:
                self.wake()

    def next_event(self) -> StreamEvent | None:
        """The oldest unread event."""
        if not self._inbox:
            return None
        event = self._inbox.popleft()
        tokens, logprobs = _arrays([event], self._top)
        return StreamEvent(event.text, tokens, logprobs, event.finish_reason)

    def output(self) -> Output:
        """Everything, once the text has ended."""
        last = self._all[-1]
        tokens, logprobs = _arrays(self._all, self._top)
        prompt, new, steps, prefill, drafted, accepted = last.stats
        rows = 0 if self._processed is None else self._processed.rows
        stop = last.stop_token if last.stop_string is None else self._stop[last.stop_string]
        return Output(
            text="".join(event.text for event in self._all),
            token_ids=tokens,
            finish_reason=last.finish_reason,
            stop_reason=stop,
            logprobs=logprobs,
            stats=Stats(prompt, new, steps, prefill, drafted, accepted, self._seed, self._times, rows),
            error=last.error,
        )

    def starved(self, session: Session) -> DraftwoodError:
        """The error of a request that waited too long for pages that others hold."""
        counts = session.stats()
        return OutOfPages(
            "cache pages must become free for this request, got none for a minute; "
            "read or close the streams that hold them, or give the cache more bytes",
            needed=None,
            free=counts["pages_free"],
            total=counts["pages_total"],
            hint="read or close the streams that hold them",
        )


def _arrays(events: list[Any], top: int | None) -> tuple[Any, Logprobs | None]:
    import numpy as np

    tokens = np.frombuffer(b"".join(event.tokens for event in events), np.int32)
    if top is None:
        return tokens, None
    chosen = np.frombuffer(b"".join(event.chosen for event in events), np.float32)
    ids = np.frombuffer(b"".join(event.top_ids for event in events), np.int32)
    values = np.frombuffer(b"".join(event.top for event in events), np.float32)
    shape = (len(chosen), min(top, len(ids)))
    return tokens, Logprobs(chosen, ids.reshape(shape), values.reshape(shape))


def sound_output(ticket: Ticket) -> Output:
    """The output of a text that has ended; raises the error that ended it."""
    output = ticket.output()
    error = error_of_output(output)
    if error is not None:
        raise error
    return output
