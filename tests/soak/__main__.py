"""`python -m tests.soak --minutes 30`: asynchronous training from a queue while workers are killed and started again."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.soak.run import Options, Soak


def main() -> int:
    """Runs the soak; 1 when a record was lost or doubled or memory grew."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--rate", type=float, default=40.0, help="records a second")
    parser.add_argument("--kill-every", type=float, default=25.0, help="seconds, on average")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--grow", type=int, default=4096, help="KiB that a task may grow by")
    args = parser.parse_args()
    options = Options(
        seconds=args.minutes * 60,
        workers=args.workers,
        rate=args.rate,
        kill_every=args.kill_every,
        seed=args.seed,
    )
    with tempfile.TemporaryDirectory(prefix="flowmesh-soak-") as folder:
        report = Soak(options, Path(folder), lambda text: print(text, flush=True)).run()
    growth = {name: report.growth(name) for name in report.memory}
    print(
        f"{report.records} records in {report.epochs} epochs, {report.applied} applied, {report.kills} kills, "
        f"{report.redelivered} in flight with a killed worker and fed again, {report.lost} lost, {report.doubled} doubled; "
        f"largest error of a weight {report.error:.4f}; growth in KiB: {growth}; failures: {report.failures or 'none'}"
    )
    grown = any(value > args.grow for value in growth.values())
    return int(bool(report.lost or report.doubled or report.failures or grown))


if __name__ == "__main__":
    sys.exit(main())
