"""Train a digit classifier on a cluster of this machine: one parameter server, two workers, each a process of its own.

make run
python examples/digits/run.py --workers 3 --steps 6000
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from flowmesh.cli.launcher import LocalCluster

HERE = Path(__file__).resolve().parent


class Board:
    """What the workers have told so far, and the rest of what the tasks printed."""

    def __init__(self, workers):
        self.lock = threading.Lock()
        self.rows = {i: {} for i in range(workers)}
        self.result = {}
        self.lines = []

    def line(self, task, text):
        """Takes one line of a task's output (called from the cluster's thread)."""
        with self.lock:
            if not text.startswith("@progress "):
                self.lines.append(f"{task.name} | {text}")
                return
            facts = json.loads(text.removeprefix("@progress "))
            if facts.pop("done", False):
                self.result = facts
            else:
                self.rows[facts["worker"]] = facts

    def table(self, steps):
        """A row for each worker."""
        table = Table(title="digits: asynchronous training, variables on /job:ps/task:0")
        for column in ("worker", "step", "loss", "accuracy", "steps/s"):
            table.add_column(column, justify="right")
        with self.lock:
            for worker, facts in self.rows.items():
                if facts:
                    table.add_row(
                        str(worker),
                        f"{facts['step']} / {steps}",
                        f"{facts['loss']:.4f}",
                        f"{facts['accuracy']:.1%}",
                        f"{facts['rate']:.0f}",
                    )
                else:
                    table.add_row(str(worker), "starting", "", "", "")
        return table


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=1200, help="steps of all workers together")
    parser.add_argument(
        "--logdir", help="folder for checkpoints and summaries (a new one by default)"
    )
    args = parser.parse_args()
    logdir = args.logdir or tempfile.mkdtemp(prefix="flowmesh-digits-")

    console = Console()
    board = Board(args.workers)
    start = time.perf_counter()
    command = [
        sys.executable,
        str(HERE / "train.py"),
        f"--logdir={logdir}",
        f"--steps={args.steps}",
    ]
    with (
        LocalCluster(
            command, ps=1, workers=args.workers, on_output=board.line, fail_fast=True
        ) as cluster,
        Live(board.table(args.steps), console=console, refresh_per_second=8) as live,
    ):
        done = threading.Event()

        def show():
            while not done.wait(0.125):
                live.update(board.table(args.steps))

        viewer = threading.Thread(target=show, daemon=True)
        viewer.start()
        try:
            code = cluster.wait()
        finally:
            done.set()
            viewer.join()
        live.update(board.table(args.steps))
    if not console.is_terminal:  # where the table is printed once, its last line is left open
        console.print()

    if code or not board.result:
        console.print("\n".join(board.lines[-40:]), markup=False, highlight=False)
        console.print(f"[red]The cluster failed (exit code {code}).[/red]")
        return code or 1
    result = board.result
    console.print(
        f"test accuracy  {result['test_accuracy']:.2%} (360 digits that were not trained on)"
    )
    console.print(f"checkpoint     {result['checkpoint']}", soft_wrap=True)
    console.print(f"TensorBoard    tensorboard --logdir {result['logdir']}", soft_wrap=True)
    console.print(f"time           {time.perf_counter() - start:.1f} s; all processes have ended")
    return 0 if result["test_accuracy"] >= 0.95 else 1


if __name__ == "__main__":
    sys.exit(main())
