"""Streams: synchronous ones run the steps in `next()`, asynchronous ones in one thread per engine."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from .types import Output, StreamEvent, error_of_output

if TYPE_CHECKING:
    from .engine import Engine
    from .requests import Ticket


class Stream:
    """An iterator of `StreamEvent`; leaving it early, `close()` or garbage collection cancels the request."""

    def __init__(self, engine: Engine, ticket: Ticket) -> None:
        self._engine, self._ticket, self._raised = engine, ticket, False
        ticket.is_stream = True

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

    def __init__(self, engine: Engine, ticket: Ticket) -> None:
        self._engine, self._ticket = engine, ticket
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._failure: BaseException | None = None
        ticket.is_stream = True
        ticket.wake = self._wake
        engine._drive().add(self)

    def _wake(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._news.set)

    def __aiter__(self) -> AsyncStream:
        return self

    async def __anext__(self) -> StreamEvent:
        while True:
            event = self._ticket.next_event()
            if event is not None:
                self._engine._drive().kick()
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
            if not self._ticket.unread and not self._ticket.done and self._failure is None:
                await self._news.wait()

    @property
    def output(self) -> Output | None:
        """The whole output, once the text has ended."""
        return self._ticket.output() if self._ticket.done else None

    async def aclose(self) -> None:
        """Cancels what has not ended."""
        await asyncio.to_thread(self._engine._release, [self._ticket])

    def __del__(self) -> None:
        ticket = getattr(self, "_ticket", None)
        if ticket is not None and not ticket.done:
            self._engine._release([ticket])


class AsyncDriver:
    """The thread that leads steps for asynchronous streams; it sleeps while none of them wants a token."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._streams: list[AsyncStream] = []
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="draftwood-astream", daemon=True)
        self._thread.start()

    def add(self, stream: AsyncStream) -> None:
        """Drives this stream until it ends."""
        with self._changed:
            self._streams.append(stream)
            self._changed.notify()

    def kick(self) -> None:
        """A stream has been read: it may be scheduled again."""
        with self._changed:
            self._changed.notify()

    def stop(self) -> None:
        """Ends the thread."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _next(self) -> AsyncStream | None:
        """The stream with the fewest unread events that may take one more."""
        with self._changed:
            while not self._stopped:
                self._streams = [s for s in self._streams if not s._ticket.done and s._failure is None]
                hungry = [s for s in self._streams if s._ticket.unread < 64]
                if hungry:
                    return min(hungry, key=lambda stream: stream._ticket.unread)
                self._changed.wait()
        return None

    def _run(self) -> None:
        while (stream := self._next()) is not None:
            try:
                self._engine._lead(stream._ticket)
            except BaseException as failure:
                self._engine._release([stream._ticket])
                stream._failure = failure
                stream._wake()
