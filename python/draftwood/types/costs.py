"""What texts, searches and engines have cost: time by phase, steps, rows, pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["BeamStats", "DraftStats", "EngineStats", "PhaseTimes", "Stats"]


@dataclass(frozen=True, slots=True)
class PhaseTimes:
    """Seconds spent per phase of the steps that a text took part in; a batch shares each step."""

    draft: float = 0.0
    plan: float = 0.0
    forward: float = 0.0
    verify: float = 0.0
    commit: float = 0.0

    @property
    def total(self) -> float:
        """All phases together."""
        return self.draft + self.plan + self.forward + self.verify + self.commit

    def __sub__(self, other: PhaseTimes) -> PhaseTimes:
        return PhaseTimes(
            self.draft - other.draft,
            self.plan - other.plan,
            self.forward - other.forward,
            self.verify - other.verify,
            self.commit - other.commit,
        )


@dataclass(frozen=True, slots=True)
class Stats:
    """What one text has cost."""

    prompt_tokens: int
    new_tokens: int
    steps: int
    """Forwards that gave at least one token."""
    prefill_steps: int
    """Forwards that only cached a part of the prompt."""
    drafted: int
    """Drafted nodes that were forwarded."""
    accepted: int
    """Drafted nodes that became text."""
    seed: int
    times: PhaseTimes = field(default_factory=PhaseTimes)
    processed_rows: int = 0
    """Rows that processors in Python have seen; each costs calls between the languages."""

    @property
    def tokens_per_step(self) -> float:
        """New tokens per forward, the token that each forward gives by itself included."""
        return self.new_tokens / self.steps if self.steps else 0.0


@dataclass(frozen=True, slots=True)
class BeamStats:
    """What one search has cost."""

    prompt_tokens: int
    steps: int
    """Forwards that moved the beams on; with speculation one may take several steps of the search."""
    prefill_steps: int
    """Forwards that only cached a part of the prompt."""
    seed: int | None
    """Of the noise, with `do_sample`."""
    times: PhaseTimes
    beam_steps: int
    """Steps of the search; `beam_steps - steps` forwards were saved by speculation."""
    drafted: int = 0
    """Rows that were forwarded beyond those of live beams."""
    speculation: str = "off: a function of the caller's"
    """Whether drafts of what the beams may become were verified with them ("on"), or why not."""


@dataclass(frozen=True, slots=True)
class DraftStats:
    """What drafters proposed, what the policy chose, and what rows cost: why there are drafts, or none."""

    policy: str
    """auto, always, or none: an engine without a drafter."""
    steps: int
    """Steps that gave tokens."""
    drafted_steps: int
    """Those that forwarded drafts."""
    texts: int
    """Texts of all those steps together: the rows of plain decoding."""
    proposed: int
    """Nodes that drafters proposed."""
    drafted: int
    """Nodes that were forwarded."""
    accepted: int
    """Nodes that became text."""
    seconds_by_rows: Mapping[int, float]
    """Time of a step of n rows, for the sizes that were seen; what drafts must pay for."""

    @property
    def rows_per_step(self) -> float:
        """Rows per text and step, the one that plain decoding has included."""
        return 1.0 + self.drafted / self.texts if self.texts else 0.0


@dataclass(frozen=True, slots=True)
class EngineStats:
    """Sizes of an engine at this moment. An idle engine has pages_free = pages_total."""

    running: int
    waiting: int
    pages_total: int
    pages_free: int
    rows_copied_on_write: int
    """Cache rows copied because a text appended to a page that others share."""
    rows_forked: int
    """Cache rows copied to pages of new forks."""
    rows_compacted: int
    """Accepted rows moved from their place in a tree to their position."""
    steps: int
    times: PhaseTimes
    executor: str
    """Which executor runs, and why."""
    drafts: DraftStats
