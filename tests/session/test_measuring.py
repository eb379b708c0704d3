"""What is read of the costs of steps before the first text: bounded by time, told to the policy, never in vain."""

from __future__ import annotations

import pytest

import draftwood as dw
from draftwood.loading import Parts
from draftwood.measuring import measure_steps
from draftwood.models.toy import ToyExecutor

MS = 1_000_000


class Machine:
    """A clock that a step of `rows` rows moves by `cost(rows)` milliseconds; the first step takes `cold` more."""

    def __init__(self, cost, cold=0.0):
        self.cost, self.cold, self.now, self.ran = cost, cold, 7_000, []

    def probe(self, rows):
        self.now += int((self.cost(rows) + (0.0 if self.ran else self.cold)) * MS)
        self.ran.append(rows)

    def clock(self):
        return self.now

    def measure(self, most_rows=4096):
        told = []
        measure_steps(self.probe, lambda rows, nanoseconds: told.append((rows, nanoseconds)), most_rows, self.clock)
        return told


def test_a_small_model_is_read_twice():
    machine = Machine(lambda rows: 1.0 + rows / 16)
    told = machine.measure()
    assert [rows for rows, _ in told] == [1, 4, 16, 8, 2, 32] * 2
    assert machine.ran == [1] + [rows for rows, _ in told], "the first one warms up and is not told"
    assert dict(told) == {rows: int((1.0 + rows / 16) * MS) for rows in (1, 2, 4, 8, 16, 32)}


def test_smollm2_in_float32_is_read_once():
    """538 MB per step: 8 ms of one row, 15 of 16, 22 of 32."""
    machine = Machine(lambda rows: 8.0 + 0.45 * rows, cold=20.0)
    assert [rows for rows, _ in machine.measure()] == [1, 4, 16, 8, 2, 32]
    assert machine.now < 151 * MS


@pytest.mark.parametrize("first", [20.0, 45.0, 60.0, 100.0, 1000.0, 10_000.0])
def test_large_models_begin_at_once(first):
    machine = Machine(lambda rows: first * (1.0 + rows / 100))
    told = machine.measure()
    # One step decides; what comes after it ends in time, but for what the last one takes more than those before it.
    assert machine.now <= max(first * 1.02, 150.0 + 0.31 * first) * MS
    assert bool(told) == (first < 75.0)


def test_a_cold_first_step_is_no_measure_of_the_others():
    assert len(Machine(lambda rows: 5.0, cold=60.0).measure()) == 6
    assert Machine(lambda rows: 5.0, cold=80.0).measure() == []


def test_a_stall_ends_it():
    machine = Machine(lambda rows: 400.0 if rows == 16 else 1.0)
    assert [rows for rows, _ in machine.measure()] == [1, 4, 16]


def test_no_more_rows_than_the_model_takes():
    machine = Machine(lambda rows: 1.0)
    assert {rows for rows, _ in machine.measure(most_rows=8)} == {1, 2, 4, 8}


class Probed(ToyExecutor):
    """Counts the steps that are no text's."""

    def __init__(self):
        super().__init__(vocab_size=64)
        self.probed = []

    def probe(self, rows):
        self.probed.append(rows)


@pytest.mark.parametrize(
    ("settings", "probes"),
    [({}, True), ({"draft_policy": "always"}, False), ({"drafter": None}, False)],
    ids=["auto", "always", "plain"],
)
def test_costs_are_read_once_and_only_where_they_decide(settings, probes):
    executor = Probed()
    with dw.Engine(Parts(executor, "toy"), max_context=256, **settings) as engine:
        assert not executor.probed, "loading reads nothing"
        engine.generate([1, 2, 3], dw.SamplingParams(max_new_tokens=1))
        known = engine.stats().drafts.seconds_by_rows
        once = list(executor.probed)
        engine.generate([1, 2, 3], dw.SamplingParams(max_new_tokens=4))
    assert executor.probed == once
    assert bool(once) == probes
    assert set(known) >= ({1, 2, 4, 8, 16, 32} if probes else set())
    if not probes:
        assert not {2, 4, 8, 16, 32} & set(known)


def test_nothing_is_read_in_the_middle_of_a_search():
    """Probing writes into the cache, so it comes before the first step or never."""
    executor = Probed()
    with dw.Engine(Parts(executor, "toy"), max_context=256) as engine:
        engine.beam_search([1, 2, 3], dw.BeamParams(num_beams=2, max_new_tokens=2))
        engine.generate([1, 2, 3], dw.SamplingParams(max_new_tokens=2))
    assert not executor.probed
