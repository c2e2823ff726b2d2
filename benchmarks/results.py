"""Prints the figures, keeps them in results.json, and writes RESULTS.md and the plots from there.

results.json holds what every row gave when it was measured last, so that a run of some rows leaves the others as they are, and so that
`--check` has ratios to compare with.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import platform
import re
import statistics
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.peers import Side
from benchmarks.runner import Measured

HEADING = "One process"
TABLES = {
    "steps": "Small steps",
    "networks": "Networks",
    "host": "Input, start, graphs",
}
"""The tables, by the name that rows use."""
PEERS = {"tf115": "TensorFlow 1.15.5", "tf2": "TensorFlow 2.21", "torch": "PyTorch", "jax": "plain JAX"}  # fmt: skip
"""The peers' columns, in order."""

TEXT = """\
Median time of one iteration, or rate (fastest .. slowest round); all sides are measured alternately in one run. `x` is how many times
faster Flowmesh is than that peer: the median of the ratios of neighbouring rounds. Where a side was measured in several variants
the peer's fastest counts, and is named. Machines are shared and noisy: only the ratios mean something. "TensorFlow 2.21" runs the same
program through `tf.compat.v1`.
"""


def figure(seconds: float, unit: str = "") -> str:
    """A time in a fitting unit, or a rate."""
    if unit:
        rate = 1 / seconds
        for size, prefix in ((1e6, "M "), (1e3, "k ")):
            if rate >= 10 * size:
                return f"{rate / size:,.1f} {prefix}{unit}/s"
        return f"{rate:,.1f} {unit}/s" if rate < 100 else f"{rate:,.0f} {unit}/s"
    if seconds < 1e-3:
        return f"{seconds * 1e6:.1f} us"
    return f"{seconds * 1e3:.2f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _spread(values: Sequence[float], unit: str = "") -> str:
    median = figure(statistics.median(values), unit)
    if len(values) == 1:
        return median
    ends = [figure(value, unit).split(" ") for value in (min(values), max(values))]
    if ends[0][1:] == median.split(" ")[1:] == ends[1][1:]:
        return f"{median} ({ends[0][0]} .. {ends[1][0]})"
    return f"{median} ({' '.join(ends[0])} .. {' '.join(ends[1])})"


def line(row: Measured) -> str:
    """One row for the terminal."""
    parts = [f"{row.title}:"]
    for side, values in row.seconds.items():
        ratio = ""
        if row.main in row.seconds and side.split(" ")[0] != "flowmesh":
            pairs = zip(row.seconds[row.main], values)
            ratio = f" = {statistics.median(b / a for a, b in pairs):.2f}x ours"
        parts.append(f"{side} {_spread(values, row.unit)}{ratio}")
    return "  ".join([*parts, *row.wrong])


def wants(row: Measured) -> str:
    """What the row must reach, in words."""
    names = {"tf": "the faster TensorFlow", "best": "the fastest peer", **PEERS}
    parts = [f"{w:.3g}x {names.get(g, g.removeprefix('flowmesh '))}" for g, w in row.gates.items()]
    if row.limit:
        parts.append(f"{figure(row.limit)}")
    return ", ".join(parts)


def reached(row: Measured) -> str:
    """Whether it does: "yes", "NO (0.91x ...)", or nothing when there is nothing to reach or to compare with."""
    if row.failed.keys() & {row.main} or row.wrong:
        return "NO"
    short = shortfalls(row, 0.0)
    known = [g for g in row.gates if row.gate_ratio(g) is not None]
    if short:
        return "NO"
    return "yes" if known or row.limit else ""


def shortfalls(row: Measured, tolerance: float) -> list[str]:
    """The gates that the row does not reach, in words: a ratio may fall short by `tolerance`."""
    missed = []
    for gate, wanted in row.gates.items():
        ratio = row.gate_ratio(gate)
        if ratio is not None and ratio < wanted * (1 - tolerance):
            missed.append(f"{row.title}: {ratio:.2f}x of {gate}, must be {wanted:.2f}x")
    if row.limit and row.main in row.seconds:
        seconds = row.median(row.main)
        if seconds > row.limit * (1 + tolerance):
            missed.append(f"{row.title}: {figure(seconds)}, must be at most {figure(row.limit)}")
    return missed


def _own_cell(row: Measured) -> str:
    if row.main not in row.seconds:
        return "failed"
    cell = _spread(row.seconds[row.main], row.unit)
    name, _, variant = row.main.partition(" ")
    others = [s for s in row.seconds if s.startswith(f"{name} ") and s != row.main]
    if others:
        cell = f"{variant} {cell}"
    return "; ".join(
        [cell, *(f"{s.partition(' ')[2]} {_spread(row.seconds[s], row.unit)}" for s in others)]
    )


def _peer_cells(row: Measured, peer: str) -> list[str]:
    best = row.best(peer)
    if best is None or row.main not in row.seconds:
        failed = any(name.split(" ")[0] == peer for name in row.failed)
        return ["failed" if failed else "", ""]
    variant = best.partition(" ")[2]
    cell = _spread(row.seconds[best], row.unit)
    return [f"{variant} {cell}" if variant else cell, f"{row.ratio(peer):.2f}"]


def table_text(rows: Sequence[Measured]) -> str:
    """One Markdown table."""
    shown = [p for p in PEERS if any(row.best(p) or p in row.failed for row in rows)]
    heads = ["work", "Flowmesh", *(f"{PEERS[p]} | x" for p in shown), "must reach", "reached", "date"]  # fmt: skip
    lines = [
        "| " + " | ".join(heads) + " |",
        "|---|---|" + "---|---|" * len(shown) + "---|---|---|",
    ]
    for row in rows:
        cells = [row.title, _own_cell(row)]
        for peer in shown:
            cells += _peer_cells(row, peer)
        lines.append("| " + " | ".join([*cells, wants(row), reached(row), row.date]) + " |")
    return "\n".join(lines)


def machine() -> str:
    """This machine, and the versions of what is measured, in one line."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as info:
            names = [x.split(":", 1)[1].strip() for x in info if x.startswith("model name")]
        model = names[0] if names else model
    except OSError:
        pass
    versions = ", ".join(f"{m} {metadata.version(p)}" for m, p in (("JAX", "jax"), ("NumPy", "numpy")))  # fmt: skip
    return (
        f"{datetime.date.today().isoformat()}, {model}, {os.cpu_count()} cores, {platform.system()}, "
        f"Python {platform.python_version()}, {versions}."
    )


def load(path: Path) -> dict[str, Measured]:
    """What was measured before, by row."""
    if not path.exists():
        return {}
    names = {field.name for field in dataclasses.fields(Measured)}
    found = {}
    for row, kept in json.loads(path.read_text())["rows"].items():
        kept = {k: v for k, v in kept.items() if k in names}
        found[row] = Measured(**{**kept, "skipped": set(kept.get("skipped", ()))})
    return found


def save(path: Path, rows: Mapping[str, Measured]) -> None:
    """Writes all rows."""
    kept: dict[str, dict[str, Any]] = {}
    for name, row in sorted(rows.items()):
        facts = dataclasses.asdict(row)
        facts["skipped"] = sorted(facts["skipped"])
        for key in ("seconds", "first"):
            facts[key] = {side: _rounded(value) for side, value in facts[key].items()}
        kept[name] = facts
    path.write_text(json.dumps({"machine": machine(), "rows": kept}, indent=1) + "\n")


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(v) for v in value]
    return float(f"{value:.4g}")


def write(path: Path, sides: Sequence[Side], table: Sequence[Measured]) -> None:
    """Notes what was measured in results.json beside `path`, and writes the section of `path` from all that is there."""
    store = path.with_name("results.json")
    rows = load(store)
    rows.update({row.row: row for row in table})
    save(store, rows)
    missing = [title for name, title in PEERS.items() if name not in {side.name for side in sides}]
    text = [machine(), "", TEXT]
    if missing:
        text.insert(1, f"Not measured in this run: {', '.join(missing)}.")
    for name, title in TABLES.items():
        chosen = [row for _, row in sorted(rows.items()) if row.table == name]
        if chosen:
            text += [f"### {title}", "", table_text(chosen), ""]
            if (path.parent / "plots" / f"{name}.svg").exists():
                text += [f"![{title}](plots/{name}.svg)", ""]
    write_section(path, HEADING, "\n".join(text).rstrip())


def write_section(path: Path, heading: str, text: str) -> None:
    """Puts `text` under `## heading` in the file, in the place of what stood there; other sections stay as they are."""
    old = path.read_text() if path.exists() else "# Results\n"
    start, *sections = re.split(r"(?m)^(?=## )", old)
    made = f"## {heading}\n\n{text}\n\n"
    for index, section in enumerate(sections):
        if section.splitlines()[0] == f"## {heading}":
            sections[index] = made
            break
    else:
        sections.append(made)
    parts = [part.rstrip("\n") for part in (start, *sections)]
    path.write_text("\n\n".join(parts) + "\n")


def check(table: Sequence[Measured], tolerance: float) -> list[str]:
    """The gates that are not reached, in words: a ratio may fall short by `tolerance`."""
    return [words for row in table for words in shortfalls(row, tolerance)]


def regressions(
    table: Sequence[Measured], recorded: Mapping[str, Measured], tolerance: float
) -> list[str]:
    """What is worse than it was recorded, in words, by row and peer: ratios that fell by more than `tolerance`, rows that fail, values
    that do not agree, and gates of rows without a record."""
    found = []
    for row in table:
        found += [f"{row.title}: {words}" for words in row.wrong]
        if row.main not in row.seconds:
            found.append(f"{row.title}: {row.failed.get(row.main, 'was not measured')}")
            continue
        before = recorded.get(row.row)
        if before is None or before.main not in before.seconds:
            found += shortfalls(row, tolerance)
            continue
        for peer in row.peers():
            if before.best(peer) is None:
                continue
            now, then = row.ratio(peer), before.ratio(peer)
            if now < then * (1 - tolerance):
                found.append(f"{row.title}: {now:.2f}x of {peer}, was {then:.2f}x")
        if row.limit and not shortfalls(before, 0.0):
            seconds = row.median(row.main)
            if seconds > row.limit * (1 + tolerance):
                found.append(f"{row.title}: {figure(seconds)}, was {figure(before.median(before.main))}")  # fmt: skip
    return found
