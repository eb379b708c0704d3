"""Whether weights really lie in huge pages: systems promise them and may give others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Pages", "advised_pages", "pages_of_model"]

_SMAPS = Path("/proc/self/smaps")


@dataclass(frozen=True, slots=True)
class Pages:
    """Memory that huge pages were asked for, in bytes."""

    resident: int
    huge: int

    @property
    def share(self) -> float | None:
        """Of what is resident; None if nothing is."""
        return self.huge / self.resident if self.resident else None


def advised_pages(smaps: str) -> Pages:
    """Sums the mappings of `/proc/PID/smaps` that carry the flag of MADV_HUGEPAGE."""
    resident = huge = 0
    its_resident = its_huge = 0
    for line in smaps.splitlines():
        name, _, value = line.partition(":")
        if name == "Rss":
            its_resident = int(value.split()[0]) << 10
        elif name == "AnonHugePages":
            its_huge = int(value.split()[0]) << 10
        elif name == "VmFlags":
            # The last line of a mapping.
            if "hg" in value.split():
                resident, huge = resident + its_resident, huge + its_huge
            its_resident = its_huge = 0
    return Pages(resident, huge)


def pages_of_model(source: str) -> Pages | None:
    """Loads a model as `Engine.load` does and looks where its weights lie; None where that cannot be told.

    Cost
        That of loading. Errors of loading are for `Engine.load` to tell.
    """
    from ..engine import Engine
    from ..errors import DraftwoodError

    try:
        before = advised_pages(_SMAPS.read_text(encoding="utf-8"))
        with Engine.load(source, executor="native", drafter=None):
            after = advised_pages(_SMAPS.read_text(encoding="utf-8"))
    except (DraftwoodError, OSError):
        return None
    return Pages(after.resident - before.resident, max(0, after.huge - before.huge))
