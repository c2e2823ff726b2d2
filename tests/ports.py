"""Ports for the servers of a test, which nobody else takes before they listen.

A port from `bind(("127.0.0.1", 0))` that is let go again can be given to any outgoing connection of any process. So every
test process has a block of its own, outside the range from which the kernel gives ports away, and goes round in it.
"""

from __future__ import annotations

import itertools
import os
import socket
import threading

_LOWEST, _BLOCKS, _SIZE = 10_000, 50, 200  # below the ports that `flowmesh up` takes


def _own_block() -> tuple[socket.socket, int]:
    """A block of ports, ours for as long as the socket (a name without a file) is open."""
    for number in range(_BLOCKS):
        name = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            name.bind(f"\0flowmesh-tests-{(os.getpid() + number) % _BLOCKS}")
        except OSError:
            name.close()
            continue
        return name, _LOWEST + (os.getpid() + number) % _BLOCKS * _SIZE
    raise OSError("more test processes than blocks of ports")


_held, _first = _own_block()
_numbers = itertools.cycle(range(_first, _first + _SIZE))
_lock = threading.Lock()


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface on which nobody listens."""
    found: list[int] = []
    with _lock:
        for number in itertools.islice(_numbers, _SIZE):
            if len(found) == count:
                break
            with socket.socket() as trial:
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    trial.bind(("127.0.0.1", number))
                except OSError:
                    continue
            found.append(number)
    if len(found) < count:
        raise OSError(f"found only {len(found)} of {count} free ports from {_first} on")
    return found


def free_addresses(count: int) -> list[str]:
    """`localhost:port`, so many."""
    return [f"localhost:{port}" for port in free_ports(count)]
