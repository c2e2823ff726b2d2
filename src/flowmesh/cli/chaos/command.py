"""``flowmesh chaos``: the matrix of faults, on a small cluster of this machine."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from flowmesh.cli.chaos import own
from flowmesh.cli.chaos.cells import FAULTS, MODES, PHASES, QUICK, ROLES, Cell, matrix
from flowmesh.cli.chaos.judge import run_cell
from flowmesh.cli.chaos.nursery import Nursery
from flowmesh.cli.chaos.report import describe, table


def main(argv: Sequence[str]) -> int:
    """Run the cells that are asked for; 0 when all went well."""
    if any(word == "--victim" or word.startswith("--victim=") for word in argv):
        return own.main(argv)
    options = _parser().parse_args(argv)
    cells = _cells(options)
    if options.list:
        print("\n".join(map(str, cells)))
        return 0
    outcomes = []
    with Nursery() as nursery, tempfile.TemporaryDirectory(prefix="flowmesh-chaos-") as folder:
        try:
            for number, cell in enumerate(cells, 1):
                outcome = run_cell(cell, nursery, Path(folder))
                outcomes.append(outcome)
                text = f"[{number}/{len(cells)}] {cell!s:38} {describe(outcome)}"
                print(f"{text} ({outcome.seconds:.1f} s)", file=sys.stderr, flush=True)
                for problem in outcome.problems:
                    print(f"    {problem}", file=sys.stderr, flush=True)
        finally:
            print(table(outcomes), flush=True)
    return 0 if all(outcome.ok for outcome in outcomes) else 1


def _cells(options: argparse.Namespace) -> list[Cell]:
    chosen = [
        tuple(getattr(options, name) or every)
        for name, every in (("mode", MODES), ("role", ROLES), ("fault", FAULTS), ("phase", PHASES))
    ]
    cells = matrix(*chosen)
    return [c for c in cells if c in QUICK] if options.quick else list(cells)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flowmesh chaos",
        description="Break a small cluster of this machine in every way there is, and check that nothing hangs, no "
        "acknowledged update is lost and every error names its cause. Prints a table; the exit code "
        "is 1 when something was wrong. Every option may be given several times; by default all are run, which takes "
        "about a quarter of an hour.",
        epilog="To break a program of your own instead: flowmesh chaos --victim ps/0 [options] SCRIPT; "
        "`flowmesh chaos --victim ps/0 --help` explains it.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--mode", action="append", choices=MODES, help="kind of training")
    add("--role", action="append", choices=ROLES, help="who fails")
    add("--fault", action="append", choices=FAULTS, help="how")
    add("--phase", action="append", choices=PHASES, help="when")
    add("--quick", action="store_true", help="only some cells of these, in less than a minute")
    add("--list", action="store_true", help="name the cells and run none")
    return parser
