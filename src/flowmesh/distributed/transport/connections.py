"""Whether the connection that a gRPC call came over is still there.

gRPC does not tell a server of connections that end while no call is under way on them. The kernel knows: it is asked (Linux). A caller whose
machine is gone without a word stays connected as long as the kernel believes so.
"""

from __future__ import annotations

import ipaddress
import sys
import threading
import time
from collections.abc import Iterable
from urllib.parse import unquote

_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
_ESTABLISHED = "01"
_FRESH = 1.0
"""Seconds for which what the kernel said is used again."""

_Address = tuple[bytes, int]


class GrpcCaller:
    """The other end of a call's connection, by the address that gRPC gives it."""

    __slots__ = ("_peer",)
    tells = False

    def __init__(self, peer: str) -> None:
        """`peer` is such as "ipv4:10.0.0.1:4711"."""
        self._peer = peer

    @property
    def gone(self) -> bool:
        """See `Caller`."""
        address = address_of(self._peer)
        if address is None:
            return False
        found = _kernel.connected()
        return found is not None and address not in found


def address_of(peer: str) -> _Address | None:
    """The address and port in what gRPC calls a peer; None for what has none."""
    kind, _, rest = peer.partition(":")
    host, _, port = unquote(rest).rpartition(":")
    if kind not in ("ipv4", "ipv6") or not port.isdigit():
        return None
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None
    return _plain(address.packed), int(port)


def connected_in(lines: Iterable[str]) -> set[_Address]:
    """The other ends of the connections in one of the kernel's tables."""
    found = set()
    for line in lines:
        fields = line.split()
        if len(fields) > 3 and fields[3] == _ESTABLISHED:
            host, _, port = fields[2].partition(":")
            words = [int(host[i : i + 8], 16) for i in range(0, len(host), 8)]
            packed = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
            found.add((_plain(packed), int(port, 16)))
    return found


def _plain(packed: bytes) -> bytes:
    """The same for an IPv4 address in the form of an IPv6 one."""
    return packed[12:] if len(packed) == 16 and packed[:12] == bytes(10) + b"\xff\xff" else packed


class _Kernel:
    """What the kernel said last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at = 0.0
        self._found: set[_Address] | None = None

    def connected(self) -> set[_Address] | None:
        """The other ends of all connections; None where the kernel does not say."""
        with self._lock:
            if self._found is None or time.monotonic() > self._at + _FRESH:
                self._found = self._read()
                self._at = time.monotonic()
            return self._found

    @staticmethod
    def _read() -> set[_Address] | None:
        found: set[_Address] = set()
        try:
            with open(_TABLES[0]) as table:
                found |= connected_in(table)
        except OSError:
            return None
        try:
            with open(_TABLES[1]) as table:
                found |= connected_in(table)
        except OSError:  # a kernel without IPv6
            pass
        return found


_kernel = _Kernel()
