"""A small cluster to break: a ps, a chief, a worker and a client, each a process, over links of a `Network`."""

from __future__ import annotations

import signal
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from flowmesh.cli.chaos.cells import NETWORK, Cell, link_fault
from flowmesh.cli.chaos.network import DETOURS, Network
from flowmesh.cli.chaos.nursery import Member, Nursery
from flowmesh.distributed.ports import reserve

TASKS = {"ps": ("ps", 0), "chief": ("worker", 0), "worker": ("worker", 1)}
PATIENCE = {
    "connect_timeout_in_ms": 3000,
    "heartbeat_interval_in_ms": 400,
    "heartbeat_timeout_in_ms": 2000,
}
"""What the members are told: faults are noticed sooner than by default."""
_PROGRAMS = {"async": ("chief", "worker", "client"), "in-graph": ("client",)}
_GREETING = b"HTTP/1.1 400 Bad Request\r\n\r\n"


def device(member: str) -> str:
    """The task of a member, as graphs name it."""
    job, index = TASKS[member]
    return f"/job:{job}/task:{index}"


class Thief:
    """Something else that listens on a port: it says that it is no Flowmesh server."""

    def __init__(self, port: int):
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", port))
        self._listener.listen(16)
        self._thread = threading.Thread(target=self._run, name="chaos-thief", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection:
                    connection.settimeout(1.0)
                    with suppress(OSError):
                        connection.recv(4096)
                        connection.sendall(_GREETING)

    def close(self) -> None:
        """Frees the port."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


class ChaosCluster:
    """The members of one cell. Also a context manager that ends them."""

    def __init__(self, cell: Cell, nursery: Nursery, folder: Path):
        self.cell = cell
        self.folder = folder
        self.network = Network()
        self.members: dict[str, Member] = {}
        self.programs = _PROGRAMS[cell.mode]
        self.saver = self.programs[0]
        """The program that initializes and saves."""
        self._nursery = nursery
        self._thief: Thief | None = None
        self._dead: list[Member] = []
        self._reserved = dict(zip(TASKS, reserve("127.0.0.1", len(TASKS))))
        self.ports = {name: port.number for name, port in self._reserved.items()}
        names = [*TASKS, "client"]
        self._links = {
            (viewer, target): self.network.connect(viewer, target, ("127.0.0.1", port))
            for viewer in names
            for target, port in self.ports.items()
            if viewer != target
        }
        self._environ = {}
        if cell.fault in NETWORK:
            # The direct plane agrees on sockets of its own: they have to lead over the links, too.
            self._environ["FLOWMESH_DIRECT_PLANE"] = "off" if "grpc" in cell.fault else "tcp"
            self._environ[DETOURS] = self.network.detours()

    # -- life ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts all members, and the servers among them."""
        names = [*TASKS, *(["client"] if "client" in self.programs else [])]
        for name in names:
            self.members[name] = self._nursery.member(name, self._environ)
        answers = [self._serve(name) for name in TASKS]
        for answer in answers:
            answer.result()

    def _serve(self, name: str) -> Any:
        job, index = TASKS[name]
        self._reserved[name].release()
        spec = {"ps": [self.address(name, "ps")]}
        spec["worker"] = [self.address(name, "chief"), self.address(name, "worker")]
        return self.members[name].ask("serve", cluster=spec, job=job, index=index, config=PATIENCE)

    def address(self, viewer: str, target: str) -> str:
        """Where a member sees another."""
        port = self.ports[target] if viewer == target else self._links[viewer, target]
        return f"127.0.0.1:{port}"

    def restart(self, name: str) -> None:
        """Starts a member that has ended once more."""
        self._dead.append(self.members[name])
        self.members[name] = self._nursery.member(name, self._environ)
        if name in TASKS:
            self._serve(name).result()

    def close(self) -> None:
        """Ends everything."""
        if self._thief is not None:
            self._thief.close()
        self._nursery.kill([*self._dead, *self.members.values()])
        self.network.close()
        for port in self._reserved.values():
            port.close()

    def __enter__(self) -> ChaosCluster:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- programs ------------------------------------------------------------------------------------------

    def open(self, program: str, other: bool = False) -> Any:
        """Has a program make its session."""
        if self.cell.mode == "in-graph":
            tasks, filters = [device("chief"), device("worker")], []
        else:
            tasks = [device("worker" if program == "worker" else "chief")]
            filters = ["/job:ps", *tasks]
        return self.members[program].ask(
            "open",
            target=self.target(program),
            tasks=tasks,
            filters=filters,
            config=PATIENCE,
            other=other,
        )

    def target(self, program: str) -> str:
        """The master of a program."""
        return f"grpc://{self.address('client', 'chief')}" if program == "client" else "own"

    def needs(self, program: str, what: str) -> set[str]:
        """The members that a command of a program needs."""
        needed = {program}
        if program == "client":
            needed.add("chief")
        if self.cell.mode == "in-graph":
            needed.add("worker")
        if what != "wait":
            needed.add("ps")
        if what in ("open", "close"):
            needed.update(() if self.cell.mode == "async" else TASKS)
        return needed

    def names_of(self, member: str) -> list[str]:
        """What an error may call a member."""
        if member == "client":
            return ["client", "caller", "chaos"]
        job, index = TASKS[member]
        names = [f"/job:{job}/replica:0/task:{index}", f"localhost:{self.ports[member]}"]
        names.append(f"127.0.0.1:{self.ports[member]}")
        names += [f"127.0.0.1:{p}" for (_, target), p in self._links.items() if target == member]
        return names

    # -- faults --------------------------------------------------------------------------------------------

    def arm(self) -> threading.Event | None:
        """Prepares a fault of the links, which the first byte sets off; None for other faults."""
        if self.cell.fault in NETWORK:
            return self.network.arm(self.cell.role, link_fault(self.cell.fault))
        return None

    def strike(self) -> None:
        """A fault of the process, now."""
        role, fault = self.cell.role, self.cell.fault
        victim = self.members[role]
        if fault == "stop":
            victim.stop()
            return
        victim.signal(signal.SIGKILL)
        victim.ended.wait(10)
        if fault == "stolen":
            self._thief = Thief(self.ports[role])
        elif fault.startswith("restart"):
            self.restart(role)
            if fault == "restart-other" and role in TASKS:
                self._live_otherwise(role)

    def _live_otherwise(self, role: str) -> None:
        """The member that came back gets variables of another graph."""
        stranger = self._nursery.member("stranger", self._environ)
        self._dead.append(stranger)
        stranger.ask(
            "open",
            target=f"grpc://{self.address('client', role)}",
            tasks=[],
            filters=["/job:ps", device(role)],
            config=PATIENCE,
            other=True,
        ).result()
        with suppress(RuntimeError):  # the variables of a live ps are those of the old graph
            stranger.ask("prepare").result()
        stranger.ask("close").result()

    def heal(self) -> None:
        """Undoes the fault; a member that has ended is started again."""
        role, fault = self.cell.role, self.cell.fault
        self.network.set(role, "")
        if fault == "stop":
            self.members[role].signal(signal.SIGCONT)
        if self._thief is not None:
            self._thief.close()
            self._thief = None
        if fault in ("kill", "stolen"):
            self.restart(role)
