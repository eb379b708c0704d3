"""What is seen while `compare` runs: two texts side by side, as they come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .terminal import Terminal, printable

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from ..types import StreamEvent
    from .measure import Difference, Timed

__all__ = ["Stage"]

_SIDES = ("plain", "with drafts")
_LINES = 8
_REFRESH_SECONDS = 0.1


class Stage:
    """Live panels on stderr where somebody watches, a line per text elsewhere.

    Drawing happens between the steps, never in a thread beside them, so that it does not disturb the clock.
    """

    def __init__(self, terminal: Terminal, total: int) -> None:
        self._terminal, self._total, self._count = terminal, total, 0
        self._live: Any = None
        self._drawn = 0.0

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def begin(self, kind: str, source: str) -> None:
        """The next prompt."""
        from rich.text import Text

        self._count += 1
        self._title = f"{self._count}/{self._total}  {kind}  ({source})"
        self._texts: list[Text] = [Text(), Text()]
        self._speeds = ["", ""]
        self._side = 0
        if self._terminal.watched:
            from rich.live import Live

            self._live = Live(self._panels(), console=self._terminal.err, auto_refresh=False)
            self._live.start()

    def side(self, side: int) -> None:
        """Which of the two comes now: 0 plain, 1 with drafts."""
        self._side = side
        self._speeds[side] = "reading the prompt"
        self._refresh()

    def show(self, event: StreamEvent, speed: float) -> None:
        """A piece of text; one that came with others in the same step is green."""
        from time import perf_counter

        several = len(event.token_ids) > 1
        self._texts[self._side].append(printable(event.text), style="green" if several else "")
        self._speeds[self._side] = f"{speed:.1f} tokens/s"
        if perf_counter() - self._drawn > _REFRESH_SECONDS:
            self._refresh()
            self._drawn = perf_counter()

    def done(self, timed: Timed) -> None:
        """One of the two has ended."""
        stats = timed.output.stats
        self._speeds[self._side] = (
            f"{timed.tokens_per_second:.1f} tokens/s, {stats.new_tokens} tokens in {stats.steps} steps"
        )
        if self._live is None:
            self._terminal.note(f"{self._title}  {_SIDES[self._side]}: {self._speeds[self._side]}")
        self._refresh()

    def end(self, difference: Difference | None) -> None:
        """Both have ended; their panels stay above the next ones."""
        if self._live is None:
            if difference is not None:
                self._terminal.note(f"{self._title}  {difference}")
            return
        self._stop()
        verdict = "same text" if difference is None else str(difference)
        self._terminal.err.print(f"  {verdict}", style="green" if difference is None else "yellow", markup=False)

    def _stop(self) -> None:
        if self._live is not None:
            self._live.update(self._panels(), refresh=True)
            self._live.stop()
            self._live = None

    def _refresh(self) -> None:
        if self._live is not None:
            self._live.update(self._panels(), refresh=True)

    def _panels(self) -> RenderableType:
        from rich.console import Group
        from rich.panel import Panel
        from rich.table import Table
        from rich.text import Text

        width = self._terminal.err.width
        grid = Table.grid(expand=True)
        grid.add_column(ratio=1)
        grid.add_column(ratio=1)
        grid.add_row(
            *(
                Panel(
                    self._tail(self._texts[side], width // 2 - 4),
                    title=_SIDES[side],
                    subtitle=self._speeds[side] or None,
                    border_style="green" if side else "blue",
                    height=_LINES + 2,
                )
                for side in (0, 1)
            )
        )
        return Group(Text(self._title, style="bold"), grid)

    def _tail(self, text: Text, width: int) -> RenderableType:
        from rich.console import Group

        lines = text.wrap(self._terminal.err, max(width, 1))
        return Group(*lines[-_LINES:])
