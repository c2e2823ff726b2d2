"""The tables of the benchmarks, and the gate on their ratios."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.peers import Side

from benchmarks import peers, plots, results, runner

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
    assert "## Second\n\ntwo" in text and "| a row | 10.0 us" in text
    assert "| 1.5x the faster TensorFlow | yes |" in text
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
    variants = {f"flowmesh {v}" for v in getattr(module, "VARIANTS", {}).get("flowmesh", ())}
    assert set(getattr(module, "GATES", {})) <= {"tf", "best", *peers.NAMES, *variants}
    assert getattr(module, "TABLE", "steps") in results.TABLES
    assert Path(runner.ROWS / f"{name}.py").read_text().startswith('"""')


def test_what_was_measured_survives_the_file(tmp_path):
    one = row(1e-5, 2e-5)
    one.failed["torch"] = "no such module"
    one.skipped.add("jax")
    results.save(tmp_path / "results.json", {"row": one})
    assert results.load(tmp_path / "results.json") == {"row": one}
    assert results.load(tmp_path / "none.json") == {}


def test_a_run_of_some_rows_leaves_the_others(tmp_path):
    path = tmp_path / "RESULTS.md"
    first, second = row(1e-5, 2e-5), row(1e-3, 5e-3)
    second.row, second.title, second.table = "second", "another row", "networks"
    results.write(path, SIDES, [first, second])
    again = row(1e-5, 4e-5)
    results.write(path, SIDES, [again])
    text = path.read_text()
    assert "| 4.00 |" in text and "| 2.00 |" not in text
    assert "| another row | 1.00 ms" in text and "### Networks" in text
    assert text.count("## One process") == 1


def test_a_regression_is_named():
    recorded = {"row": row(1.0, 3.0)}
    assert results.regressions([row(1.0, 2.6)], recorded, 0.25) == []
    assert results.regressions([row(1.0, 2.0)], recorded, 0.25) == [
        "a row: 2.00x of tf115, was 3.00x",
        "a row: 4.00x of tf2, was 6.00x",
    ]


def test_what_was_recorded_short_of_its_gate_is_no_regression_but_a_row_without_record_is_held_to_it():
    short = row(1.0, 1.0, gate=1.5)
    assert results.regressions([short], {"row": short}, 0.25) == []
    assert results.regressions([short], {}, 0.25) == ["a row: 1.00x of tf, must be 1.50x"]


def test_failures_and_values_that_do_not_agree_are_regressions():
    failed = runner.Measured("row", "a row", failed={"flowmesh": "it broke"})
    wrong = row(1.0, 3.0)
    wrong.wrong = runner.disagreements({"tf115": [1.0, 2.0], "flowmesh": [1.0, 2.5]}, 0.0)
    found = results.regressions([failed, wrong], {"row": row(1.0, 3.0)}, 0.25)
    assert found == ["a row: it broke", "a row: flowmesh computes [1.0, 2.5], tf115 [1.0, 2.0]"]


def test_values_may_differ_by_the_tolerance_relative_to_the_largest():
    values = {"flowmesh": [100.0, 0.5], "tf115": [100.5, 0.1], "tf2": [100.0, 0.0]}
    assert runner.disagreements(values, 0.01) == []
    assert len(runner.disagreements(values, 0.001)) == 2


def test_a_limit_in_seconds_is_held():
    slow = runner.Measured("row", "a row", {"flowmesh": [0.8, 0.9, 0.7]}, limit=0.6)
    assert results.check([slow], 0.1) == ["a row: 800.00 ms, must be at most 600.00 ms"]
    assert results.check([slow], 0.5) == []


def test_the_fastest_variant_of_a_peer_counts_and_the_main_one_of_flowmesh():
    seconds = {
        "flowmesh NHWC": [2.0, 2.0],
        "flowmesh NCHW": [1.0, 1.0],
        "jax NHWC": [6.0, 6.0],
        "jax NCHW": [4.0, 4.0],
        "tf115": [3.0, 3.0],
    }
    measured = runner.Measured(
        "row", "a row", seconds, gates={"best": 1.0, "flowmesh NCHW": 1.5}, main="flowmesh NHWC"
    )
    assert measured.best("jax") == "jax NCHW" and measured.ratio("jax") == 2.0
    assert measured.gate_ratio("best") == 1.5 and measured.gate_ratio("tf") == 1.5
    assert results.check([measured], 0.0) == ["a row: 0.50x of flowmesh NCHW, must be 1.50x"]
    assert "NCHW 4.00 s" in results.table_text([measured])


def test_bars_are_the_ratios_of_rows_with_peers():
    alone = runner.Measured("row", "alone", {"flowmesh": [1.0]})
    assert plots.bars([row(1.0, 3.0), alone]) == [("a row", {"tf115": 3.0, "tf2": 6.0})]


def test_plots_are_small_and_the_same_every_time(tmp_path):
    pytest.importorskip("matplotlib")
    rows = {"row": row(1.0, 3.0)}
    (path,) = plots.draw(tmp_path / "a", rows)
    (again,) = plots.draw(tmp_path / "b", rows)
    assert path.name == "steps.svg" and path.read_bytes() == again.read_bytes()
    assert len(path.read_bytes()) < 40_000


def test_a_peer_that_cannot_be_had_is_named_and_skipped(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(peers, "CACHE", tmp_path)
    monkeypatch.setattr(peers, "CHECKOUT", tmp_path)
    monkeypatch.setenv("FLOWMESH_TORCH", str(tmp_path / "no-python"))
    assert peers.set_up("torch") is None
    assert "PyTorch 2.13 (CPU) is skipped: FLOWMESH_TORCH=" in capsys.readouterr().out
    monkeypatch.delenv("FLOWMESH_TF115", raising=False)
    monkeypatch.setattr(peers, "_pythons", lambda version: [])
    assert peers.set_up("tf115") is None
    assert "there is no Python 3.7 on this machine" in capsys.readouterr().out


@pytest.mark.parametrize("lead_in", [0, 1])
def test_what_leads_in_to_a_round_is_not_timed(monkeypatch, lead_in):
    class Fake:
        """Needs a second for its first step after the other side's turn, and a tenth for each that follows."""

        turn: Fake | None = None
        told: list[int] = []

        def __init__(self, *_: object) -> None:
            pass

        def ready(self) -> dict[str, float]:
            return {"count": 1, "first_s": 1.0, "step_s": 1.0}

        def tell(self, steps: int) -> None:
            self.told.append(steps)
            self.seconds = 0.1 * steps + (0.9 if Fake.turn is not self else 0.0)
            Fake.turn = self

        def answer(self) -> float:
            return self.seconds

        def close(self) -> None:
            pass

    module = type("Row", (), {"TITLE": "a row", "LEAD_IN": lead_in})
    monkeypatch.setattr(runner, "row_module", lambda name: module)
    monkeypatch.setattr(runner, "Process", Fake)
    measured = runner.measure("row", SIDES, 2)
    expected = 0.1 if lead_in else 1.0
    for side in ("flowmesh", "tf115"):
        assert measured.seconds[side] == pytest.approx([expected] * 2)
    assert Fake.told == [1, 1] + ([1] * lead_in + [1]) * 4
