"""Prints the figures, and writes them as RESULTS.md."""

from __future__ import annotations

import datetime
import os
import platform
import re
import statistics
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from benchmarks.peers import Side
from benchmarks.runner import Measured

HEADING = "One process"


def figure(seconds: float) -> str:
    """A time in a fitting unit."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.1f} us"
    return f"{seconds * 1e3:.2f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _spread(values: Sequence[float]) -> str:
    return f"{figure(statistics.median(values))} ({figure(min(values))} .. {figure(max(values))})"


def line(row: Measured) -> str:
    """One row for the terminal."""
    parts = [f"{row.title}:"]
    for side, values in row.seconds.items():
        ratio = (
            ""
            if side == "flowmesh" or "flowmesh" not in row.seconds
            else f" = {row.ratio(side):.2f}x ours"
        )
        parts.append(f"{side} {_spread(values)}{ratio}")
    return "  ".join(parts)


def write(path: Path, sides: Sequence[Side], table: Sequence[Measured]) -> None:
    """Writes the Markdown table."""
    peers = [s for s in sides if s.name != "flowmesh"]
    lines = [
        f"{datetime.date.today().isoformat()}, {platform.machine()}, {os.cpu_count()} cores, {platform.system()}, "
        f"Python {platform.python_version()}, JAX {metadata.version('jax')}, NumPy {metadata.version('numpy')}.",
        "",
        "Median time of one iteration (fastest .. slowest round); all sides measured alternately in one run. `x` is how",
        "many times faster Flowmesh is than that peer: the median of the ratios of neighbouring rounds. Machines are shared",
        "and noisy: only the ratios mean something.",
        "",
        "| work | Flowmesh | " + " | ".join(f"{p.title} | x" for p in peers) + " |",
        "|---|---|" + "---|---|" * len(peers),
    ]
    for row in table:
        cells = [
            row.title + "".join(f" (must reach {w:g}x of {g})" for g, w in row.gates.items()),
            _spread(row.seconds["flowmesh"]) if "flowmesh" in row.seconds else "failed",
        ]
        for peer in peers:
            if peer.name in row.seconds and "flowmesh" in row.seconds:
                cells += [_spread(row.seconds[peer.name]), f"{row.ratio(peer.name):.2f}"]
            else:
                cells += ["" if peer.name in row.skipped else "failed", ""]
        lines.append("| " + " | ".join(cells) + " |")
    write_section(path, HEADING, "\n".join(lines))


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
    missed = []
    for row in table:
        for gate, wanted in row.gates.items():
            ratio = row.gate_ratio(gate)
            if ratio is not None and ratio < wanted * (1 - tolerance):
                missed.append(f"{row.title}: {ratio:.2f}x of {gate}, must be {wanted:.2f}x")
    return missed
