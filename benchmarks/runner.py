"""Measures a row: all sides stay alive and take turns (A B A B ...), so that a machine that slows down slows all of them.

A row is a module in `rows/` with a `TITLE`, `build(tf)` and, where there is one to compare with, `build_jax()` and `build_torch()`; each returns a
step. It may have

* `TABLE`: the table that it stands in (see `results.TABLES`);
* `GATES`: the ratios to reach, by peer: the name of a side, "tf" (the faster TensorFlow), "best" (the fastest peer of all), or another variant of
  Flowmesh ("flowmesh one device"); `LIMIT`: seconds that Flowmesh may take;
* `UNIT` and `PER_STEP`: what a step does how many of, for figures as rates; a step may say the number itself (`step.count`);
* `VARIANTS`: by side the arguments that `build` is to be called with, each a process of its own. A peer is compared by its fastest; Flowmesh by `MAIN`,
  the first if there is none;
* `AGREE`: the relative difference that the values of `step.value()` may have between TensorFlow sides; 0 is equal bits;
* `WARM_UP` and `WARM_SECONDS`: steps before measuring, and after which time to stop them; `ROUNDS`, `ROUND_SECONDS`;
* `LEAD_IN`: steps at the beginning of each round that are not timed: where steps take seconds, a side has waited long for its turn, and a virtual
  machine's host has taken back the memory that it had freed; what is measured is going on, not beginning again;
* `BUDGET`: seconds after which no further variant is started and no further round;
* `ONCE`: "process" measures from the start of the process to the end of its first step, "step" the first step alone; every round is a new process;
* `environment(side, folder)`: environment variables, with a folder that is empty at the start of a round of such a row.
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.peers import Side
from benchmarks.processes import Process

FOLDER = Path(__file__).parent
ROWS = FOLDER / "rows"
ROUND_SECONDS = 0.4
ROUNDS = 5
BUDGET = 100.0
TENSORFLOWS = ("tf115", "tf2")


@dataclass
class Measured:
    """A row's figures: seconds of every round for one unit, by side ("jax") and variant ("jax NCHW")."""

    row: str
    title: str
    seconds: dict[str, list[float]] = field(default_factory=dict)
    first: dict[str, float] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)
    """Sides that the row has no program for."""
    gates: dict[str, float] = field(default_factory=dict)
    """The ratios that the row must reach, by peer (see the module's text)."""
    table: str = "steps"
    unit: str = ""
    limit: float = 0.0
    main: str = "flowmesh"
    """Which of Flowmesh's variants is compared."""
    failed: dict[str, str] = field(default_factory=dict)
    """Sides that did not run, and why."""
    wrong: list[str] = field(default_factory=list)
    """Values that do not agree."""
    date: str = ""

    def median(self, side: str) -> float:
        """Median seconds of one unit."""
        return statistics.median(self.seconds[side])

    def best(self, side: str) -> str | None:
        """The fastest variant of a side; None when it was not measured."""
        found = [s for s in self.seconds if s == side or s.split(" ")[0] == side]
        if side == "flowmesh":
            return self.main if self.main in self.seconds else None
        return min(found, key=self.median, default=None)

    def ratio(self, peer: str) -> float:
        """How many times faster than `peer`: the median of the ratios of neighbouring rounds."""
        peer = self.best(peer) or peer
        ours, theirs = self.seconds[self.main], self.seconds[peer]
        return statistics.median(b / a for a, b in zip(ours, theirs))

    def peers(self) -> list[str]:
        """The peers that were measured."""
        names = [s.split(" ")[0] for s in self.seconds]
        return sorted(set(names) - {"flowmesh"})

    def gate_ratio(self, gate: str) -> float | None:
        """The ratio that a gate is about; None when the peer was not measured."""
        if self.main not in self.seconds:
            return None
        if gate.startswith("flowmesh "):
            if gate not in self.seconds:
                return None
            pairs = zip(self.seconds[self.main], self.seconds[gate])
            return statistics.median(b / a for a, b in pairs)
        wanted: Sequence[str] = {"tf": TENSORFLOWS, "best": self.peers()}.get(gate, (gate,))
        ratios = [self.ratio(p) for p in wanted if self.best(p)]
        return min(ratios, default=None)


def row_names() -> list[str]:
    """All rows."""
    return sorted(p.stem for p in ROWS.glob("*.py") if p.stem != "__init__")


def row_module(name: str) -> Any:
    """The module of a row."""
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))  # for the networks that rows share
    spec = importlib.util.spec_from_file_location(name, ROWS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class _Runner:
    """One side and variant of a row."""

    side: Side
    row: str
    variant: str | None
    module: Any

    @property
    def name(self) -> str:
        return self.side.name if self.variant is None else f"{self.side.name} {self.variant}"

    def start(self, folder: str = "") -> Process:
        environment = getattr(self.module, "environment", None)
        options = () if self.variant is None else (self.variant,)
        return Process(
            [*self.side.command, self.row, self.side.api, *options],
            environment(self.side.name, folder) if environment else None,
        )


def measure(row: str, sides: Sequence[Side], rounds: int | None = None) -> Measured:
    """Runs a row on all sides; a side that fails is named and left out."""
    module = row_module(row)
    variants = getattr(module, "VARIANTS", {})
    measured = Measured(
        row,
        module.TITLE,
        gates=dict(getattr(module, "GATES", {})),
        table=getattr(module, "TABLE", "steps"),
        unit=getattr(module, "UNIT", ""),
        limit=getattr(module, "LIMIT", 0.0),
        date=time.strftime("%Y-%m-%d"),
    )
    if "flowmesh" in variants:
        main = getattr(module, "MAIN", variants["flowmesh"][0])
        measured.main = f"flowmesh {main}"
    runners = [
        _Runner(side, row, variant, module)
        for side in sides
        for variant in variants.get(side.name, (None,))
    ]
    runners.sort(key=lambda r: r.variant not in (None, *variants.get(r.side.name, ())[:1]))
    rounds = rounds or getattr(module, "ROUNDS", ROUNDS)
    values: dict[str, Any] = {}
    if getattr(module, "ONCE", None):
        _measure_starts(measured, module, runners, rounds)
    else:
        _measure_rounds(measured, module, runners, rounds, values)
    if hasattr(module, "AGREE"):
        measured.wrong = disagreements(values, module.AGREE)
    return measured


def _note(measured: Measured, runner: _Runner, error: Exception) -> None:
    measured.failed[runner.name] = str(error)
    print(f"{measured.title}: {runner.side.title} failed: {error}", flush=True)


def _measure_rounds(
    measured: Measured,
    module: Any,
    runners: Sequence[_Runner],
    rounds: int,
    values: dict[str, Any],
) -> None:
    """One process for each side; all of them take turns."""
    wanted = getattr(module, "ROUND_SECONDS", ROUND_SECONDS)
    lead_in = getattr(module, "LEAD_IN", 0)
    end = time.monotonic() + getattr(module, "BUDGET", BUDGET)
    running: list[tuple[_Runner, Process, int, float]] = []
    try:
        for runner in runners:
            if time.monotonic() > end and runner.side.name in {r.side.name for r, *_ in running}:
                print(f"{measured.title}: no time for {runner.name}", flush=True)
                continue
            process = runner.start()
            try:
                facts = process.ready()
                if facts is None:
                    measured.skipped.add(runner.side.name)
                    process.close()
                    continue
                if "value" in facts and runner.side.api == "tf":
                    values[runner.name] = facts["value"]
                once = _step_seconds(process, facts, wanted)
            except RuntimeError as error:
                process.close()
                _note(measured, runner, error)
                continue
            measured.first[runner.name] = facts["first_s"]
            count = facts["count"] * getattr(module, "PER_STEP", 1)
            running.append((runner, process, max(1, int(wanted / max(once, 1e-7))), count))
        for number in range(rounds):
            if number > 1 and time.monotonic() > end:
                print(f"{measured.title}: no time for more than {number} rounds", flush=True)
                break
            for runner, process, iterations, count in running:
                if lead_in:
                    process.tell(lead_in)
                    process.answer()
                process.tell(iterations)
                seconds = process.answer() / iterations / count
                measured.seconds.setdefault(runner.name, []).append(seconds)
    finally:
        for _, process, _, _ in running:
            process.close()


def _step_seconds(process: Process, facts: dict[str, Any], wanted: float) -> float:
    """How long a warm step takes, roughly. The first one tells where steps are long and it was not the one that compiled."""
    if "value" in facts and facts["step_s"] > 2 * wanted:
        return facts["step_s"]
    steps = 1 if facts["step_s"] > wanted else 2
    process.tell(steps)
    return process.answer() / steps


def _measure_starts(
    measured: Measured, module: Any, runners: Sequence[_Runner], rounds: int
) -> None:
    """A new process for each side and round; one more before them where files may have to come from the disk."""
    early = 1 if module.ONCE == "process" else 0
    for index in range(-early, rounds):
        with tempfile.TemporaryDirectory() as folder:
            for runner in runners:
                if runner.name in measured.failed or runner.side.name in measured.skipped:
                    continue
                start = time.perf_counter()
                process = runner.start(folder)
                try:
                    facts = process.ready()
                    whole = time.perf_counter() - start
                except RuntimeError as error:
                    _note(measured, runner, error)
                    continue
                finally:
                    process.close()
                if facts is None:
                    measured.skipped.add(runner.side.name)
                    continue
                seconds = whole if module.ONCE == "process" else facts["step_s"]
                if index >= 0:
                    measured.seconds.setdefault(runner.name, []).append(seconds)


def disagreements(values: dict[str, Sequence[float]], tolerance: float) -> list[str]:
    """Which sides compute other values than the first of them, beyond a tolerance relative to the largest."""
    found = []
    names = sorted(values, key=lambda name: not name.startswith("tf"))
    for name in names[1:]:
        wanted, got = values[names[0]], values[name]
        allowed = tolerance * max(map(abs, wanted), default=0.0)
        if len(wanted) != len(got) or not all(abs(a - b) <= allowed for a, b in zip(wanted, got)):
            found.append(f"{name} computes {got}, {names[0]} {wanted}")
    return found
