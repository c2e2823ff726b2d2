"""`python -m benchmarks`: runs the rows on Flowmesh and on every peer that can be set up; writes RESULTS.md.

python -m benchmarks                     all rows, all peers
python -m benchmarks run_constant        some rows
python -m benchmarks --peers tf115       some peers
python -m benchmarks --no-write          print only
python -m benchmarks --check             fail when a row falls short of the ratios it must reach
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import peers, results, runner


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "rows", nargs="*", help="names of rows (files in benchmarks/rows); all by default"
    )
    parser.add_argument("--peers", default="tf115,tf2,jax", help="comma-separated: tf115, tf2, jax")
    parser.add_argument(
        "--rounds", type=int, default=7, help="how often each side is measured, alternately"
    )
    parser.add_argument("--no-write", action="store_true", help="do not write RESULTS.md")
    parser.add_argument(
        "--check",
        action="store_true",
        help="exit with 1 when a row misses its ratios; writes nothing",
    )
    parser.add_argument(
        "--tolerance", type=float, default=0.15, help="how far --check lets a ratio fall short"
    )
    args = parser.parse_args()

    known = runner.row_names()
    unknown = sorted(set(args.rows) - set(known))
    if unknown:
        parser.error(f"no such row: {', '.join(unknown)}; there are {', '.join(known)}")
    sides = [peers.flowmesh()]
    for name in filter(None, args.peers.split(",")):
        side = peers.set_up(name)
        if side is not None:
            sides.append(side)
    table = []
    for row in args.rows or known:
        measured = runner.measure(row, sides, args.rounds)
        table.append(measured)
        print(results.line(measured), flush=True)
    if args.check:
        missed = results.check(table, args.tolerance)
        print("\n".join(missed) or "all ratios are reached")
        return 1 if missed else 0
    if not args.no_write:
        path = Path(__file__).parent / "RESULTS.md"
        results.write(path, sides, table)
        print(f"written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
