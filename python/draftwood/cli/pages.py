"""Whether weights really lie in huge pages: systems promise them and may give others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Pages", "advised_pages", "pages_beyond", "read_pages"]

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


def read_pages() -> Pages | None:
    """Those of this process at this moment; None where the system does not tell."""
    try:
        return advised_pages(_SMAPS.read_text(encoding="utf-8"))
    except OSError:
        return None


def pages_beyond(before: Pages | None) -> Pages | None:
    """What has come since."""
    now = read_pages()
    if before is None or now is None:
        return None
    return Pages(now.resident - before.resident, max(0, now.huge - before.huge))
