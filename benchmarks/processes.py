"""Child processes that are told how many steps to run, and answer how long they took."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import Any

START_SECONDS = 300


def _environment() -> dict[str, str]:
    """This one's; byte code may be written, as it is when a package is installed."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


class Process:
    """A child that prints "ready" and then answers numbers of steps with seconds."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None):
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=_environment() | dict(environment or {}),
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._errors: list[str] = []
        for stream, take in (
            (self._process.stdout, self._lines.put),
            (self._process.stderr, self._errors.append),
        ):
            threading.Thread(target=self._collect, args=(stream, take), daemon=True).start()

    @staticmethod
    def _collect(stream, take) -> None:
        for line in stream:
            take(line)
        take("")

    def _line(self, seconds: float) -> str:
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            raise RuntimeError(f"no answer within {seconds} s") from None
        if not line:
            self._process.wait(10)
            raise RuntimeError(f"the process ended: {''.join(self._errors)[-800:]}")
        return line

    def ready(self) -> dict[str, Any] | None:
        """Waits for the child to say that it is, and gives what it says besides; None when it has nothing to run.

        RuntimeError, with its last words, when it ends instead.
        """
        while True:
            line = self._line(START_SECONDS)
            if line.startswith("skipped"):
                return None
            if line.startswith("ready"):
                return json.loads(line[5:]) if "{" in line else {}

    def tell(self, steps: int) -> None:
        """Has it run so many steps."""
        self._process.stdin.write(f"{steps}\n")
        self._process.stdin.flush()

    def answer(self, seconds: float = START_SECONDS) -> float:
        """The seconds that the steps took."""
        return float(self._line(seconds))

    def cpu_seconds(self) -> float:
        """The processor time it has used."""
        with open(f"/proc/{self._process.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> int:
        """Its resident memory in KiB."""
        with open(f"/proc/{self._process.pid}/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))

    def close(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            stream.close()
