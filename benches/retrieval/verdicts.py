"""Lines of a benchmark that say a figure, what was wanted, and whether it was met; a summary of those that were not."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import draftwood as dw
from draftwood.bench.rows import append_rows
from draftwood.cli.machine import describe


@dataclass
class Verdicts:
    """The lines of one run, printed as they come."""

    case: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    def line(
        self, name: str, value: float, unit: str, *, least: float | None = None, most: float | None = None,
        more: str = "", **row: Any,
    ) -> None:  # fmt: skip
        """A figure, and the least or the most that it should be, if something was wanted."""
        wanted = least if most is None else most
        met = None if wanted is None else (value >= wanted if most is None else value <= wanted)
        verdict = ""
        if met is not None:
            verdict = f" | wanted {'≥' if most is None else '≤'} {wanted:g}: {'yes' if met else 'NO'}"
        shown = f"{name:46} {value:12,.3f} {unit}{more}{verdict}"
        print(shown, flush=True)
        if met is False:
            self.missed.append(" ".join(shown.split()))
        self.rows.append({"work": name, "value": value, "unit": unit, "least": least, "most": most, "met": met, **row})

    def close(self, folder: Path | None, **common: Any) -> None:
        """Prints the lines that were missed, and adds all to a folder's rows if there is one."""
        judged = sum(row["met"] is not None for row in self.rows)
        print(f"\n{judged - len(self.missed)} of {judged} wanted figures met" + (", missed:" if self.missed else ""))
        for line in self.missed:
            print(f"  {line}")
        if folder is not None:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            head = {"schema": 2, "case": self.case, "time": now, "draftwood": dw.__version__, "machine": describe()}
            print(append_rows(folder, [{**head, **common, **row} for row in self.rows]))
