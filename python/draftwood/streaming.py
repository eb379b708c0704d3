"""Streams: synchronous ones run the steps in `next()`, asynchronous ones in one thread per engine."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from .types import Output, StreamEvent, error_of_output

if TYPE_CHECKING:
    from .running import RunningEngine
    from .ticket import Ticket


UNREAD_EVENTS = 64
"""A stream with so many events that nobody has read is not scheduled."""


class Stream:
    """An iterator of `StreamEvent`; leaving it early, `close()` or garbage collection cancels the request."""

    def __init__(self, engine: RunningEngine, ticket: Ticket) -> None:
        self._engine, self._ticket, self._raised = engine, ticket, False

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> StreamEvent:
        event = self._ticket.next_event()
        if event is None and not self._ticket.done:
            self._engine._advance(self._ticket)
            event = self._ticket.next_event()
        if event is not None:
            return event
        error = error_of_output(self._ticket.output())
        if error is not None and not self._raised:
            self._raised = True
            raise error
        raise StopIteration

    @property
    def output(self) -> Output | None:
        """The whole output, once the text has ended."""
        return self._ticket.output() if self._ticket.done else None

    def cancel(self, sample: int) -> None:
        """Ends one sample (n > 1); the others go on."""
        self._engine._cancel_sample(self._ticket, sample)

    def close(self) -> None:
        """Cancels what has not ended; the pages go back."""
        self._engine._release([self._ticket])

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        ticket = getattr(self, "_ticket", None)
        if ticket is not None and not ticket.done:
            self.close()


class AsyncStream:
    """An asynchronous iterator of `StreamEvent`."""

    def __init__(self, engine: RunningEngine, ticket: Ticket) -> None:
        import asyncio  # a third of what importing this package takes; whoever calls this has it

        self._engine, self._ticket = engine, ticket
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._failure: BaseException | None = None
        ticket.wake = self._wake
        engine._driver.add(self)

    @property
    def ended(self) -> bool:
        """Whether no step will bring another event."""
        return self._ticket.done or self._failure is not None

    @property
    def unread(self) -> int:
        """Events that the reader has not taken yet."""
        return self._ticket.unread

    def lead(self) -> None:
        """One step, from the driver's thread; its failure is raised to the reader."""
        try:
            self._engine._lead(self._ticket)
        except BaseException as failure:
            # First the failure: a reader that sees the text end by its release must know why.
            self._failure = failure
            self._engine._release([self._ticket])
            self._wake()

    def _wake(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._news.set)

    def __aiter__(self) -> AsyncStream:
        return self

    async def __anext__(self) -> StreamEvent:
        while True:
            event = self._ticket.next_event()
            if event is not None:
                self._engine._driver.kick()
                return event
            if self._failure is not None:
                raise self._failure
            if self._ticket.done:
                error = error_of_output(self._ticket.output())
                if error is not None:
                    self._failure = StopAsyncIteration()
                    raise error
                raise StopAsyncIteration
            self._news.clear()
            if not self._ticket.unread and not self.ended:
                await self._news.wait()

    @property
    def output(self) -> Output | None:
        """The whole output, once the text has ended."""
        return self._ticket.output() if self._ticket.done else None

    async def cancel(self, sample: int) -> None:
        """Ends one sample (n > 1); the others go on."""
        import asyncio

        await asyncio.to_thread(self._engine._cancel_sample, self._ticket, sample)
        self._engine._driver.kick()

    async def aclose(self) -> None:
        """Cancels what has not ended."""
        import asyncio

        await asyncio.to_thread(self._engine._release, [self._ticket])
        self._engine._driver.kick()

    def __del__(self) -> None:
        ticket = getattr(self, "_ticket", None)
        if ticket is not None and not ticket.done:
            self._engine._release([ticket])


class AsyncDriver:
    """Leads steps for the asynchronous streams of an engine, in one thread that lives while there are any."""

    def __init__(self, engine: RunningEngine) -> None:
        self._engine = engine
        self._streams: list[AsyncStream] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, stream: AsyncStream) -> None:
        """Drives this stream until it ends."""
        with self._changed:
            self._streams.append(stream)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="draftwood-astream", daemon=True)
                self._thread.start()
            self._changed.notify()

    def kick(self) -> None:
        """A stream has been read or has ended: look again."""
        with self._changed:
            self._changed.notify()

    def _next(self) -> AsyncStream | None:
        """The stream with the fewest unread events; waits while all are full, None when there are none."""
        with self._changed:
            while True:
                self._streams = [s for s in self._streams if not s.ended]
                if not self._streams:
                    self._thread = None
                    return None
                hungry = min(self._streams, key=lambda stream: stream.unread)
                if hungry.unread < UNREAD_EVENTS:
                    return hungry
                self._changed.wait()

    def _run(self) -> None:
        while (stream := self._next()) is not None:
            stream.lead()
