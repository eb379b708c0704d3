"""Answers come before times: arms that answer differently are refused, near ties are told apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from draftwood.bench.check import compare, compare_beams, first_difference
from support.bench_toys import Toys


@pytest.mark.parametrize("ours", [True, False])
def test_a_different_answer_refuses_to_time(toys: Toys, ours: bool) -> None:
    result = toys.run(toys.arm("a"), toys.arm("b", "wrong", ours=ours))
    assert [name for name, _ in toys.log()] == ["a", "b"]
    assert result.refused is not None and "answers differ from a's: b" in result.refused
    assert result.arms[1].status == "failed"
    assert "token 3 of numbers" in str(result.arms[1].reason)
    assert not result.sound and not any(arm.seconds for arm in result.arms)


def test_a_peer_that_answers_wrongly_is_a_failed_arm_and_the_others_are_timed(toys: Toys) -> None:
    result = toys.run(toys.arm("a"), toys.arm("b", "wrong", ours=False), toys.arm("c", ours=False))
    assert [arm.status for arm in result.arms] == ["timed", "failed", "timed"]
    assert [name for name, _ in toys.log()] == ["a", "b", "c", "a", "c", "a", "c"]
    assert not result.sound


def test_an_arm_that_cannot_judge_is_a_failed_arm(toys: Toys) -> None:
    result = toys.run(toys.arm("a"), toys.arm("b", "wrong", when=0, ours=False), toys.arm("c", ours=False))
    assert [arm.status for arm in result.arms] == ["timed", "failed", "timed"]
    assert "judged numbers without" in str(result.arms[1].reason)


def test_our_own_wrong_answer_refuses_even_if_a_peer_agrees(toys: Toys) -> None:
    result = toys.run(toys.arm("a"), toys.arm("b", "wrong"), toys.arm("c", ours=False))
    assert result.refused is not None and not any(arm.seconds for arm in result.arms)


def test_an_answer_that_changes_while_it_is_timed(toys: Toys) -> None:
    result = toys.run(toys.arm("a"), toys.arm("b", "wrong", when=3))
    assert result.arms[1].status == "failed"
    assert "in another way than before" in str(result.arms[1].reason)


def judged(tokens: list[int], chosen: list[float], top: list[tuple[int, float]]) -> Callable[[int], dict[str, Any]]:
    return lambda count: {"tokens": tokens[:count], "chosen": chosen[:count], "top": [list(pair) for pair in top]}


def test_near_ties() -> None:
    left, right = [5, 6, 7], [5, 6, 8]
    ours = judged(left, [-1.0, -2.0, -0.70], [(7, -0.70), (8, -0.71)])
    close = judged(right, [-1.0, -2.006, -0.70], [(8, -0.70), (7, -0.704)])
    difference = compare("w", left, right, (ours, close))
    assert difference is not None and difference.near_tie
    assert difference.position == 2 and difference.gap == pytest.approx(0.01)
    assert difference.rounding == pytest.approx(0.01)  # the log-probability of 8: -0.71 and -0.70

    far = judged(left, [-1.0, -2.0, -0.2], [(7, -0.2), (8, -3.0)])
    assert not compare("w", left, right, (far, close)).near_tie
    # A gap of 0.5 and roundings of 0.3: near each other, and yet nothing that float32 explains.
    wild = judged(left, [-1.0, -2.0, -0.5], [(7, -0.5), (8, -1.0)])
    assert not compare("w", left, right, (wild, close)).near_tie
    assert compare("w", left, right, (wild, close), most=0.31).near_tie
    third = judged(left, [-1.0, -2.0, -0.70], [(7, -0.70), (9, -0.71)])
    assert not compare("w", left, right, (third, close)).near_tie
    elsewhere = judged([5, 5, 5], [-1.0, -2.0, -0.70], [(7, -0.70), (8, -0.71)])
    assert not compare("w", left, right, (elsewhere, close)).near_tie
    assert not compare("w", left, right, None).near_tie
    assert compare("w", left, left, None) is None


def test_beams_that_end_in_another_text_must_have_its_score() -> None:
    scores = {(1, 2): -3.0, (1, 3): -3.04, (1, 4): -2.0}

    def told(other: list[int]) -> Any:
        return compare_beams("w", [1, 2], other, lambda text: scores[tuple(text)], 0.05)

    assert told([1, 2]) is None
    assert told([1, 3]).near_tie and told([1, 3]).gap == pytest.approx(0.04)
    assert not told([1, 4]).near_tie and not told([1, 2, 3]).near_tie


def test_answers_of_other_lengths_are_no_near_tie() -> None:
    assert first_difference([1, 2], [1, 2, 3]) == 2
    difference = compare("w", [1, 2], [1, 2, 3], None)
    assert difference is not None and not difference.near_tie and difference.reference is None
