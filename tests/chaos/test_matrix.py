"""Clusters of real processes, broken in many ways; `flowmesh chaos` runs all of them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowmesh.cli.chaos.cells import QUICK, Cell, matrix
from flowmesh.cli.chaos.cluster import ChaosCluster
from flowmesh.cli.chaos.command import main
from flowmesh.cli.chaos.judge import Outcome, run_cell
from flowmesh.cli.chaos.nursery import Nursery
from flowmesh.cli.chaos.report import table

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
FULL = os.environ.get("FLOWMESH_CHAOS") == "full"


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as made:
        yield made


@needs_fork
@pytest.mark.slow
@pytest.mark.parametrize("cell", list(matrix()) if FULL else QUICK, ids=str)
def test_nothing_hangs_nothing_is_lost_everything_has_a_name(
    cell: Cell, nursery: Nursery, tmp_path: Path
) -> None:
    outcome = run_cell(cell, nursery, tmp_path)
    assert outcome.ok, "\n".join(outcome.problems)


def test_the_matrix_is_complete(capsys: pytest.CaptureFixture) -> None:
    assert main(["--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 430
    assert main(["--list", "--role", "ps", "--fault", "kill", "--mode", "async"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5
    assert main(["--list", "--quick"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(QUICK)


def test_the_table() -> None:
    good = Outcome(QUICK[0])
    named = Outcome(Cell("async", "ps", "hole", "step"), errors={"Unavailable"}, noticed=1.94)
    bad = Outcome(Cell("in-graph", "ps", "kill", "save"), problems=["client save hangs"])
    text = table([good, named, bad])
    assert "ok, no error" in text
    assert "ok Unavailable 1.9s" in text
    assert "FAILED in-graph/ps/kill/save:\n    client save hangs" in text
    assert text.endswith("2 of 3 cells went well")


@needs_fork
@pytest.mark.parametrize(("fault", "direct"), [("slow", True), ("slow-grpc", False)])
def test_the_direct_plane_leads_over_the_faulty_links(
    nursery: Nursery, tmp_path: Path, fault: str, direct: bool
) -> None:
    with ChaosCluster(Cell("async", "ps", fault, "step"), nursery, tmp_path) as cluster:
        cluster.start()
        for answer in [cluster.open(program) for program in cluster.programs]:
            answer.result()
        assert bool(cluster.network.detoured("ps")) == direct
        assert bool(cluster.network.detoured("client")) == direct


@needs_fork
def test_a_stopped_member_has_stopped(nursery: Nursery) -> None:
    member = nursery.member("sleeper")
    assert member.ask("updates").result() == [0, 0]
    for _ in range(5):
        member.stop()
        asked = member.ask("updates")
        assert not asked.wait(0.02)
        member.signal(signal.SIGCONT)
        assert asked.result() == [0, 0]
    member.signal(signal.SIGKILL)
    member.stop()  # returns, too
