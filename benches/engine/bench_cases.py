"""The cases of `draftwood bench` as `make bench` runs them: with the peers if `make peers` has built them."""

from __future__ import annotations

import pytest

from draftwood.bench import cases
from draftwood.bench.peers import Peers
from draftwood.bench.probe import Probe
from draftwood.bench.rounds import Plan, run_case
from draftwood.bench.rows import rows_of
from draftwood.cli.machine import describe


@pytest.mark.parametrize("name", cases.choose([]))
@pytest.mark.timeout(3600)
def test_case(name, benchmark):
    machine = describe()
    peers = Peers.find()
    setting = cases.Setting(machine["cores"], peers=peers if peers.built.is_dir() else None)
    (case,) = cases.build(name, setting)
    with Probe(case.threads) as probe:
        result = benchmark.pedantic(run_case, args=(case, Plan(), probe), rounds=1)
    for row in rows_of(result, machine):
        figure = row["reason"] if row["ratio"] is None else f"{row['ratio']['median']:.2f}×, {row['ratio']['claim']}"
        print(f"\n{name}: {row['arm']} {row['status']} ({row['isa']}) {figure or ''}", end="")
        benchmark.extra_info[row["arm"]] = {"ratio": row["ratio"], "floor": row["floor"], "status": row["status"]}
    assert result.sound, result.refused
