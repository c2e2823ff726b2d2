"""``flowmesh up``: a script on a local cluster, its tasks' output side by side in one terminal."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from flowmesh.cli.launcher import INTERRUPT_GRACE, LocalCluster
from flowmesh.cli.program import FORMS, SIMULATE_GPUS, add_simulate_gpus, count, parse_with_program
from flowmesh.cli.safety import add_safety, cluster_credentials, environment
from flowmesh.cli.signals import SignalWait
from flowmesh.cli.task import Failure, Task

_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)  # of ANSI's foregrounds, those well told apart
_PIPE_CLOSED = 128 + signal.SIGPIPE


class Printer:
    """Shows the lines of all tasks, each with its task's name, and keeps them in files if asked."""

    def __init__(self, stream: TextIO, *, colour: bool, width: int, log_dir: Path | None) -> None:
        self._stream = stream
        self._colour = colour
        self._width = width
        self._log_dir = log_dir
        self._colours: dict[str, int] = {}
        self._logs: dict[str, TextIO] = {}

    def line(self, task: Task, text: str) -> None:
        """Show one line of `task`; a callback for `LocalCluster`."""
        self._stream.write(f"{self._prefix(task.name)}{text}\n")
        self._stream.flush()
        if self._log_dir is not None:
            log = self._logs.get(task.name)
            if log is None:
                path = self._log_dir / f"{task.job}-{task.index}.log"
                log = self._logs[task.name] = path.open("w", encoding="utf-8")
            log.write(f"{text}\n")
            log.flush()

    def close(self) -> None:
        """Close the files."""
        for log in self._logs.values():
            log.close()

    def _prefix(self, name: str) -> str:
        prefix = f"{name:{self._width}} | "
        if not self._colour:
            return prefix
        code = self._colours.setdefault(name, _COLOURS[len(self._colours) % len(_COLOURS)])
        return f"\x1b[{code}m{prefix}\x1b[0m"


def main(argv: Sequence[str]) -> int:
    """Run the program as a cluster; the exit code is that of the first task that failed."""
    parser = _parser()
    options, program = parse_with_program(parser, argv)
    if options.workers < 1:
        parser.error("argument --workers: a cluster needs at least one worker")
    if program.kind == "script" and not os.path.exists(program.target):
        parser.error(f"there is no script {program.target!r}")
    if options.log_dir is not None:
        options.log_dir.mkdir(parents=True, exist_ok=True)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    simulated = options.simulate_gpus
    width = max(len(f"ps/{max(options.ps - 1, 0)}"), len(f"worker/{options.workers - 1}"))
    printer = Printer(
        sys.stdout, colour=_wants_colour(sys.stdout), width=width, log_dir=options.log_dir
    )
    with (
        SignalWait(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals,
        cluster_credentials(options.insecure) as (credentials, about),
    ):
        simulation = {} if simulated is None else {SIMULATE_GPUS: str(simulated)}
        cluster = LocalCluster(
            program.command(as_tensorflow=options.as_tensorflow),
            ps=options.ps,
            workers=options.workers,
            gpus=None if options.gpus is None else deal_gpus(options.gpus, options.workers),
            env={**environment(options), **credentials, **simulation},
            flags=options.flags,
            chief=options.chief,
            grace=options.grace,
            fail_fast=options.fail_fast,
            on_output=printer.line,
            on_exit=_report_end,
            on_end=signals.wake,
        )
        try:
            return _run(cluster, signals, about, quiet=options.quiet)
        finally:
            printer.close()


def deal_gpus(text: str, workers: int) -> list[str]:
    """CUDA_VISIBLE_DEVICES for each worker from the list the user gave.

    "0,1,2,3" is dealt out evenly, in order; with fewer GPUs than workers they are shared in turn.
    """
    gpus = [part.strip() for part in text.split(",") if part.strip()]
    if not gpus or gpus == ["none"]:
        return [""] * workers
    if len(gpus) < workers:
        return [gpus[index % len(gpus)] for index in range(workers)]
    share, left = divmod(len(gpus), workers)
    dealt = []
    for index in range(workers):
        size = share + (index < left)
        dealt.append(",".join(gpus[:size]))
        del gpus[:size]
    return dealt


def _run(cluster: LocalCluster, signals: SignalWait, about: str, *, quiet: bool) -> int:
    came: list[int] = []
    try:
        with cluster:
            if not quiet:
                tasks = ", ".join(f"{task.name} {task.address}" for task in cluster.tasks)
                _say(f"{tasks} ({about})")
            while number := signals.wait():
                came.append(number)
                cluster.request_stop(INTERRUPT_GRACE if len(came) == 1 else 0.0)
            code = cluster.wait()
    except BrokenPipeError:  # whoever read our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _PIPE_CLOSED
    except (OSError, RuntimeError) as error:
        _say(str(error))
        return 128 + came[0] if came else 1
    if came:
        _say(f"stopped by {signal.Signals(came[0]).name}")
        return 128 + came[0]
    if cluster.failures:
        _report_failure(cluster.failures[0])
    return code


def _report_end(task: Task) -> None:
    if task.failed:
        _say(f"{task.name} (pid {task.pid}) {task.describe_end()}")


def _report_failure(failure: Failure) -> None:
    _say(f"failed because {failure.task.name} {failure.description}; the last it said:")
    for line in failure.last_lines or ["(nothing)"]:
        print(f"    {line}", file=sys.stderr)


def _say(text: str) -> None:
    sys.stderr.write(f"flowmesh up: {text}\n")  # in one piece, unlike print
    sys.stderr.flush()


def _wants_colour(stream: TextIO) -> bool:
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flowmesh up",
        usage=f"flowmesh up [options] {FORMS} [ARGS...]",
        description="Run a program on a local cluster of ps and worker tasks. Every task gets "
        "--ps_hosts, --worker_hosts, --job_name and --task_index after ARGS, and TF_CONFIG in its "
        "environment. The cluster ends with its workers; its exit code is that of the first task "
        "that failed.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--ps", type=count, default=1, metavar="N", help="parameter servers (default 1)")
    add("--workers", type=count, default=2, metavar="M", help="workers (default 2)")
    add("--gpus", metavar="LIST", help="GPUs to deal out to the workers: 0,1,2,3 or none")
    add_simulate_gpus(parser)
    add_safety(parser)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument(
        "--as-tensorflow",
        action="store_true",
        default=True,
        help="`import tensorflow` means Flowmesh in the program (the default)",
    )
    mode.add_argument(
        "--plain",
        dest="as_tensorflow",
        action="store_false",
        help="run the program with Python alone",
    )
    add("--no-flags", dest="flags", action="store_false", help="give the tasks TF_CONFIG only")
    add(
        "--chief",
        action="store_true",
        help="TF_CONFIG calls the first worker the chief, as tf.estimator wants it",
    )
    add("--fail-fast", action="store_true", help="stop all tasks when one fails")
    add("--grace", type=float, default=5.0, metavar="S", help="seconds a task gets to stop in")
    add("--log-dir", type=Path, metavar="DIR", help="also keep each task's output in DIR")
    add("--quiet", action="store_true", help="do not tell the tasks' addresses")
    return parser
