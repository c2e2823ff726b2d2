"""A member of a chaos cluster: runs a server, a client program or both, as it is told over a socket.

Each command runs in a thread of its own, so that one that hangs does not keep the next from being run.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from socket import AF_UNIX, SOCK_STREAM, socket
from typing import Any

from flowmesh.cli.chaos.program import Program


class Agent:
    """Reads commands and answers them."""

    def __init__(self, connection: socket):
        self._connection = connection
        self._lock = threading.Lock()
        self._program = Program()

    def run(self) -> None:
        """Until the other side goes."""
        with self._connection.makefile("rb") as lines:
            for line in lines:
                command = json.loads(line)
                threading.Thread(target=self._obey, args=(command,), daemon=True).start()

    def _obey(self, command: dict[str, Any]) -> None:
        number, what = command.pop("number"), command.pop("do")
        self._say({"number": number, "event": "started"})
        answer: dict[str, Any] = {"number": number}
        try:
            answer["value"] = getattr(self._program, what)(**command)
        except BaseException as error:
            answer["error"] = f"{type(error).__name__}: {error}"
        self._say(answer)

    def _say(self, message: dict[str, Any]) -> None:
        with self._lock, suppress(OSError):
            self._connection.sendall(json.dumps(message).encode() + b"\n")


def main(argv: Sequence[str]) -> None:
    """The nursery: forks a member for each line of its input; with the end of the input it ends all."""
    children: set[int] = set()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while line := os.read(0, 1 << 16):
        for request in line.splitlines():
            pid = os.fork()
            if pid == 0:
                _member(argv[0], json.loads(request))
            children.add(pid)
        _reap(children, wait=False)
    for pid in children:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    _reap(children, wait=True)


def _reap(children: set[int], wait: bool) -> None:
    for pid in list(children):
        with suppress(ChildProcessError):
            if os.waitpid(pid, 0 if wait else os.WNOHANG)[0]:
                children.discard(pid)


def _member(path: str, request: dict[str, Any]) -> None:
    """Lives as one member, and ends the process."""
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ.update(request["environ"])
        if not os.environ.get("FLOWMESH_CHAOS_OUTPUT"):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        connection = socket(AF_UNIX, SOCK_STREAM)
        connection.connect(path)
        connection.sendall(json.dumps({"pid": os.getpid()}).encode() + b"\n")
        Agent(connection).run()
        code = 0
    finally:
        os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
