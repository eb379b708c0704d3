"""What `compare` found: tables, a summary that counts every kind, a tree, and the same as JSON."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from itertools import groupby
from statistics import fmean
from typing import TYPE_CHECKING, Any

from .._core import __version__
from .machine import describe
from .terminal import Terminal
from .trees import StepTree, label_of, lines_of

if TYPE_CHECKING:
    from rich.table import Table

    from ..engine import Engine
    from ..types import DraftStats
    from .compare import Case, Options
    from .measure import Difference, Timed

__all__ = ["Result", "document", "show"]

_PHASES = ("draft", "plan", "forward", "verify", "commit")
_FASTER, _SLOWER = 1.05, 0.95
_CELLS_AT_ONE, _MOST_CELLS = 3, 8


@dataclass(frozen=True, slots=True)
class Result:
    """Everything that was measured."""

    plain: Engine
    drafted: Engine
    options: Options
    cases: list[Case]
    tree: StepTree | None
    tree_kind: str


@dataclass(frozen=True, slots=True)
class Row:
    """A kind: the sums over its prompts."""

    kind: str
    plain_speed: float
    drafted_speed: float
    tokens_per_step: float
    drafted: int
    accepted: int
    differences: list[Difference]
    times: dict[str, dict[str, float]]
    """Per side and phase: seconds per step after the first token."""
    first_seconds: dict[str, float]

    @property
    def speed_up(self) -> float:
        """Ratio of the speeds; 0 where one could not be measured."""
        return self.drafted_speed / self.plain_speed if self.plain_speed else 0.0

    @property
    def verdict(self) -> str:
        """Whether the texts are equal, and where they are not."""
        return ", ".join(map(str, self.differences)) or "yes"


def rows_of(cases: list[Case]) -> list[Row]:
    """One row per kind, in the order of the cases."""
    return [_row(name, list(group)) for name, group in groupby(cases, key=lambda case: case.kind.name)]


def geometric_mean(rows: list[Row]) -> float:
    """Of the speed-ups of all kinds that could be measured."""
    ratios = [row.speed_up for row in rows if row.speed_up]
    return math.exp(fmean(map(math.log, ratios))) if ratios else 0.0


def _row(name: str, cases: list[Case]) -> Row:
    plain, drafted = [case.plain for case in cases], [case.drafted for case in cases]
    stats = [timed.output.stats for timed in drafted]
    return Row(
        name,
        _speed(plain),
        _speed(drafted),
        sum(one.new_tokens for one in stats) / max(sum(one.steps for one in stats), 1),
        sum(one.drafted for one in stats),
        sum(one.accepted for one in stats),
        [case.difference for case in cases if case.difference is not None],
        {"plain": _per_step(plain), "drafts": _per_step(drafted)},
        {"plain": fmean(t.first_seconds for t in plain), "drafts": fmean(t.first_seconds for t in drafted)},
    )


def _speed(runs: list[Timed]) -> float:
    seconds = sum(run.decode_seconds for run in runs)
    return sum(run.decode_tokens for run in runs) / seconds if seconds else 0.0


def _per_step(runs: list[Timed]) -> dict[str, float]:
    steps = max(sum(run.decode_steps for run in runs), 1)
    return {phase: sum(getattr(run.decode_times, phase) for run in runs) / steps for phase in _PHASES}


# ── to be looked at ─────────────────────────────────────────────────────────────────────────────────────────────────


def show(result: Result, terminal: Terminal) -> None:
    """Tables, tree and summary to stdout."""
    out, rows = terminal.out, rows_of(result.cases)
    out.print()
    out.print(_speeds(rows))
    out.print()
    out.print(_phases(rows))
    if result.tree is not None:
        out.print()
        out.print(f"A draft tree ({result.tree_kind})", style="bold", markup=False)
        out.print(
            f"One forward pass judged {result.tree.drafted} drafted tokens; {len(result.tree.accepted)} became text "
            "(✓). · is a space, ⏎ a line end."
        )
        for drawn in lines_of(result.tree, label_of(result.drafted), out.width):
            out.print(drawn, soft_wrap=True)
    out.print()
    for line in _summary(result, rows):
        out.print(line, markup=False)


def _speeds(rows: list[Row]) -> Table:
    table = _table(
        "Tokens per second after the first token", "kind", "plain", "drafts", "speed-up", "", "tokens\n/step"
    )
    for name in ("accepted", "same\ntext"):
        table.add_column(name, justify="right")
    for row in rows:
        style = "green" if row.speed_up > _FASTER else "red" if row.speed_up < _SLOWER else "yellow"
        same = "[green]yes[/]" if not row.differences else f"[yellow]{row.verdict}[/]"
        table.add_row(
            row.kind,
            _rate(row.plain_speed),
            _rate(row.drafted_speed),
            f"[{style}]{row.speed_up:.2f}×[/]",
            f"[{style}]{_bar(row.speed_up)}[/]",
            f"{row.tokens_per_step:.2f}",
            f"{row.accepted} of {row.drafted}",
            same,
        )
    return table


def _phases(rows: list[Row]) -> Table:
    table = _table("Milliseconds per step, and to the first token", "kind", "", *_PHASES, "first token")
    for row in rows:
        for side in ("plain", "drafts"):
            times = [f"{1e3 * row.times[side][phase]:.2f}" for phase in _PHASES]
            table.add_row(row.kind if side == "plain" else "", side, *times, f"{1e3 * row.first_seconds[side]:.0f}")
    return table


def _table(title: str, *columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        table.add_column(name, justify="left" if name in ("kind", "") else "right")
    return table


def _rate(tokens_per_second: float) -> str:
    """Four digits at most, so that the table fits a terminal."""
    return f"{tokens_per_second:.{1 if tokens_per_second < 1000 else 0}f}"


def _bar(ratio: float) -> str:
    """A bar as long as the speed: three cells for that of plain decoding, eight at most."""
    eighths = min(round(8 * _CELLS_AT_ONE * ratio), 8 * _MOST_CELLS)
    return "█" * (eighths // 8) + ("", *"▏▎▍▌▋▊▉")[eighths % 8]


def _summary(result: Result, rows: list[Row]) -> list[str]:
    machine = describe()
    equal = sum(case.difference is None for case in result.cases)
    ties = sum(case.difference is not None and case.difference.near_tie for case in result.cases)
    quota = "" if machine["cpu_quota"] is None else f" (quota {machine['cpu_quota']:g})"
    near = f", {ties} with a near-tie" if ties else ""
    drafts = result.drafted.stats().drafts
    times = ", ".join(f"{rows}: {1e3 * seconds:.1f}" for rows, seconds in drafts.seconds_by_rows.items())
    return [
        f"Geometric mean over {len(rows)} kind{'s' if len(rows) > 1 else ''}: {geometric_mean(rows):.2f}× "
        f"the speed of plain decoding; {equal} of {len(result.cases)} texts are the same{near}.",
        f"Draft policy {drafts.policy}: {drafts.rows_per_step:.1f} rows per step on average, drafts in "
        f"{drafts.drafted_steps} of {drafts.steps} steps; milliseconds of a step by rows: {times}.",
        f"{result.drafted.name} on {result.drafted.executor.caps.name}; "
        f"{machine['processor']}, {machine['cores']} cores{quota}, {machine['kernels']}.",
    ]


# ── to be read by programs ──────────────────────────────────────────────────────────────────────────────────────────


def document(result: Result) -> dict[str, Any]:
    """The JSON document: one entry per kind and one per text."""
    rows = rows_of(result.cases)
    return {
        "draftwood": __version__,
        "machine": describe(),
        "model": result.drafted.name,
        "executor": result.drafted.executor.caps.name,
        "tokens": result.options.tokens,
        "geometric_mean_speed_up": geometric_mean(rows),
        "draft_policy": _policy(result.drafted.stats().drafts),
        "kinds": [
            {
                "kind": row.kind,
                "tokens_per_second": {"plain": row.plain_speed, "drafts": row.drafted_speed},
                "speed_up": row.speed_up,
                "tokens_per_step": row.tokens_per_step,
                "drafted": row.drafted,
                "accepted": row.accepted,
                "equal": not row.differences,
                "seconds_per_step": row.times,
                "seconds_to_first_token": row.first_seconds,
            }
            for row in rows
        ],
        "texts": [_text(case) for case in result.cases],
        "tree": None
        if result.tree is None
        else {
            "kind": result.tree_kind,
            **result.tree.to_json(),
            "labels": list(map(label_of(result.drafted), result.tree.tokens)),
        },
    }


def _policy(drafts: DraftStats) -> dict[str, Any]:
    return {**asdict(drafts), "rows_per_step": drafts.rows_per_step}


def _text(case: Case) -> dict[str, Any]:
    difference = case.difference
    return {
        "kind": case.kind.name,
        "source": case.prompt.source,
        "equal": difference is None,
        "difference": None if difference is None else {**asdict(difference), "near_tie": difference.near_tie},
        "plain": _side(case.plain),
        "drafts": _side(case.drafted),
    }


def _side(timed: Timed) -> dict[str, Any]:
    output = timed.output
    return {
        "text": output.text,
        "token_ids": output.token_ids,
        "finish_reason": output.finish_reason,
        "tokens_per_second": timed.tokens_per_second,
        "first_token_seconds": timed.first_seconds,
        "stats": {**asdict(output.stats), "tokens_per_step": output.stats.tokens_per_step},
    }
