"""Waiting for a signal without ever missing one.

``threading.Event().wait()`` in the main thread is not enough. The kernel hands a signal to any thread
of the process; when two come at once, another thread can take both, and the main thread sleeps on,
its Python handlers unrun. A wake-up descriptor is written by whichever thread takes the signal.
"""

from __future__ import annotations

import signal
import socket
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Self


class SignalWait:
    """Within ``with``, the given signals do nothing but end `wait`; main thread only.

    A signal that this process was started to ignore, as nohup does, stays ignored.
    """

    def __init__(self, *numbers: signal.Signals) -> None:
        self._numbers = numbers

    def __enter__(self) -> Self:
        self._read, self._write = socket.socketpair()
        self._write.setblocking(False)
        self._fd_before = signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        self._before: dict[signal.Signals, Any] = {
            number: signal.signal(number, _nothing)
            for number in self._numbers
            if signal.getsignal(number) != signal.SIG_IGN
        }
        return self

    def wait(self) -> int:
        """Wait for the next signal, or for `wake`: the signal's number, or 0."""
        while True:
            number = self._read.recv(1)[0]
            if number == 0 or number in self._numbers:
                return number

    def wake(self) -> None:
        """End `wait` from another thread."""
        with suppress(OSError):  # full: it will wake anyway; closed: nobody waits any more
            self._write.send(b"\0")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._fd_before)
        self._read.close()
        self._write.close()


def _nothing(number: int, frame: FrameType | None) -> None:
    """A signal handler; a signal without one would end the process."""
