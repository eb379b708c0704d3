"""What a bench may claim: the quiet gate, ratios with their intervals, the bandwidth of memory."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from draftwood import _core, errors
from draftwood.bench import rows
from draftwood.bench.figures import LEAST_ROUNDS, ratio_of, spread_of
from draftwood.bench.gate import Gate, Reading, Watch
from draftwood.cli.machine import describe
from support.bench_toys import Still, Toys

# ── the quiet gate ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_rounds_between_which_memory_changed_are_discarded(toys: Toys) -> None:
    probe = Still(20e9, 20e9, 15e9, 15.5e9, 15.5e9)
    result = toys.run(toys.arm("a"), toys.arm("b"), rounds=3, probe=probe)
    assert result.discarded == ["memory gave 20.0 GB/s before and 15.0 after"]
    assert len(result.readings) == len(result.arms[0].seconds) == len(result.arms[1].seconds) == 3
    assert result.sound
    assert result.bandwidth == pytest.approx((20e9 + 15.25e9 + 15.5e9) / 3)


def test_a_machine_that_is_never_quiet_is_told_and_claims_nothing(toys: Toys) -> None:
    probe = Still(*[20e9, 30e9] * 20)
    result = toys.run(toys.arm("a"), toys.arm("b"), rounds=2, probe=probe)
    assert result.refused is not None and "only 0 of 6 rounds were quiet" in result.refused
    assert not result.sound
    assert all(row["ratio"] is None for row in rows.rows_of(result, describe()))
    kept = toys.run(toys.arm("a"), toys.arm("b"), rounds=2, probe=Still(*[20e9, 30e9] * 20), gate=None)
    assert kept.sound and len(kept.readings) == 2


def test_the_gate() -> None:
    gate = Gate()
    assert gate.problem(Reading(20e9, 21.9e9, 0.1)) is None
    assert "memory" in str(gate.problem(Reading(20e9, 22.5e9, 0.0)))
    assert "0.50 cores" in str(gate.problem(Reading(20e9, 20e9, 0.5)))
    assert gate.problem(Reading(20e9, 20e9, None)) is None


def test_the_watch_sees_others_and_not_ours() -> None:
    burner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        watches = Watch([]), Watch([burner.pid])
        begin = time.monotonic()
        while time.monotonic() - begin < 1.0:
            time.sleep(0.05)
        used, beside = (watch.others() for watch in watches)
    finally:
        burner.kill()
        burner.wait()
    assert used is not None and beside is not None
    assert used > beside


# ── figures ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_claim_needs_its_interval_to_exclude_one_and_enough_rounds() -> None:
    ones = [1.0] * LEAST_ROUNDS
    slower = ratio_of([1.2, 1.3, 1.25, 1.22, 1.28, 1.31, 1.21, 1.26, 1.24], ones)
    assert slower.claim == "faster" and slower.median == 1.25 and 1.2 <= slower.low <= slower.high <= 1.31
    assert ratio_of([0.8, 0.7, 0.75, 0.72, 0.78, 0.81, 0.71, 0.76, 0.74], ones).claim == "slower"
    assert ratio_of([0.9, 1.3, 0.95, 1.2, 0.98, 1.1, 0.97, 1.02, 1.01], ones).claim is None
    assert ratio_of([1.2] * (LEAST_ROUNDS - 1), ones[1:]).claim is None


def test_ratios_are_taken_within_rounds() -> None:
    """A slow minute slows both arms; the ratio does not notice."""
    assert ratio_of([2.0, 20.0, 2.0], [1.0, 10.0, 1.0]) == ratio_of([2.0] * 3, [1.0] * 3)


def test_spreads() -> None:
    spread = spread_of([float(i) for i in range(11)])
    assert (spread.p10, spread.median, spread.p90) == (1.0, 5.0, 9.0)


# ── the probe ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_bandwidth_of_memory() -> None:
    assert 1e8 < _core.read_bandwidth(1, 64 << 20) < 1e12
    assert 1e8 < _core.read_bandwidth(2, 64 << 20) < 1e12
    assert 1e6 < _core.multiply_rate(1, "Q4_1") < 1e13
    with pytest.raises(errors.InvalidArgument, match="one of F32"):
        _core.multiply_rate(1, "Q3_K")
    for threads, size in ((0, 1 << 20), (1 << 20, 1 << 20), (1, 0)):
        with pytest.raises(errors.InvalidArgument, match="threads must be"):
            _core.read_bandwidth(threads, size)
