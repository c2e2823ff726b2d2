"""The cluster benchmarks' figures: rows that are measured again replace themselves, others stay."""

from __future__ import annotations

from pathlib import Path

from benchmarks.cluster import ROWS, Measured
from benchmarks.cluster_results import Store


def row(name: str) -> object:
    return next(r for r in ROWS if r.name == name)


def test_a_row_measured_again_replaces_itself(tmp_path: Path) -> None:
    report = tmp_path / "RESULTS.md"
    report.write_text("# Results\n\n## One process\n\nkept\n")
    store = Store(report)
    store.keep_row("scalar", {"flowmesh": [1e-4] * 3, "tf115": [2e-4] * 3}, "2020-01-01", 3.25)
    store.keep_row("pull", {"flowmesh": [0.02], "tf115": [0.1]}, "2020-01-01", 0.5)
    store.keep_fact("idle flowmesh", "An idle server sleeps.")
    store.write(ROWS)
    again = Store(report)
    again.keep_row("scalar", {"flowmesh": [1e-4], "tf115": [4e-4]}, "2020-01-02", 0.1)
    again.write(ROWS)
    lines = report.read_text().splitlines()
    assert "kept" in lines
    assert "* An idle server sleeps." in lines
    table = [line for line in lines if line.startswith("| pull") or "ps -> worker |" in line]
    assert table == [
        "| pull a scalar from the ps | 100 us | 400 us | 4.00 | yes (>= 3x) | 0.1 | 2020-01-02 |",
        "| 100 MB ps -> worker | 5.00 GB/s | 1.00 GB/s | 5.00 | yes (>= 3 GB/s) | 0.5 | 2020-01-01 |",
    ]
    assert report.read_text().count("## Clusters") == 1


def test_ratios_are_those_of_neighbouring_rounds() -> None:
    measured = Measured(row("linreg_1"), {"flowmesh": [1, 2, 4], "tf115": [5, 8, 20]})
    assert measured.ratio("tf115") == 5
    assert measured.verdict("tf115") == "yes (>= 4x)"
    slower = Measured(row("linreg_1"), {"flowmesh": [1], "tf115": [3]})
    assert slower.verdict("tf115") == "NO (>= 4x)"


def test_a_side_that_failed_is_told(tmp_path: Path) -> None:
    store = Store(tmp_path / "RESULTS.md")
    store.keep_row("mlp", {"flowmesh": [0.002]}, "2020-01-01", 0)
    assert "| 500 steps/s | failed |  |  | 0 | 2020-01-01 |" in store.section(ROWS)
