"""A network that can be broken: TCP proxies between the members of a cluster, all in one event loop.

Every pair of members talks over a proxy of its own, so that the network of one member can fail in both directions while the
others' stays whole. Faults are exact: they can be set off by the first bytes that pass after `arm`. A second port of each proxy takes
connections to any port of the target, which the first two bytes name: `detour` has a process's direct plane go there.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any

from flowmesh.distributed.transport.direct.plane import DirectOptions

_CHUNK = 1 << 16
_SLOW_SECONDS = 0.02
_SLOW_RATE = 2 << 20
"""A link that is 100 times slower than loopback: 20 ms for each chunk, 2 MB/s."""
DETOURS = "FLOWMESH_CHAOS_DETOURS"
"""The environment variable with the second port of each proxy, by the first."""
_PORT = struct.Struct("!H")
_LINGER_RESET = struct.pack("ii", 1, 0)


class Link:
    """What one member uses to reach another: listens, and forwards to the other's address."""

    def __init__(self, viewer: str, target: str, address: tuple[str, int]):
        self.viewer = viewer
        self.target = target
        self.address = address
        self.mode = ""
        self.detoured = 0
        """Connections of the direct plane so far."""
        self.armed: tuple[str, Callable[[], None]] | None = None
        self.server: Any = None
        self.detour: Any = None
        self.writers: set[Any] = set()
        self.tasks: set[Any] = set()
        self.healed = asyncio.Event()

    @property
    def port(self) -> int:
        """Where the viewer connects to."""
        return int(self.server.sockets[0].getsockname()[1])

    async def listen(self) -> None:
        """Opens both ports."""
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.detour = await asyncio.start_server(self.serve_detour, "127.0.0.1", 0)

    async def serve_detour(self, reader: Any, writer: Any) -> None:
        """Forwards a connection to the port that it names first."""
        try:
            (port,) = _PORT.unpack(await reader.readexactly(_PORT.size))
        except (OSError, asyncio.IncompleteReadError):
            _reset(writer)
            return
        self.detoured += 1
        await self.serve(reader, writer, port)

    async def serve(self, reader: Any, writer: Any, port: int = 0) -> None:
        """Forwards one connection both ways until it ends."""
        task = asyncio.current_task()
        self.tasks.add(task)
        self.writers.add(writer)
        upstream = None
        try:
            while self.mode == "hole":
                await self.healed.wait()
            host, usual = self.address
            upstream_reader, upstream = await asyncio.open_connection(host, port or usual)
            self.writers.add(upstream)
            pumps = [
                asyncio.ensure_future(self._pump(reader, upstream)),
                asyncio.ensure_future(self._pump(upstream_reader, writer)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for each in (writer, upstream):
                if each is not None:
                    self.writers.discard(each)
                    _reset(each)
            self.tasks.discard(task)

    async def _pump(self, reader: Any, writer: Any) -> None:
        while data := await reader.read(_CHUNK):
            armed, self.armed = self.armed, None
            if armed is not None:
                self.set(armed[0])
                armed[1]()
            while self.mode == "hole":
                await self.healed.wait()
            if self.mode == "slow":
                await asyncio.sleep(_SLOW_SECONDS + len(data) / _SLOW_RATE)
            writer.write(data)
            await writer.drain()

    def set(self, mode: str) -> None:
        """Breaks the link: "reset" ends its connections, "hole" swallows all, "slow"; "" mends it."""
        if mode == "reset":
            for writer in list(self.writers):
                _reset(writer)
            return
        self.mode = mode
        if mode == "hole":
            self.healed.clear()
        else:
            self.healed.set()


def _reset(writer: Any) -> None:
    sock = writer.get_extra_info("socket")
    with suppress(OSError, AttributeError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
    writer.transport.abort()


class Network:
    """The links of a cluster's members. Methods may be called from any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._links: list[Link] = []
        self._thread = threading.Thread(target=self._run, name="chaos-network", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def connect(self, viewer: str, target: str, address: tuple[str, int]) -> int:
        """Makes the link from `viewer` to `target`, which listens at `address`; the port for the viewer."""
        return int(self._do(self._connect(viewer, target, address)))

    async def _connect(self, viewer: str, target: str, address: tuple[str, int]) -> int:
        link = Link(viewer, target, address)
        await link.listen()
        self._links.append(link)
        return link.port

    def detours(self) -> str:
        """What a member's `DETOURS` has to be."""
        ports = {link.port: link.detour.sockets[0].getsockname()[1] for link in self._links}
        return json.dumps(ports)

    def detoured(self, member: str) -> int:
        """How many connections of the direct plane have led over the links of a member."""
        return sum(link.detoured for link in self._links if member in (link.viewer, link.target))

    def set(self, member: str, mode: str) -> None:
        """Breaks or mends every link of a member."""
        self._do(self._set(member, mode))

    async def _set(self, member: str, mode: str) -> None:
        for link in self._links:
            if member in (link.viewer, link.target):
                link.set(mode)

    def arm(self, member: str, mode: str) -> threading.Event:
        """Breaks every link of a member as soon as a byte passes on one of them; the event tells that it has happened."""
        happened = threading.Event()
        self._do(self._arm(member, mode, happened))
        return happened

    async def _arm(self, member: str, mode: str, happened: threading.Event) -> None:
        links = [link for link in self._links if member in (link.viewer, link.target)]

        def all_of_them() -> None:
            for link in links:
                link.armed = None
                link.set(mode)
            happened.set()

        for link in links:
            link.armed = (mode, all_of_them)

    def close(self) -> None:
        """Ends all connections and listeners."""
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _close(self) -> None:
        tasks = [task for link in self._links for task in link.tasks]
        for link in self._links:
            link.server.close()
            link.detour.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def detour() -> DirectOptions:
    """Options of a direct plane that goes over the proxies which `DETOURS` names, if it names any."""
    usual = DirectOptions.from_environment()
    ports = {int(k): int(v) for k, v in json.loads(os.environ.get(DETOURS, "{}")).items()}
    if not ports:
        return usual

    def dial(address: str, port: int, seconds: float) -> socket.socket:
        host, _, listed = address.rpartition(":")
        connection = socket.create_connection((host, ports[int(listed)]), seconds)
        connection.sendall(_PORT.pack(port))
        return connection

    return replace(usual, dial=dial)
