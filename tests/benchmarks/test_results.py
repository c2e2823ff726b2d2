"""The tables of the benchmarks, and the gate on their ratios."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.peers import Side

from benchmarks import results, runner

SIDES = [Side("flowmesh", "Flowmesh", ()), Side("tf115", "TensorFlow 1.15.5", ())]


def row(ours: float, theirs: float, gate: float = 1.5) -> runner.Measured:
    seconds = {"flowmesh": [ours] * 3, "tf115": [theirs] * 3, "tf2": [theirs * 2] * 3}
    return runner.Measured("row", "a row", seconds, gates={"tf": gate})


def test_a_section_is_replaced_and_others_stay(tmp_path):
    path = tmp_path / "RESULTS.md"
    results.write_section(path, "First", "one")
    results.write_section(path, "Second", "two")
    results.write_section(path, "First", "three")
    assert path.read_text() == "# Results\n\n## First\n\nthree\n\n## Second\n\ntwo\n"
    results.write(path, SIDES, [row(1e-5, 2e-5)])
    text = path.read_text()
    assert "## Second\n\ntwo" in text and "| a row (must reach 1.5x of tf) | 10.0 us" in text
    assert "| 2.00 |" in text


def test_the_gate_looks_at_the_faster_tensorflow_with_tolerance():
    assert results.check([row(1.0, 1.5)], 0.0) == []
    assert results.check([row(1.0, 1.3)], 0.15) == []
    assert results.check([row(1.0, 1.2)], 0.15) == ["a row: 1.20x of tf, must be 1.50x"]
    assert results.check([row(1.0, 1.2)], 0.25) == []


def test_a_peer_that_was_not_measured_gates_nothing():
    measured = runner.Measured("row", "a row", {"flowmesh": [1.0]}, gates={"jax": 1.0})
    assert results.check([measured], 0.0) == []


@pytest.mark.parametrize("name", runner.row_names())
def test_rows_are_complete(name):
    module = runner.row_module(name)
    assert module.TITLE and callable(module.build)
    assert set(getattr(module, "GATES", {})) <= {"tf", "jax"}
    assert Path(runner.ROWS / f"{name}.py").read_text().startswith('"""')
