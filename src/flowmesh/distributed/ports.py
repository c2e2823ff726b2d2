"""Ports for a local cluster, reserved so that nobody else takes them before the task listens.

A launcher must tell every task all addresses before any task listens, and a task listens only
after seconds of imports. A port from ``bind(("127.0.0.1", 0))`` is not safe for that long: it lies
in the range from which the kernel serves every outgoing connection and every other ``bind(…, 0)``.
Keeping the socket open would keep the task itself out, unless both set SO_REUSEPORT, which a
launcher cannot ask of any program. So, three things together:

* ports are taken from outside the kernel's automatic range, where only a program that names the
  number can be in the way, and those that are taken now are passed over;
* each port is held by a bound socket until just before its own task starts, so that two ports of
  one cluster, or a server starting meanwhile, cannot meet;
* for as long as the cluster lives, an abstract Unix socket named after the port tells other
  launchers on this machine to keep off. It ends with this process, even on SIGKILL, and leaves no
  file. (Linux only; elsewhere the random start makes a meeting unlikely.)
"""

from __future__ import annotations

import random
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

_RANGE_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST, _HIGHEST = 20_000, 65_535
_ENOUGH = 256  # a range with fewer ports than this is not worth starting in


class ReservedPort:
    """A port that is ours: `release` it just before its task starts, `close` it at the end."""

    def __init__(self, host: str, number: int) -> None:
        """Reserve port `number`; OSError when it, or its name, is taken."""
        self.host = host
        self._name = _claim(number)
        self._hold: socket.socket | None = None
        try:
            self._hold = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            self._hold.bind((host, number))
            self.number: int = self._hold.getsockname()[1]
        except OSError:
            self.close()
            raise

    @property
    def address(self) -> str:
        """The port with its host, as a cluster specification wants it."""
        return f"{self.host}:{self.number}"

    def release(self) -> None:
        """Let go of the port itself, for the task to listen on; it stays ours by name."""
        if self._hold is not None:
            self._hold.close()
            self._hold = None

    def close(self) -> None:
        """Give the port up altogether."""
        self.release()
        if self._name is not None:
            self._name.close()
            self._name = None


def reserve(host: str, count: int) -> list[ReservedPort]:
    """Reserve `count` different ports on `host`; OSError when there are not so many."""
    ports: list[ReservedPort] = []
    for number in _candidates():
        if len(ports) == count:
            return ports
        try:
            ports.append(ReservedPort(host, number))
        except OSError as error:
            reason = error
    if len(ports) == count:
        return ports
    for port in ports:
        port.close()
    raise OSError(f"found only {len(ports)} of {count} free ports on {host}: {reason}")


def _claim(number: int) -> socket.socket | None:
    if sys.platform != "linux" or number == 0:
        return None
    name = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        name.bind(f"\0flowmesh-port-{number}")
    except OSError:
        name.close()
        raise
    return name


def _candidates() -> Iterator[int]:
    """Port numbers to try: a range the kernel does not use by itself, from a random start."""
    low, high = _automatic_range()
    for numbers in (range(high + 1, _HIGHEST + 1), range(_LOWEST, low)):
        if len(numbers) >= _ENOUGH:
            start = random.SystemRandom().randrange(len(numbers))
            yield from numbers[start:]
            yield from numbers[:start]
    for _ in range(_ENOUGH):  # no such range, or it is full: what the kernel gives
        yield 0


def _automatic_range() -> tuple[int, int]:
    try:
        low, high = _RANGE_FILE.read_text().split()
        return int(low), int(high)
    except (OSError, ValueError):
        return _LOWEST, _HIGHEST
