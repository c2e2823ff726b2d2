"""One task of a local cluster as a process that cannot outlive its launcher.

Two small programs see to that, for a launcher killed with SIGKILL can clean up nothing:

* a task is started through `_STARTER`, which asks the kernel to kill it when its parent is gone
  (Linux's PR_SET_PDEATHSIG; elsewhere nothing happens) and then becomes the task's command. The
  kernel means the *thread* that started the task, which must therefore live as long as the task;
* a `Guard` process, one per cluster, holds one end of a pipe; when the launcher is gone, the pipe
  ends and the guard kills the process groups that are left, a task's own children included.
"""

from __future__ import annotations

import codecs
import io
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress

_STARTER = """
import os, sys
try:
    import ctypes
    ctypes.CDLL(None).prctl(1, 9)
except Exception:
    pass
if os.getppid() != int(sys.argv[1]):
    os._exit(137)
try:
    os.execvp(sys.argv[2], sys.argv[2:])
except OSError as error:
    sys.exit(f"cannot start {sys.argv[2]!r}: {error.strerror}")
"""

_GUARD = """
import os, signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
groups = set()
with open(0, "rb", buffering=0) as lines:
    for line in lines:
        (groups.add if line[:1] == b"+" else groups.discard)(int(line[1:]))
for group in groups:
    try:
        os.killpg(group, signal.SIGKILL)
    except OSError:
        pass
"""

AFTER_KILL_SECONDS = 5.0
"""How long a process that was sent SIGKILL may take to end."""

_PYTHON = (sys.executable, "-I", "-S", "-c")
_CHUNK = 1 << 16
_LAST_CHUNKS = 64  # more than any pipe holds; a child that goes on writing is not waited for
_LONGEST_LINE = 1 << 16


class Lines:
    """Cuts a stream of bytes into lines of text; a carriage return ends a line, too."""

    def __init__(self) -> None:
        utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._decoder = io.IncrementalNewlineDecoder(utf8, translate=True)
        self._rest = ""

    def feed(self, data: bytes, *, final: bool = False) -> list[str]:
        """The lines that `data` completes; with `final`, also one that has no end."""
        *lines, self._rest = (self._rest + self._decoder.decode(data, final)).split("\n")
        if self._rest and (final or len(self._rest) > _LONGEST_LINE):
            lines.append(self._rest)
            self._rest = ""
        return lines


class Guard:
    """The process that kills the groups it was told of when this process has gone."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [*_PYTHON, _GUARD],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )

    def watch(self, group: int) -> None:
        """Remember process group `group`."""
        self._tell(f"+{group}\n")

    def forget(self, group: int) -> None:
        """Forget it: it has ended, and its number may soon be another's."""
        self._tell(f"-{group}\n")

    def close(self) -> None:
        """End the guard; groups it still knows are killed."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # somebody killed the guard: the cluster goes on without
            self._process.stdin.write(line.encode())


class TaskProcess:
    """A running command in a session of its own, its output and errors in one pipe."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], cwd: str | None, guard: Guard
    ) -> None:
        self._guard = guard
        self._lines = Lines()
        self._process = subprocess.Popen(
            [*_PYTHON, _STARTER, str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
        )
        self.pid = self._process.pid
        guard.watch(self.pid)
        assert self._process.stdout is not None
        self.output: int = self._process.stdout.fileno()
        os.set_blocking(self.output, False)
        self.exit_fd = _exit_fd(self.pid)
        """Readable when the process has ended; None where the system has no such thing."""

    def read(self) -> tuple[list[str], bool]:
        """Lines that came since the last call, and whether the stream has ended."""
        try:
            data = os.read(self.output, _CHUNK)
        except BlockingIOError:
            return [], False
        return self._lines.feed(data, final=not data), not data

    def has_ended(self) -> bool:
        """Whether the process has ended. It is not reaped, so that its number stays its own."""
        if self._process.returncode is not None:
            return True
        if not hasattr(os, "waitid"):
            return self._process.poll() is not None
        state = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return state is not None

    def signal_group(self, number: int) -> None:
        """Send a signal to the process and to its children; call only before `finish`."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def finish(self) -> tuple[int, list[str]]:
        """After the end: kill the children it left, reap it; its return code and last lines.

        Raises subprocess.TimeoutExpired when the process does not end even so.
        """
        if self._process.returncode is None:
            self.signal_group(signal.SIGKILL)
        self._guard.forget(self.pid)
        returncode = self._process.wait(AFTER_KILL_SECONDS)
        lines: list[str] = []
        with suppress(BlockingIOError):  # a child in a session of its own still holds the pipe
            for _ in range(_LAST_CHUNKS):
                data = os.read(self.output, _CHUNK)
                if not data:
                    break
                lines += self._lines.feed(data)
        lines += self._lines.feed(b"", final=True)
        assert self._process.stdout is not None
        self._process.stdout.close()
        if self.exit_fd is not None:
            os.close(self.exit_fd)
        return returncode, lines


def _exit_fd(pid: int) -> int | None:
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None
