"""`draftwood bench`: ours and peers in the same run, answers checked before anything is timed."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidArgument
from .terminal import Terminal, printable

if TYPE_CHECKING:
    from rich.table import Table

    from ..bench.rounds import CaseResult

__all__ = ["Options", "run_bench"]

_UNSOUND = 1
_MOST_TEXTS, _MOST_WIDTH = 16, 200


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asked for."""

    cases: tuple[str, ...]
    peers: bool
    json: str | None
    plot: Path | None
    results: Path | None
    executor: str
    types: tuple[str, ...]
    threads: int | None
    rounds: int
    timeout: float
    ungated: bool
    list_cases: bool
    debug: bool


def run_bench(options: Options) -> int:
    """0, or 1 if an arm failed, answers differ or the machine was never quiet. Missing peers are only told."""
    terminal = Terminal(as_json=options.json == "-", debug=options.debug)
    with terminal.guard():
        status = _list(terminal) if options.list_cases else _bench(options, terminal)
    return status


def _list(terminal: Terminal) -> int:
    from ..bench.cases import CASES

    for name, (about, _) in CASES.items():
        terminal.out.print(f"{name:12} {about}", markup=False)
    terminal.document([{"case": name, "about": about} for name, (about, _) in CASES.items()])
    return 0


def _bench(options: Options, terminal: Terminal) -> int:
    from ..bench import cases, gate, plot, rounds, rows
    from ..bench.peers import Peers
    from ..bench.probe import Probe
    from .machine import describe

    machine = describe()
    threads = machine["cores"] if options.threads is None else options.threads
    for name, value, least in (("--threads", threads, 1), ("--rounds", options.rounds, 1)):
        if value < least:
            raise InvalidArgument.of(name, f"{least} or more", value)
    if options.timeout <= 0:
        raise InvalidArgument.of("--timeout", "more than 0 seconds", options.timeout)
    for name, path in (("--json", options.json), ("--plot", options.plot)):
        if path not in (None, "-") and not Path(str(path)).parent.is_dir():
            raise InvalidArgument.of(name, "a file in a folder that is there", str(path))
    if options.plot is not None:
        plot.check_path(options.plot)
    outside = options.peers or options.types != ("f32",)
    setting = cases.Setting(
        threads,
        options.executor,
        Peers.find() if outside else None,
        options.peers,
        options.types,
        Path(folder_of_texts) if (folder_of_texts := os.environ.get("DRAFTWOOD_DATA")) else None,
    )
    plan = rounds.Plan(options.rounds, None if options.ungated else gate.Gate(), options.timeout)
    chosen = [case for name in cases.choose(options.cases) for case in cases.build(name, setting)]
    folder = _folder(options, rows.folder_name(machine))
    results, found = [], []
    try:
        with Probe(threads) as probe:
            for case in chosen:
                result = rounds.run_case(case, plan, probe, terminal.note)
                fresh = rows.rows_of(result, machine)
                _show(terminal, result, fresh)
                results.append(result)
                found.extend(fresh)
                if folder is not None:
                    terminal.note(f"rows added to {rows.append_rows(folder, fresh)}")
    finally:
        # After ctrl-C, the cases that were finished.
        if found:
            _write(options, terminal, {"schema": rows.SCHEMA, "machine": machine, "rows": found})
    return 0 if all(result.sound for result in results) else _UNSOUND


def _write(options: Options, terminal: Terminal, document: dict[str, Any]) -> None:
    from ..bench import plot

    terminal.document(document)
    if options.json not in (None, "-"):
        text = json.dumps(document, indent=2, ensure_ascii=False)
        Path(str(options.json)).write_text(text + "\n", encoding="utf-8")
    if options.plot is not None:
        plot.plot(document["rows"], options.plot)


def _folder(options: Options, name: str) -> Path | None:
    """`--results`, or the clone's own; rounds that were not guarded are only kept where somebody says so."""
    from ..bench.peers import find_checkout

    if options.results is not None:
        return options.results / name
    checkout = find_checkout()
    return None if checkout is None or options.ungated else checkout / "benches/results" / name


def _show(terminal: Terminal, result: CaseResult, rows: Sequence[dict[str, Any]]) -> None:
    from rich.table import Table

    first = rows[0]
    terminal.out.print(f"{result.case.name}: {result.case.about}", style="bold", markup=False)
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    for name in ("median", "p10 … p90", "per s", "of floor", "ratio", "interval"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in rows:
        table.add_row(*_cells(row))
    _print(terminal, table)
    grouped = any(row["groups"] for row in rows)
    if grouped:
        _print(terminal, _groups(rows))
    if grouped and len(first["works"]) > _MOST_TEXTS:
        pass
    elif any(work["kind"] == "rows" for work in first["works"]):
        _print(terminal, _steps(rows))
    elif len(result.case.works) > 1:
        _print(terminal, _works(rows))
    for row in rows:
        if row["reason"]:
            told = printable(f"  {row['arm']} {row['status']}: {row['reason']}")
            terminal.out.print(told, markup=False, soft_wrap=True)
        for one in row["differences"]:
            told = f"near-tie at token {one['position']} of {one['work']}"
            terminal.out.print(f"  {row['arm']}: {told} (gap {one['gap']:.1e})", markup=False)
    terminal.out.print(f"  {_circumstances(first)}", markup=False, soft_wrap=True)
    if result.refused:
        terminal.out.print(f"  not measured: {result.refused}", style="yellow", markup=False, soft_wrap=True)
    terminal.out.print()


def _print(terminal: Terminal, table: Table) -> None:
    """As wide as it is: a pipe has no width, and a terminal that is narrower breaks lines without losing figures."""
    width, terminal.out.width = terminal.out.width, max(_MOST_WIDTH, terminal.out.width)
    try:
        terminal.out.print(table)
    finally:
        terminal.out.width = width


def _cells(row: dict[str, Any]) -> list[str]:
    if row["spread"] is None:
        return [row["arm"], "", "", "", "", "", "", row["status"]]
    spread, ratio, floor = row["spread"], row["ratio"], row["floor"]
    cells = [
        row["arm"],
        _seconds(spread["median"]),
        _range(spread["p10"], spread["p90"]),
        f"{row['units_per_second']:.1f}",
        "" if floor is None else f"{floor['share']:.0%}",
    ]
    if ratio is None:
        return [*cells, "reference" if row["reference"] else "", "", ""]
    claim = {"faster": "ours faster", "slower": "ours slower", None: "no claim"}[ratio["claim"]]
    return [*cells, f"{ratio['median']:.2f}×", f"{ratio['low']:.2f} … {ratio['high']:.2f}", claim]


def _works(rows: Sequence[dict[str, Any]]) -> Table:
    """The reference work by work, with the tokens that each of its steps brought, and the others' ratios to it."""
    from rich.table import Table

    reference, *others = [row for row in rows if row["by_work"]] or [{"by_work": {}}]
    drafts = any(one["tokens_per_step"] for one in reference["by_work"].values())
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("  work by work", no_wrap=True)
    for name in ("median", *(["tokens/step"] if drafts else []), *(row["arm"] for row in others)):
        table.add_column(name, justify="right")
    for name, one in reference["by_work"].items():
        cells = [_seconds(one["median"])]
        if drafts:
            cells.append("" if one["tokens_per_step"] is None else f"{one['tokens_per_step']:.2f}")
        for row in others:
            ratio = row["by_work"].get(name, {}).get("ratio")
            cells.append("" if ratio is None else f"{ratio['median']:.2f}×")
        table.add_row(f"  {name}", *cells)
    return table


def _steps(rows: Sequence[dict[str, Any]]) -> Table:
    """t(n), n rows over one if they follow the same context, the share R(n) / t(n), and the other arms' ratios."""
    from rich.table import Table

    timed = [row for row in rows if row["by_work"]]
    works = {work["name"]: work for work in rows[0]["works"]}
    (first, *_), alike = works.values(), len({work["prompt"] - work["rows"] for work in works.values()}) == 1
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("  step of", no_wrap=True)
    for name in ("t(n)", *(["t(n)/t(1)"] if alike else []), "R(n)/t(n)", *(row["arm"] for row in timed[1:])):
        table.add_column(name, justify="right", no_wrap=True)
    for name, one in timed[0]["by_work"].items() if timed else ():
        share = "" if one["floor"] is None else f"{one['floor']['share']:.0%}"
        others = [(row["by_work"].get(name, {}).get("ratio") or {}).get("median") for row in timed[1:]]
        cells = ["" if value is None else f"{value:.2f}×" for value in others]
        over = [f"{one['median'] / timed[0]['by_work'][first['name']]['median']:.2f}"] if alike else []
        table.add_row(f"  {name}", _seconds(one["median"]), *over, share, *cells)
    return table


def _groups(rows: Sequence[dict[str, Any]]) -> Table:
    """Geometric means of ratios by group of texts, whole and cut where they begin to loop."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("  geometric mean of", no_wrap=True)
    columns = [(row, part) for row in rows if row["groups"] for part in ("whole", "cut") if row["groups"][part]]
    for row, part in columns:
        table.add_column(
            row["arm"] if part == "whole" else f"{row['groups']['looping']} looping texts cut", justify="right"
        )
    for group in columns[0][0]["groups"]["whole"]["each"]:
        table.add_row(f"  {group}", *(f"{row['groups'][part]['each'][group]['median']:.2f}×" for row, part in columns))
    table.add_row("  all", *(f"{row['groups'][part]['all']['median']:.2f}×" for row, part in columns))
    if copying := columns[0][0]["groups"]["copying"]:
        means = (row["groups"]["copying"] if part == "whole" else None for row, part in columns)
        cells = ("" if one is None else f"{one['ratio']['median']:.2f}×" for one in means)
        table.add_row(f"  {_count(len(copying['texts']), 'text')} of 2.5 tokens/step and more", *cells)
    return table


def _circumstances(row: dict[str, Any]) -> str:
    bandwidth = row["bandwidth"]
    threads, rounds = _count(row["threads"], "thread"), _count(row["rounds"], "round")
    if row["discarded"]:
        rounds += f", {len(row['discarded'])} discarded"
    memory = "" if bandwidth is None else f", memory {bandwidth['bytes_per_second'] / 1e9:.1f} GB/s"
    if bandwidth is not None and row["threads"] > 1:
        memory += f" ({bandwidth['per_thread'] / 1e9:.1f} per thread)"
    if bandwidth is not None and bandwidth["of_the_models_size"]:
        memory += f", {bandwidth['of_the_models_size'] / 1e9:.1f} GB/s for as much as a step reads"
    loads = [one["seconds_per_100_mb"] for one in row["by_work"].values() if one["seconds_per_100_mb"]]
    memory += "".join(f", {value:.2f} s per 100 MB of weights" for value in loads)
    guard = "" if row["gate"] else "; not guarded against other load, so nothing is claimed"
    why = f" (last: {row['discarded'][-1]})" if row["discarded"] else ""
    return f"{row['isa']}, {threads}{memory}, {rounds}{why}{guard}"


def _seconds(value: float) -> str:
    factor, unit, digits = _unit(value)
    return f"{value * factor:.{digits}f} {unit}"


def _range(low: float, high: float) -> str:
    factor, unit, digits = _unit(high)
    return f"{low * factor:.{digits}f} … {high * factor:.{digits}f} {unit}"


def _unit(value: float) -> tuple[float, str, int]:
    """The factor, the name and the digits to show."""
    if value >= 1.0:
        return 1.0, "s", 2
    return (1e3, "ms", 1) if value >= 1e-3 else (1e6, "µs", 0)


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
