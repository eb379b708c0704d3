"""Ratios over the groups of texts that a case has, whole and cut where texts begin to loop."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np

from .figures import Ratio, TextRatio, claimed, geometric_mean_over_texts, ratio_of, ratio_of_sums_over_texts
from .results import ArmResult, CaseResult
from .spec_bench import loop_start

__all__ = ["groups_of", "ratio_of_arm"]

_COPYING = 2.5

Seconds = dict[str, list[float]]


def ratio_of_arm(result: CaseResult, arm: ArmResult) -> dict[str, Any]:
    """Of all seconds of an arm over the reference's: round by round, or in pieces over the texts."""
    reference = result.arms[0]
    if not result.case.in_pieces:
        return claimed(ratio_of(arm.seconds, reference.seconds), guarded=result.guarded)
    ratio = ratio_of_sums_over_texts(
        [_medians(names, arm.by_work, reference.by_work) for names in _names(result, arm).values()]
    )
    return claimed(ratio, guarded=result.guarded)


def groups_of(result: CaseResult, arm: ArmResult) -> dict[str, Any] | None:
    """Geometric means over texts of an arm's seconds over the reference's: of each group, of all groups' means, and of
    all texts up to where they begin to loop.
    """
    reference = result.arms[0]
    if arm is reference or len(arm.seconds) != len(reference.seconds) or not arm.seconds:
        return None
    groups = _names(result, arm)
    groups.pop("", None)
    if not groups:
        return None

    def means(arms: Seconds, references: Seconds) -> dict[str, Any]:
        each = {group: _mean(result, [names], arms, references) for group, names in groups.items()}
        return {"all": _mean(result, list(groups.values()), arms, references), "each": each}

    cut, looping = None, None
    if set(arm.cut) == set(reference.cut) == {name for names in groups.values() for name in names}:
        cut = means(arm.cut, reference.cut)
        looping = sum(loop_start(arm.answers[name]) < len(arm.answers[name]) for name in arm.cut)
    whole = means(arm.by_work, reference.by_work)
    return {"whole": whole, "cut": cut, "looping": looping, "copying": _copying(result, arm, groups)}


def _names(result: CaseResult, arm: ArmResult) -> dict[str, list[str]]:
    """Works that were timed, by group; those of none under the empty name."""
    groups: dict[str, list[str]] = {}
    for work in result.timed_works(arm):
        groups.setdefault(work.group or "", []).append(work.name)
    return groups


def _copying(result: CaseResult, arm: ArmResult, groups: dict[str, list[str]]) -> dict[str, Any] | None:
    """The geometric mean over the texts in which a step of the reference brings 2.5 tokens and more."""
    reference = result.arms[0]
    grouped = [name for names in groups.values() for name in names]
    texts = [name for name in grouped if reference.tokens_per_step.get(name, 0.0) >= _COPYING]
    if not texts:
        return None
    return {"texts": texts, "ratio": _mean(result, [texts], arm.by_work, reference.by_work)}


def _mean(result: CaseResult, groups: Sequence[list[str]], arms: Seconds, references: Seconds) -> dict[str, Any]:
    """Of all rounds' geometric means the median; in pieces, where a text's rounds were not the others', over texts."""
    ratio: Ratio | TextRatio
    if result.case.in_pieces:
        ratio = geometric_mean_over_texts([_medians(names, arms, references) for names in groups])
    else:
        logs = [np.log(_stack(names, arms) / _stack(names, references)).mean(axis=0) for names in groups]
        rounds = np.exp(np.mean(logs, axis=0)).tolist()
        ratio = ratio_of(rounds, [1.0] * len(rounds))
    return claimed(ratio, guarded=result.guarded)


def _stack(names: Sequence[str], seconds: Seconds) -> Any:
    return np.array([seconds[name] for name in names])


def _medians(names: Sequence[str], arms: Seconds, references: Seconds) -> tuple[list[float], list[float]]:
    """Of each text, the reference's median seconds, and those times the median ratio: arms are compared in a piece."""
    own = [median(references[name]) for name in names]
    ratios = [median(a / b for a, b in zip(arms[name], references[name], strict=True)) for name in names]
    return [ratio * seconds for ratio, seconds in zip(ratios, own, strict=True)], own
