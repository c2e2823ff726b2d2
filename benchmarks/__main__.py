"""`python -m benchmarks`: runs the rows on Flowmesh and on every peer that can be set up; writes RESULTS.md.

python -m benchmarks                     all rows, all peers
python -m benchmarks run_constant        some rows; the others stay in RESULTS.md as they are
python -m benchmarks --peers tf115       some peers
python -m benchmarks --no-write          print only
python -m benchmarks --check             fail, by name, when a row is slower than its recorded ratios; writes nothing
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from benchmarks import peers, plots, results, runner


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "rows", nargs="*", help="names of rows (files in benchmarks/rows); all by default"
    )
    parser.add_argument(
        "--peers", default=",".join(peers.NAMES), help=f"comma-separated: {', '.join(peers.NAMES)}"
    )
    parser.add_argument(
        "--rounds",
        type=int,
        help="how often each side is measured, alternately; by row if not given",
    )
    parser.add_argument("--no-write", action="store_true", help="do not write RESULTS.md")
    parser.add_argument(
        "--check",
        action="store_true",
        help="exit with 1 when a row falls behind its recorded ratios; writes nothing",
    )
    parser.add_argument(
        "--tolerance", type=float, default=0.25, help="how far --check lets a ratio fall short"
    )
    args = parser.parse_args()

    known = runner.row_names()
    unknown = sorted(set(args.rows) - set(known))
    if unknown:
        parser.error(f"no such row: {', '.join(unknown)}; there are {', '.join(known)}")
    wanted = list(filter(None, args.peers.split(",")))
    strangers = sorted(set(wanted) - set(peers.NAMES))
    if strangers:
        parser.error(f"no such peer: {', '.join(strangers)}; there are {', '.join(peers.NAMES)}")
    sides = [peers.flowmesh()]
    for name in wanted:
        side = peers.set_up(name)
        if side is not None:
            sides.append(side)
    path = runner.FOLDER / "RESULTS.md"
    table = []
    start = time.monotonic()
    for row in args.rows or known:
        measured = runner.measure(row, sides, args.rounds)
        table.append(measured)
        print(f"[{time.monotonic() - start:.0f} s] {results.line(measured)}", flush=True)
        if not args.check and not args.no_write:
            results.write(path, sides, [measured])
    return finish(args, path, sides, table)


def finish(
    args: argparse.Namespace,
    path: Path,
    sides: list[peers.Side],
    table: list[runner.Measured],
) -> int:
    """Checks, or writes what there is to write; the exit status."""
    recorded = results.load(path.with_name("results.json"))
    if args.check:
        worse = results.regressions(table, recorded, args.tolerance)
        short = results.check(table, args.tolerance)
        for words in short:
            print(f"short of what it must reach: {words}")
        print("\n".join(f"REGRESSION {words}" for words in worse) or "no regressions")
        return 1 if worse else 0
    wrong = [f"{row.title}: {words}" for row in table for words in row.wrong]
    wrong += [f"{row.title}: failed" for row in table if row.main not in row.seconds]
    for words in [*results.check(table, 0.0), *wrong]:
        print(f"short of what it must reach: {words}")
    if not args.no_write:
        plots.draw(path.with_name("plots"), recorded)
        results.write(path, sides, [])
        print(f"written to {path}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
