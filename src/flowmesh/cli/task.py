"""One task of a local cluster, as its launcher and callers see it."""

from __future__ import annotations

import signal
from collections import deque
from typing import NamedTuple

from flowmesh.cli.process import TaskProcess
from flowmesh.distributed.ports import ReservedPort

TAIL_LINES = 10


class Failure(NamedTuple):
    """A task that ended with an error before it was told to stop, as it was then."""

    task: Task
    exit_code: int
    description: str
    last_lines: list[str]


class Task:
    """One task of the cluster. Users only read it; the cluster's thread writes."""

    def __init__(self, job: str, index: int, port: ReservedPort) -> None:
        self.job = job
        self.index = index
        self.pid: int | None = None
        self.returncode: int | None = None
        """As `subprocess` has it: exit code, or a signal's number negated; None while running."""
        self.failed = False
        """Whether it ended with an error before it was told to stop."""
        self.last_lines: deque[str] = deque(maxlen=TAIL_LINES)
        self.reserved = port
        self.process: TaskProcess | None = None

    @property
    def name(self) -> str:
        """The task as ``worker/0``."""
        return f"{self.job}/{self.index}"

    @property
    def port(self) -> int:
        """The port it was given to listen on."""
        return self.reserved.number

    @property
    def address(self) -> str:
        """Host and port, as in the cluster specification."""
        return self.reserved.address

    @property
    def exit_code(self) -> int | None:
        """The exit code as a shell has it: 128 + the number of the signal that killed it."""
        if self.returncode is None or self.returncode >= 0:
            return self.returncode
        return 128 - self.returncode

    def describe_end(self) -> str:
        """How it ended, in words: "exited with code 3", "was killed by SIGKILL"."""
        if self.returncode is None:
            return "is running"
        if self.returncode >= 0:
            return f"exited with code {self.returncode}"
        try:
            return f"was killed by {signal.Signals(-self.returncode).name}"
        except ValueError:
            return f"was killed by signal {-self.returncode}"

    def __repr__(self) -> str:
        return f"<Task {self.name} at {self.address}, pid {self.pid}: {self.describe_end()}>"
