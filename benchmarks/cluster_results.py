"""What the cluster benchmarks gave: kept in cluster_results.json by row, and written to RESULTS.md from there.

A run of some rows leaves the others as they are.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import results

HEADING = "Clusters"
TITLES = {"flowmesh": "Flowmesh", "tf115": "TensorFlow 1.15.5"}
TEXT = """\
Every task is a process of its own; medians of rounds that alternate between the sides, `x` the median of the ratios of neighbouring
rounds. Load is the load average when the row began: where it is above the number of cores, only the ratios mean something, and
those of small steps move. Published for TensorFlow on 17 machines (OSDI'16): a null step with 16 ps takes 1.8 ms with one worker and
8.8 ms with 100.
"""


class Store:
    """The figures of all rows, in a file beside RESULTS.md."""

    def __init__(self, report: Path) -> None:
        self._report = report
        self._path = report.with_name("cluster_results.json")
        kept = json.loads(self._path.read_text()) if self._path.exists() else {}
        self.rows: dict[str, dict[str, Any]] = kept.get("rows", {})
        self.facts: dict[str, str] = kept.get("facts", {})

    def keep_row(
        self, name: str, seconds: Mapping[str, Sequence[float]], date: str, load: float
    ) -> None:
        """Notes what a row gave."""
        rounded = {
            side: [float(f"{value:.4g}") for value in values] for side, values in seconds.items()
        }
        self.rows[name] = {"date": date, "load": round(load, 1), "seconds": rounded}

    def keep_fact(self, name: str, text: str) -> None:
        """Notes a figure that is no rate, in words."""
        self.facts[name] = text

    def write(self, rows: Sequence[Any]) -> None:
        """Writes both files; `rows` are all there may be, in order: each with `title`, and cells for what was measured."""
        kept = {"machine": _machine(), "rows": self.rows, "facts": self.facts}
        self._path.write_text(json.dumps(kept, indent=1) + "\n")
        results.write_section(self._report, HEADING, self.section(rows))

    def section(self, rows: Sequence[Any]) -> str:
        """The section of RESULTS.md."""
        lines = [
            _machine(),
            "",
            TEXT,
            "| work | " + " | ".join(TITLES.values()) + " | x | reached | load | date |",
            "|---|" + "---|" * len(TITLES) + "---|---|---|---|",
        ]
        for row in rows:
            found = self.rows.get(row.name)
            if found is not None:
                cells = row.cells(found["seconds"], TITLES)
                lines.append(
                    "| " + " | ".join([row.title, *cells, str(found["load"]), found["date"]]) + " |"
                )
        facts = [f"* {self.facts[name]}" for name in sorted(self.facts)]
        return "\n".join([*lines, *([""] if facts else []), *facts])


def _machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}."
