"""`python -m benchmarks.cluster`: clusters of processes on Flowmesh and on TensorFlow 1.15.5 servers, side by side, as ratios.

python -m benchmarks.cluster                      all rows: 6 to 8 minutes on two idle cores
python -m benchmarks.cluster scalar mlp           some rows, which replace the same ones in RESULTS.md
python -m benchmarks.cluster --no-write           print only

Both sides stay alive and take turns (A B A B ...), so that a machine that slows down slows both. FLOWMESH_TF115 names a Python
that has TensorFlow 1.15; without it one is installed, and without that only Flowmesh is measured.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import peers
from benchmarks.cluster_results import Store
from benchmarks.processes import Process
from flowmesh.distributed.ports import reserve

ROUND_SECONDS = 0.5
IN_PROCESS = 1.2
"""As many times longer than without a server a constant may take through the server of the own process."""
WARM_SECONDS = 2.0
"""Programs are compiled after some steps."""
PEER = "tf115"
CHILD = str(Path(__file__).parent / "cluster_child.py")


@dataclass(frozen=True)
class Row:
    """A program, and the cluster that it runs on."""

    name: str
    title: str
    program: str
    unit: str = "us"
    """"us": of a step; "steps": a second, all workers together; "GB/s": 100 MB a step."""
    must: float = 0.0
    """The ratio, or with "GB/s" the rate, to reach."""
    ps: int = 1
    workers: int = 1
    client: bool = False
    """Whether the program is a client of the ps, rather than a worker."""
    environment: tuple[tuple[str, str], ...] = ()
    """For Flowmesh only."""

    def cells(self, seconds: Mapping[str, list[float]], sides: Iterable[str]) -> list[str]:
        """The figures of all sides, the ratio, and whether the row reaches what it must."""
        measured = Measured(self, dict(seconds))
        cells = [measured.figure(side) if seconds.get(side) else "failed" for side in sides]
        both = "flowmesh" in seconds and PEER in seconds
        return [*cells, f"{measured.ratio(PEER):.2f}" if both else "", measured.verdict(PEER)]


NO_SHARED = (("FLOWMESH_SHARED_MEMORY", "off"),)
TCP = (("FLOWMESH_DIRECT_PLANE", "tcp"),)

ROWS = [
    Row("scalar", "pull a scalar from the ps", "scalar", must=3),
    Row("linreg_1", "linear regression, 1 worker", "linear_regression", "steps", 4),
    Row("linreg_2", "linear regression, 2 workers", "linear_regression", "steps", 3, workers=2),
    Row("mlp", "MLP 784-300-10, batch 100, one ps", "mlp", "steps", 2.5),
    Row("embedding", "32 rows of 1M x 16: gather, sparse update", "embedding", must=2.5),
    Row("pull", "100 MB ps -> worker", "pull_100mb", "GB/s", 3),
    Row("push", "100 MB worker -> ps", "push_100mb", "GB/s", 3),
    Row("pull_socket", "100 MB ps -> worker, no shared memory", "pull_100mb", "GB/s", 2, environment=NO_SHARED),
    Row("push_socket", "100 MB worker -> ps, no shared memory", "push_100mb", "GB/s", 2, environment=NO_SHARED),
    Row("pull_tcp", "100 MB ps -> worker, TCP", "pull_100mb", "GB/s", environment=TCP),
    Row("fetch", "fetch 100 MB to a client process", "fetch_100mb", "GB/s", 2, client=True),
    *(Row(f"ps_{n}", f"scalar step, {n} ps", "null_step", ps=n) for n in (1, 2, 4, 8, 16)),
    *(Row(f"workers_{n}", f"scalar steps, {n} workers", "null_step", "steps", workers=n) for n in (2, 4, 8)),
]  # fmt: skip


@dataclass
class Measured:
    """The seconds of one step, by side and round; with several workers, of the cluster as a whole."""

    row: Row
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def figure(self, side: str) -> str:
        """The median in the row's unit."""
        value = statistics.median(self.seconds[side])
        if self.row.unit == "us":
            return f"{value * 1e6:,.0f} us"
        if self.row.unit == "steps":
            return f"{1 / value:,.0f} steps/s"
        return f"{0.1 / value:.2f} GB/s"

    def ratio(self, peer: str) -> float:
        """How many times faster than the peer: the median of the ratios of neighbouring rounds."""
        pairs = zip(self.seconds["flowmesh"], self.seconds[peer])
        return statistics.median(b / a for a, b in pairs)

    def verdict(self, peer: str) -> str:
        """Whether the row reaches what it must."""
        row = self.row
        if not row.must or "flowmesh" not in self.seconds:
            return ""
        if row.unit == "GB/s":
            reached = 0.1 / statistics.median(self.seconds["flowmesh"])
            return f"{'yes' if reached >= row.must else 'NO'} (>= {row.must:g} GB/s)"
        if peer not in self.seconds:
            return ""
        return f"{'yes' if self.ratio(peer) >= row.must else 'NO'} (>= {row.must:g}x)"


class Cluster:
    """One side's processes for one row."""

    def __init__(self, side: peers.Side, row: Row) -> None:
        self.ports = reserve("127.0.0.1", row.ps + row.workers)
        hosts = [f"localhost:{port.number}" for port in self.ports]
        spec = {"ps": hosts[: row.ps], "worker": hosts[row.ps :]}
        if row.client:
            del spec["worker"]
        environment = dict(row.environment) if side.name == "flowmesh" else {}
        command = (*side.command[:-1], CHILD)
        text = json.dumps(spec)

        def start(*words: str) -> Process:
            return Process([*command, *words], environment)

        self.servers: list[Process] = []
        self.programs: list[Process] = []
        try:
            for i in range(row.ps):
                self.ports[i].release()
                self.servers.append(start("serve", text, "ps", str(i)))
            for server in self.servers:
                server.ready()
            kind = ("client", text, "ps") if row.client else ("work", text, "worker")
            for i in range(row.workers):
                self.ports[row.ps + i].release()
                self.programs.append(start(*kind, str(i), row.program))
            for program in self.programs:
                program.ready()
            end = time.monotonic() + WARM_SECONDS
            once = self._once(3)
            while time.monotonic() < end:
                once = min(once, self._once(3))
            self.steps = max(1, int(ROUND_SECONDS / once))
        except BaseException:
            self.close()
            raise

    def _once(self, steps: int) -> float:
        for program in self.programs:
            program.tell(steps)
        rate = sum(steps / max(program.answer(), 1e-7) for program in self.programs)
        return len(self.programs) / rate

    def round(self) -> float:
        """Seconds of one step; with several workers at a time, the inverse of their rates together."""
        return self._once(self.steps) / len(self.programs)

    def close(self) -> None:
        """Ends all processes."""
        for process in [*self.programs, *self.servers]:
            process.close()
        for port in self.ports:
            port.close()


def measure(row: Row, sides: list[peers.Side], rounds: int) -> Measured:
    """Runs a row on all sides; one that fails is named and left out."""
    measured = Measured(row)
    running: list[tuple[str, Cluster]] = []
    try:
        for side in sides:
            try:
                running.append((side.name, Cluster(side, row)))
            except RuntimeError as error:
                print(f"{row.name} on {side.title}: {error}")
        for _ in range(rounds):
            for name, cluster in running:
                measured.seconds.setdefault(name, []).append(cluster.round())
    finally:
        for _, cluster in running:
            cluster.close()
    return measured


@contextmanager
def own_port() -> Iterator[str]:
    """The address of a task that is about to start; nobody else takes it meanwhile."""
    (port,) = reserve("127.0.0.1", 1)
    port.release()
    try:
        yield f"localhost:{port.number}"
    finally:
        port.close()


@contextmanager
def one_task(side: peers.Side, role: str, program: str, cluster: bool = True) -> Iterator[Process]:
    """A process by itself: a program on its own server, or without a cluster."""
    with own_port() as address:
        spec = {"ps": [address]} if cluster else {}
        process = Process([*side.command[:-1], CHILD, role, json.dumps(spec), "ps", "0", program])
        try:
            process.ready()
            yield process
        finally:
            process.close()


def in_process(side: peers.Side, rounds: int) -> list[tuple[float, float]]:
    """Seconds to fetch a constant through the own server, and without one."""
    found = []
    with (
        one_task(side, "work", "constant") as server,
        one_task(side, "client", "constant", cluster=False) as alone,
    ):
        for _ in range(rounds):
            times = []
            for process in (server, alone):
                process.tell(1000)
                steps = max(1000, int(1000 * ROUND_SECONDS / max(process.answer(), 1e-5)))
                process.tell(steps)
                times.append(process.answer() / steps)
            found.append((times[0], times[1]))
    return found


def idle(side: peers.Side, seconds: float = 5.0) -> float:
    """The part of a CPU that an idle server uses."""
    with own_port() as address:
        spec = {"ps": [address]}
        server = Process([*side.command[:-1], CHILD, "serve", json.dumps(spec), "ps", "0"])
        try:
            server.ready()
            time.sleep(1.0)
            before = server.cpu_seconds()
            time.sleep(seconds)
            return (server.cpu_seconds() - before) / seconds
        finally:
            server.close()


def memory(side: peers.Side, steps: int = 20_000) -> list[tuple[int, int]]:
    """Resident memory of ps and worker, in KiB, after half of the steps and after all of them."""
    cluster = Cluster(side, next(row for row in ROWS if row.name == "linreg_1"))
    try:
        found = []
        for _ in range(2):
            cluster.programs[0].tell(steps // 2)
            cluster.programs[0].answer(600)
            found.append((cluster.servers[0].memory(), cluster.programs[0].memory()))
        return found
    finally:
        cluster.close()


def extras(sides: list[peers.Side], rounds: int) -> Iterator[tuple[str, str]]:
    """The figures that are no rates: a name, and words."""
    for side in sides:
        times = in_process(side, rounds)
        own, alone = (statistics.median(t[i] for t in times) for i in (0, 1))
        ratio = statistics.median(a / b for a, b in times)
        must = f" (must be at most {IN_PROCESS:g}x)" if side.name == "flowmesh" else ""
        yield (
            f"in_process {side.name}",
            f"{side.title}: a constant through the server in the own process {own * 1e6:.1f} us, without a server "
            f"{alone * 1e6:.1f} us: {ratio:.2f}x{must}.",
        )
        yield f"idle {side.name}", f"{side.title}: an idle server uses {idle(side):.2%} of a CPU."
    half, full = memory(sides[0])
    yield (
        "memory flowmesh",
        f"{sides[0].title}, linear regression: resident memory after 10,000 and 20,000 steps: ps {half[0]:,} and "
        f"{full[0]:,} KiB, worker {half[1]:,} and {full[1]:,} KiB.",
    )


def run_row(row: Row, sides: list[peers.Side], rounds: int, store: Store) -> None:
    """Measures a row, and prints and notes what it gave."""
    load = os.getloadavg()[0]
    try:
        measured = measure(row, sides, rounds)
    except (subprocess.SubprocessError, OSError, RuntimeError) as error:
        print(f"{row.name}: {error}", flush=True)
        return
    store.keep_row(row.name, measured.seconds, datetime.date.today().isoformat(), load)
    figures = "  ".join(f"{s} {measured.figure(s)}" for s in measured.seconds)
    ratios = [f"{measured.ratio(s):.2f}x" for s in measured.seconds if s != "flowmesh"]
    print(f"{row.title}: {figures} {' '.join(ratios)} {measured.verdict(PEER)}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cluster", description=__doc__.splitlines()[0]
    )
    names = [row.name for row in ROWS]
    parser.add_argument("rows", nargs="*", help=f"all by default: {', '.join(names)}, extras")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--alone", action="store_true", help="do not measure TensorFlow")
    parser.add_argument("--no-write", action="store_true", help="do not write RESULTS.md")
    args = parser.parse_args()
    unknown = sorted(set(args.rows) - set(names) - {"extras"})
    if unknown:
        parser.error(f"no such row: {', '.join(unknown)}; there are {', '.join(names)}, extras")
    sides = [peers.flowmesh()]
    if not args.alone and (peer := peers.set_up(PEER)) is not None:
        sides.append(peer)
    report = Path(__file__).parent / "RESULTS.md"
    store = Store(report)

    def write() -> None:
        if not args.no_write:
            store.write(ROWS)

    for row in ROWS:
        if not args.rows or row.name in args.rows:
            run_row(row, sides, args.rounds, store)
            write()  # what comes after may be cut off
    if not args.rows or "extras" in args.rows:
        for name, text in extras(sides, args.rounds):
            print(text, flush=True)
            store.keep_fact(name, text)
            write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
