"""``flowmesh chaos --victim ps/0 ... SCRIPT``: one fault in a cluster that runs the user's own program."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from flowmesh.cli.launcher import LocalCluster
from flowmesh.cli.program import FORMS, count, parse_with_program
from flowmesh.cli.task import Task

_FAULTS = ("kill", "stop", "restart")
_ERROR = re.compile(r"\b(\w+Error)\b")


class Experiment:
    """A run of the program with one fault in it."""

    def __init__(self, command: Sequence[str], options: argparse.Namespace):
        self._options = options
        self._began = time.monotonic()
        self._struck: float | None = None
        self._moment = threading.Event()
        self._ended: dict[str, tuple[float, str]] = {}
        self._errors: dict[str, list[str]] = {}
        self._over = threading.Event()
        self._cluster = LocalCluster(
            command,
            ps=options.ps,
            workers=options.workers,
            on_output=self._line,
            on_exit=self._exit,
            on_end=self._end,
        )

    def run(self) -> int:
        """0 when the program came to an end of some kind in time, 1 when it hangs or the moment never came."""
        options = self._options
        with self._cluster as cluster:
            try:
                victim = cluster.task(*options.victim)
            except KeyError:
                _say(f"the cluster has no task {'/'.join(map(str, options.victim))}")
                return 2
            if options.when is None:
                self._over.wait(options.after)
                self._moment.set()
            self._moment.wait()
            if self._over.is_set():
                _say("the program ended before the fault came")
                return 1
            self._strike(victim)
            in_time = self._over.wait(options.bound)
            if not in_time and options.fault == "stop":
                _signal(victim, signal.SIGCONT)
            self._report(in_time)
            cluster.stop(0.0)
        return 0 if in_time else 1

    def _strike(self, victim: Task) -> None:
        self._struck = time.monotonic()
        _say(f"{self._options.fault} {victim.name} after {self._struck - self._began:.1f} s")
        if self._options.fault == "stop":
            _signal(victim, signal.SIGSTOP)
            return
        _signal(victim, signal.SIGKILL)
        if self._options.fault == "restart":
            while victim.name not in self._ended and not self._over.wait(0.02):
                pass
            with suppress(RuntimeError):  # the cluster has ended meanwhile
                self._cluster.restart(victim)

    # -- the cluster's thread ------------------------------------------------------------------------------

    def _line(self, task: Task, text: str) -> None:
        print(f"{task.name:10}| {text}", flush=True)
        if self._struck is not None and (found := _ERROR.search(text)):
            self._errors.setdefault(task.name, []).append(found.group(1))
        if self._options.when is not None and self._options.when in text:
            self._moment.set()

    def _exit(self, task: Task) -> None:
        since = self._struck if self._struck is not None else self._began
        self._ended[task.name] = (time.monotonic() - since, task.describe_end())

    def _end(self) -> None:
        self._over.set()
        self._moment.set()

    # -- the verdict ---------------------------------------------------------------------------------------

    def _report(self, in_time: bool) -> None:
        for task in self._cluster.tasks:
            seconds, how = self._ended.get(task.name, (0.0, "is still running"))
            told = ", ".join(dict.fromkeys(self._errors.get(task.name, ()))) or "no error shown"
            print(f"{task.name:10} {how} {seconds:.1f} s after the fault; {told}", flush=True)
        if in_time:
            print("the cluster ended by itself", flush=True)
        else:
            print(f"HANGS: not over {self._options.bound:g} s after the fault", flush=True)


def _signal(task: Task, number: int) -> None:
    if task.pid is not None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(task.pid, number)


def _say(text: str) -> None:
    print(f"flowmesh chaos: {text}", file=sys.stderr, flush=True)


def main(argv: Sequence[str]) -> int:
    """Runs the program as a local cluster and breaks one task of it."""
    parser = _parser()
    options, program = parse_with_program(parser, argv)
    return Experiment(program.command(as_tensorflow=True), options).run()


def _victim(text: str) -> tuple[str, int]:
    job, _, index = text.partition("/")
    return job, int(index)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flowmesh chaos",
        usage=f"flowmesh chaos --victim JOB/INDEX [options] {FORMS} [ARGS...]",
        description="Run a program as a local cluster, break one task of it, and see whether the others come to an end. "
        "The exit code is 1 when they hang.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--victim", type=_victim, required=True, metavar="JOB/INDEX", help="who fails: ps/0")
    add("--fault", choices=_FAULTS, default="kill", help="how (default kill)")
    add("--after", type=float, default=5.0, metavar="S", help="when: seconds after the start")
    add("--when", metavar="TEXT", help="when: a task prints a line with this text")
    add("--bound", type=float, default=60.0, metavar="S", help="seconds that the end may take")
    add("--ps", type=count, default=1, metavar="N", help="parameter servers (default 1)")
    add("--workers", type=count, default=2, metavar="M", help="workers (default 2)")
    return parser
