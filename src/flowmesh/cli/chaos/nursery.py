"""Where the processes of a chaos cluster come from: one process imports everything once, and forks the members.

Forking takes milliseconds, starting Python with all modules more than a second. The nursery ends, and kills its children, when
the process that started it goes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import count
from socket import AF_UNIX, SOCK_STREAM, socket
from typing import Any

_SECONDS = 20.0


class Member:
    """A process that does what it is told, command by command; see `flowmesh.cli.chaos.member`."""

    def __init__(self, name: str, pid: int, connection: socket):
        self.name = name
        self.pid = pid
        self.ended = threading.Event()
        self._connection = connection
        self._numbers = count()
        self._answers: dict[int, Answer] = {}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._read, name=f"chaos-{name}", daemon=True)
        self._thread.start()

    def ask(self, what: str, **arguments: Any) -> Answer:
        """Sends a command; its answer comes later."""
        number = next(self._numbers)
        answer = self._answers[number] = Answer(self.name, what)
        line = json.dumps({"number": number, "do": what, **arguments}).encode() + b"\n"
        with suppress(OSError), self._lock:  # the process has ended: `_read` answers
            self._connection.sendall(line)
        if self.ended.is_set():
            answer.give({"gone": True})
        return answer

    def signal(self, number: int) -> None:
        """Sends a signal to the process."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def stop(self) -> None:
        """Stops the process with SIGSTOP; it has stopped, with all its threads, on return."""
        self.signal(signal.SIGSTOP)
        pause = threading.Event()
        while not self.ended.is_set() and not _has_stopped(self.pid):
            pause.wait(0.002)

    def close(self) -> None:
        """Kills the process."""
        self.signal(signal.SIGKILL)
        self.ended.wait(_SECONDS)
        self._connection.close()
        self._thread.join(_SECONDS)

    def _read(self) -> None:
        with suppress(OSError), self._connection.makefile("rb") as lines:
            for line in lines:
                message = json.loads(line)
                answer = self._answers[message["number"]]
                if message.get("event"):
                    answer.started.set()
                else:
                    answer.give(message)
        self.ended.set()
        for answer in list(self._answers.values()):
            answer.give({"gone": True})


class Answer:
    """What became of a command."""

    def __init__(self, member: str, what: str):
        self.member = member
        self.what = what
        self.started = threading.Event()
        self.at = 0.0
        """When the answer came."""
        self._done = threading.Event()
        self._message: dict[str, Any] = {}

    def give(self, message: dict[str, Any]) -> None:
        """Sets the answer, once."""
        if not self._done.is_set():
            self._message = message
            self.at = time.monotonic()
            self.started.set()
            self._done.set()

    def wait(self, seconds: float) -> bool:
        """Waits for the answer; whether it is there."""
        return self._done.wait(seconds)

    @property
    def gone(self) -> bool:
        """Whether the process ended before it answered."""
        return bool(self._message.get("gone"))

    @property
    def error(self) -> str:
        """The class and message of what was raised, or ""."""
        return str(self._message.get("error", ""))

    @property
    def value(self) -> Any:
        """What the command returned."""
        return self._message.get("value")

    def result(self, seconds: float = _SECONDS) -> Any:
        """The value; RuntimeError when there is none."""
        if not self.wait(seconds):
            raise RuntimeError(f"{self.member} does not answer {self.what}")
        if self.gone or self.error:
            raise RuntimeError(f"{self.member} {self.what}: {self.error or 'the process ended'}")
        return self.value


class Nursery:
    """Forks members. Also a context manager that ends them all."""

    def __init__(self, environ: Mapping[str, str] | None = None, prefix: Sequence[str] = ()):
        """`prefix` is put before the command, `ip netns exec NAME` for instance."""
        self._folder = tempfile.TemporaryDirectory(prefix="flowmesh-chaos-")
        self._path = os.path.join(self._folder.name, "nursery")
        self._listener = socket(AF_UNIX, SOCK_STREAM)
        self._listener.bind(self._path)
        self._listener.listen(16)
        self._listener.settimeout(_SECONDS * 3)
        self._members: list[Member] = []
        self._process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "flowmesh.cli.chaos.member", self._path],
            stdin=subprocess.PIPE,
            env={**os.environ, **(environ or {})},
        )

    def member(self, name: str, environ: Mapping[str, str] | None = None) -> Member:
        """A new process; `environ` is added to its environment."""
        assert self._process.stdin is not None
        line = json.dumps({"name": name, "environ": dict(environ or {})}).encode() + b"\n"
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
            connection, _ = self._listener.accept()
        except (BrokenPipeError, TimeoutError):
            raise RuntimeError(f"the process of {name} does not start") from None
        hello = json.loads(_line(connection))
        connection.settimeout(None)
        made = Member(name, hello["pid"], connection)
        self._members.append(made)
        return made

    def kill(self, members: list[Member]) -> None:
        """Ends these members."""
        for member in members:
            member.signal(signal.SIGKILL)
        for member in members:
            member.close()
            self._members.remove(member)

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill(list(self._members))
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.close()
        self._folder.cleanup()


def _has_stopped(pid: int) -> bool:
    """Whether every thread of a process is stopped; true where the system does not tell."""
    folder = f"/proc/{pid}/task"
    try:
        for thread in os.listdir(folder):
            with suppress(FileNotFoundError), open(f"{folder}/{thread}/stat", "rb") as file:
                state = file.read().rpartition(b")")[2].split()[0]
                if state not in b"TtXZ":
                    return False
    except OSError:
        return True
    return True


def _line(connection: socket) -> bytes:
    data = b""
    while not data.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte:
            break
        data += byte
    return data
