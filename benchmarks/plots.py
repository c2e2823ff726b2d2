"""A plot for each table: how many times faster Flowmesh is than each peer, as bars on a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.results import PEERS, TABLES
from benchmarks.runner import Measured

COLORS = {"tf115": "#f28e2b", "tf2": "#e15759", "torch": "#b07aa1", "jax": "#4e79a7"}
LONGEST = 56


def bars(rows: Sequence[Measured]) -> list[tuple[str, dict[str, float]]]:
    """Titles and ratios by peer; rows without a peer are left out."""
    found = []
    for row in rows:
        if row.main in row.seconds and row.peers():
            found.append((row.title, {peer: row.ratio(peer) for peer in row.peers()}))
    return found


def draw(folder: Path, rows: Mapping[str, Measured]) -> list[Path]:
    """Writes `TABLE.svg` for every table that has bars; nothing, with a line that says why, without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        print("no plots: matplotlib is not installed (pip install -e .[bench])")
        return []
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "flowmesh", "svg.fonttype": "none", "font.size": 8})
    from matplotlib import pyplot

    written = []
    folder.mkdir(exist_ok=True)
    for name, title in TABLES.items():
        table = bars([row for _, row in sorted(rows.items()) if row.table == name])
        if not table:
            continue
        peers = [p for p in PEERS if any(p in ratios for _, ratios in table)]
        figure, axes = pyplot.subplots(figsize=(8, 0.5 + 0.14 * len(table) * (len(peers) + 1)))
        height = 1 / (len(peers) + 1)
        for index, peer in enumerate(peers):
            places = [(i + index * height, r[peer]) for i, (_, r) in enumerate(table) if peer in r]
            ys = [y for y, _ in places]
            axes.barh(
                ys,
                [math.log2(x) for _, x in places],
                height,
                color=COLORS[peer],
                label=PEERS[peer],
            )
            for y, x in places:
                side = "left" if x >= 1 else "right"
                axes.text(math.log2(x), y, f" {x:.2f} ", va="center", ha=side, fontsize=6)
        axes.set_yticks([i + height * (len(peers) - 1) / 2 for i in range(len(table))])
        axes.set_yticklabels(
            [t if len(t) <= LONGEST else t[: LONGEST - 3] + "..." for t, _ in table]
        )
        low, high = (round(f(axes.get_xlim()[i])) for i, f in ((0, math.floor), (1, math.ceil)))
        axes.set_xlim(low - 0.5, high + 0.5)
        places = range(low, high + 1, 1 + (high - low) // 10)
        axes.set_xticks(places, [f"{2.0**p:.3g}x" for p in places])
        axes.axvline(0, color="black", linewidth=0.8)
        axes.invert_yaxis()
        axes.set_title(f"{title}: Flowmesh's speed beside each peer's")
        axes.legend(fontsize=7)
        path = folder / f"{name}.svg"
        figure.savefig(path, bbox_inches="tight", metadata={"Date": None, "Creator": None})
        pyplot.close(figure)
        written.append(path)
    return written
