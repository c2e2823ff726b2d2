"""Measures a row: all sides stay alive and take turns (A B A B ...), so that a machine that slows down slows all of them."""

from __future__ import annotations

import importlib.util
import json
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.peers import Side

ROWS = Path(__file__).parent / "rows"
ROUND_SECONDS = 0.5
START_SECONDS = 300


@dataclass
class Measured:
    """A row's figures: seconds per iteration of every round, by side."""

    row: str
    title: str
    seconds: dict[str, list[float]] = field(default_factory=dict)
    first: dict[str, float] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)
    """Sides that the row has no program for."""
    gates: dict[str, float] = field(default_factory=dict)
    """The ratios that the row must reach, by peer ("tf": the faster TensorFlow)."""

    def median(self, side: str) -> float:
        """Median seconds of one iteration."""
        return statistics.median(self.seconds[side])

    def ratio(self, peer: str) -> float:
        """How many times faster than `peer`: the median of the ratios of neighbouring rounds."""
        ours, theirs = self.seconds["flowmesh"], self.seconds[peer]
        return statistics.median(b / a for a, b in zip(ours, theirs))

    def gate_ratio(self, gate: str) -> float | None:
        """The ratio that a gate is about; None when the peer was not measured."""
        peers = ("tf115", "tf2") if gate == "tf" else (gate,)
        ratios = [self.ratio(p) for p in peers if p in self.seconds and "flowmesh" in self.seconds]
        return min(ratios, default=None)


def row_names() -> list[str]:
    """All rows."""
    return sorted(p.stem for p in ROWS.glob("*.py") if p.stem != "__init__")


def row_module(name: str) -> Any:
    """The module of a row, for its title."""
    spec = importlib.util.spec_from_file_location(name, ROWS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _Process:
    """A side's process for one row."""

    def __init__(self, side: Side, row: str) -> None:
        self.side = side
        self.process = subprocess.Popen(
            [*side.command, row, *side.options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ready(self) -> dict[str, Any] | None:
        """Waits until the program is built and warm; None when the row has nothing for this side, RuntimeError with its last
        words when it fails."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("ready "):
                return json.loads(line[6:])
            if line.startswith("skipped"):
                return None
        _, errors = self.process.communicate(timeout=START_SECONDS)
        raise RuntimeError(f"{self.side.title} failed: {errors[-800:]}")

    def run(self, iterations: int) -> float:
        """Seconds for so many iterations."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{iterations}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.communicate()


def measure(row: str, sides: Sequence[Side], rounds: int) -> Measured:
    """Runs a row on all sides; a side that fails is named and left out."""
    module = row_module(row)
    measured = Measured(row, module.TITLE, gates=dict(getattr(module, "GATES", {})))
    running: list[tuple[_Process, int]] = []
    try:
        for side in sides:
            process = _Process(side, row)
            try:
                facts = process.ready()
            except RuntimeError as error:
                process.close()
                print(error)
                continue
            if facts is None:
                process.close()
                measured.skipped.add(side.name)
                continue
            measured.first[side.name] = facts["first_s"]
            once = max(process.run(3) / 3, 1e-7)
            running.append((process, max(1, int(ROUND_SECONDS / once))))
        for _ in range(rounds):
            for process, iterations in running:
                seconds = process.run(iterations) / iterations
                measured.seconds.setdefault(process.side.name, []).append(seconds)
    finally:
        for process, _ in running:
            process.close()
    return measured
