"""What a submitted prompt has brought so far: events that nobody has read yet, and the outputs that they add up to."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .errors import DraftwoodError, OutOfPages
from .types import Logprobs, Output, PhaseTimes, Stats, StreamEvent, error_of_output

if TYPE_CHECKING:
    from .session import Session

__all__ = ["Asked", "Ticket", "sound_output"]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the caller wants of a request, as far as its outputs show it."""

    seed: int
    stop: Sequence[str]
    logprobs: int | None
    n: int = 1
    drawn: int = 1
    """Samples that are drawn, at least n."""
    is_ranked: bool = False
    """Whether the best n of them are wanted, best first."""


class Ticket:
    """One submitted prompt and its samples."""

    def __init__(
        self, request: int, asked: Asked, since: PhaseTimes, is_stream: bool, processed: Sequence[Any] = ()
    ) -> None:
        self.request, self.is_stream, self.paused = request, is_stream, False
        self._asked, self._since = asked, since
        self._inbox: deque[Any] = deque()
        rules = processed or [None] * asked.drawn
        self._texts = [_Text(asked, sample, its) for sample, its in enumerate(rules)]
        self._running = asked.drawn
        self._failure: DraftwoodError | None = None
        self.wake: Any = None
        """Called after each event, from the thread that led the step; used by asyncio."""

    @property
    def done(self) -> bool:
        """Whether all samples have ended."""
        return self._running == 0

    @property
    def samples(self) -> int:
        """Samples that are drawn."""
        return len(self._texts)

    @property
    def unread(self) -> int:
        """Events that a stream has not taken yet."""
        return len(self._inbox)

    @property
    def silent(self) -> bool:
        """Whether nothing has been told of the texts yet."""
        return not any(text.events for text in self._texts)

    def fail(self, error: DraftwoodError) -> None:
        """The cancellation that follows ends the texts with an error of their engine."""
        self._failure = error

    def _reason(self, event: Any) -> Any:
        failed = event.finish_reason == "cancelled" and self._failure is not None
        return "error" if failed else event.finish_reason

    def receive(self, event: Any, session: Session) -> None:
        """Takes an event of the session."""
        text = self._texts[event.sample]
        text.events.append(event)
        if event.finish_reason is not None:
            self._running -= 1
            text.times = session.times - self._since
        if self.is_stream:
            self._inbox.append(event)
            if self.wake is not None:
                self.wake()

    def next_event(self) -> StreamEvent | None:
        """The oldest unread event."""
        if not self._inbox:
            return None
        event = self._inbox.popleft()
        _, tokens, logprobs = _joined([event], self._asked.logprobs)
        return StreamEvent(
            event.text,
            tokens,
            logprobs,
            self._reason(event),
            event.sample,
            event.retracted,
            event.retracted_text,
        )

    def output(self) -> Output:
        """Everything, once all samples have ended."""
        outputs = [text.output() for text in self._texts]
        if self._failure is not None:
            outputs = [
                replace(output, finish_reason="error", error=self._failure)
                if output.finish_reason == "cancelled"
                else output
                for output in outputs
            ]
        asked = self._asked
        if asked.is_ranked:
            ranks = [text.rank() for text in self._texts]
            order = sorted(range(len(outputs)), key=lambda sample: ranks[sample], reverse=True)
            outputs = [outputs[sample] for sample in order[: asked.n]]
        if asked.n == 1:
            return outputs[0]
        first = next((output for output in outputs if output.error is None), outputs[0])
        return replace(first, samples=tuple(outputs))

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


class _Text:
    """One sample."""

    def __init__(self, asked: Asked, sample: int, processed: Any) -> None:
        self._asked, self._sample, self._processed = asked, sample, processed
        self.events: list[Any] = []
        self.times = PhaseTimes()

    def output(self) -> Output:
        """Everything that came."""
        last = self.events[-1]
        text, tokens, logprobs = _joined(self.events, self._asked.logprobs)
        prompt, new, steps, prefill, drafted, accepted = last.stats
        rows = 0 if self._processed is None else self._processed.rows
        stop = last.stop_token if last.stop_string is None else self._asked.stop[last.stop_string]
        if last.stop_loop:
            stop = "loop"
        stats = Stats(prompt, new, steps, prefill, drafted, accepted, self._asked.seed, self.times, rows)
        return Output(text, tokens, last.finish_reason, stop, logprobs, stats, last.error, self._sample)

    def rank(self) -> tuple[bool, float]:
        """Grows with the mean log-probability of the tokens; equal ones keep their order in a stable sort."""
        _, _, logprobs = _joined(self.events, 0)
        some = logprobs is not None and len(logprobs.chosen) > 0
        mean = float(logprobs.chosen.mean(dtype="float64")) if some and logprobs is not None else float("-inf")
        return self.events[-1].error is None, mean


def _joined(events: Sequence[Any], top: int | None) -> tuple[str, Any, Logprobs | None]:
    """Text, tokens [T] and log-probabilities of consecutive events, without what later ones take back."""
    import numpy as np

    text = ""
    arrays = {name: bytearray() for name in ("tokens", "chosen", "top_ids", "top")}
    for event in events:
        if back := event.retracted if text or arrays["tokens"] else 0:
            text = text[: len(text) - event.retracted_text]
            count = len(arrays["tokens"]) // 4
            for array in arrays.values():
                del array[len(array) - len(array) // count * back :]
        text += event.text
        for name, array in arrays.items():
            array += getattr(event, name)
    tokens = np.frombuffer(bytes(arrays["tokens"]), np.int32)
    if top is None:
        return text, tokens, None
    chosen = np.frombuffer(bytes(arrays["chosen"]), np.float32)
    ids = np.frombuffer(bytes(arrays["top_ids"]), np.int32)
    values = np.frombuffer(bytes(arrays["top"]), np.float32)
    shape = (len(chosen), min(top, len(ids)))
    return text, tokens, Logprobs(chosen, ids.reshape(shape), values.reshape(shape))


def sound_output(ticket: Ticket) -> Output:
    """The output of a text that has ended; raises the error that ended it, or all of its samples."""
    output = ticket.output()
    error = error_of_output(output)
    if error is not None:
        raise error
    return output
