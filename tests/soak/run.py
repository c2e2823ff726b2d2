"""Feeds the queue, kills workers at random, starts them again, and checks that no record is lost or applied twice.

A record is *in flight* from the moment a worker took it from the queue until its gradient is applied. When that worker is killed the
record may be gone; it is then the only one of that process, it is known whose it was, and it is fed again. A record that is missing
without a killed process to account for it is lost; one that was applied twice is doubled. Both must be none.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import flowmesh as tf
from flowmesh.cli.launcher import LocalCluster
from flowmesh.cli.task import Task
from tests.soak.model import Model, truth

PATIENCE = 60.0
"""Seconds within which a record that a living worker took is applied, however loaded the machine is."""
CAUSE = 5.0
"""Seconds in which the end of a worker is known after the cluster has ended."""
_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024


@dataclass
class Options:
    """How long and how hard. `epochs` ends the soak when so many are done, whatever the time."""

    seconds: float = 1800.0
    epochs: int | None = None
    workers: int = 3
    records: int = 600
    rate: float = 40.0
    kill_every: float = 25.0
    seed: int = 0


@dataclass
class Report:
    """What happened."""

    epochs: int = 0
    records: int = 0
    applied: int = 0
    redelivered: int = 0
    kills: int = 0
    lost: int = 0
    doubled: int = 0
    failures: list[str] = field(default_factory=list)
    recoveries: list[str] = field(default_factory=list)
    """What workers said when they made a new session because a task was lost."""
    error: float = 0.0
    memory: dict[str, list[int]] = field(default_factory=dict)
    """Resident KiB at the end of each epoch, of the ps and of this process, which live all the time."""

    def growth(self, name: str) -> float:
        """How many KiB a task grew from the first quarter's end to the end, by medians of a few epochs."""
        values = self.memory[name]
        start = max(1, len(values) // 4)
        window = max(1, len(values) // 10)
        return float(np.median(values[-window:]) - np.median(values[start : start + window]))


def resident_kib(pid: int) -> int:
    """The resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_KIB


class Soak:
    """One run of it."""

    def __init__(self, options: Options, folder: Path, say: Callable[[str], None] = print) -> None:
        self.options = options
        self.report = Report()
        self._say = say
        self._random = random.Random(options.seed)
        self._changed = threading.Condition()
        self._training: set[int] = set()
        self._killed: dict[int, int] = {}
        """The processes that were killed, and the number of records that each may have had in flight: one."""
        self._ending = False
        self._showing = False
        command = [sys.executable, "-m", "tests.soak.worker", f"--records={options.records}"]
        self._cluster = LocalCluster(
            [*command, f"--folder={folder}"],
            ps=1,
            workers=options.workers,
            cwd=str(Path(__file__).parents[2]),
            on_output=self._heard,
            on_exit=self._ended,
        )

    # -- what the cluster tells ------------------------------------------------------------------------------

    def _heard(self, task: Task, line: str) -> None:
        with self._changed:
            if self._showing:
                self._say(f"{task.name} | {line}")
            if line in ("@training", "@serving") and task.pid is not None:
                self._training.add(task.pid)
            elif " lost while " in line:
                self.report.recoveries.append(f"{task.name} {task.pid}: {line}")
                self._say(self.report.recoveries[-1])
            self._changed.notify_all()

    def _ended(self, task: Task) -> None:
        with self._changed:
            if task.pid in self._killed:
                if not self._ending:
                    self._cluster.restart(task)
            elif task.job == "worker" and not self._ending:
                self.report.failures.append(
                    f"{task.name} {task.describe_end()}: {' | '.join(task.last_lines)}"
                )
            self._changed.notify_all()

    def _wait(self, ready: Callable[[], bool], what: str) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: ready() or self.report.failures, PATIENCE):
                raise TimeoutError(f"the soak waited {PATIENCE:.0f} s for {what}")
            if self.report.failures:
                raise RuntimeError("; ".join(self.report.failures))

    # -- the run -----------------------------------------------------------------------------------------------

    def run(self) -> Report:
        """Runs it; raises when a worker fails of itself or a record does not come in time."""
        with self._cluster as cluster, tf.Graph().as_default():
            model = Model(self.options.records)
            ps = cluster.task("ps", 0)
            self._wait(lambda: ps.pid in self._training, "the ps")
            workers = [t for t in cluster.tasks if t.job == "worker"]
            self._wait(lambda: all(t.pid in self._training for t in workers), "the workers")
            with tf.Session(f"grpc://{ps.address}") as session:
                started = time.monotonic()
                next_kill = started + self._pause()
                while not self._over(started):
                    try:
                        next_kill = self._epoch(session, model, next_kill)
                    except tf.errors.OpError as error:
                        raise self._cause(error) from error
                    self._measure(ps)
                    self._tell(started)
                values = session.run(model.weights)
                self.report.error = float(np.abs(values - truth()).max())
                with self._changed:
                    self._ending = True
                session.run(model.close)
            code = cluster.wait(PATIENCE)
            if code and not self._killed:
                self.report.failures.append(f"the cluster ended with code {code}")
        return self.report

    def _cause(self, error: Exception) -> Exception:
        """A worker that fails of itself ends the cluster, the ps with it: what it said is more than what the client sees."""
        with self._changed:
            self._changed.wait_for(lambda: self.report.failures, CAUSE)
            return RuntimeError("; ".join(self.report.failures)) if self.report.failures else error

    def _over(self, started: float) -> bool:
        if self.options.epochs is not None and self.report.epochs >= self.options.epochs:
            return True
        return time.monotonic() - started >= self.options.seconds

    def _pause(self) -> float:
        return self._random.uniform(0.5, 1.5) * self.options.kill_every

    def _epoch(self, session: Any, model: Model, next_kill: float) -> float:
        """Feeds all records once, killing on the way, and accounts for each; returns when the next kill is due."""
        options, number = self.options, self.report.epochs
        session.run(model.forget)
        before = len(self._killed)
        ids = np.arange(options.records, dtype=np.int32)
        batch = max(1, round(options.rate / 2))
        for start in range(0, options.records, batch):
            began = time.monotonic()
            session.run(model.enqueue, model.feed(ids[start : start + batch], number))
            if began >= next_kill:
                self._kill()
                next_kill = began + self._pause()
            time.sleep(max(0.0, began + batch / options.rate - time.monotonic()))
        self._account(session, model, number, len(self._killed) - before)
        return next_kill

    def _kill(self) -> None:
        """SIGKILL to a worker that trains; it is started again as soon as it has ended."""
        with self._changed:
            alive = [
                t
                for t in self._cluster.tasks
                if t.job == "worker" and t.returncode is None and t.pid in self._training
            ]
            if not alive:
                return
            victim = self._random.choice(alive)
            assert victim.pid is not None
            self._killed[victim.pid] = 1
            self._training.discard(victim.pid)
            self.report.kills += 1
        os.kill(victim.pid, signal.SIGKILL)

    def _account(self, session: Any, model: Model, number: int, kills: int) -> None:
        """Waits until every record was applied or is gone with a killed worker; feeds those again, and waits for them."""
        report = self.report
        gone = self._missing(session, model, allowed=kills)
        if len(gone):
            session.run(model.enqueue, model.feed(gone, number))
            left = self._missing(session, model, allowed=0)
            report.lost += len(left)
        seen = session.run(model.seen)
        report.redelivered += len(gone)
        report.records += len(seen)
        report.applied += int(seen.sum())
        report.doubled += int((seen > 1).sum())
        report.lost += int((seen == 0).sum())
        report.epochs += 1

    def _missing(self, session: Any, model: Model, allowed: int) -> np.ndarray:
        """The records that are gone with killed workers; any other missing record raises after a while."""
        deadline = time.monotonic() + PATIENCE
        quiet = 0
        while True:
            size, seen, owner = session.run([model.size, model.seen, model.owner])
            missing = np.flatnonzero(seen == 0).astype(np.int32)
            if not len(missing):
                return missing
            by_dead = [int(o) in self._killed or not o for o in owner[missing]]
            # Twice in a row: what the last step of a killed worker still does on the ps has been done by then.
            quiet = quiet + 1 if not size and all(by_dead) and len(missing) <= allowed else 0
            if quiet == 5:
                return missing
            if self.report.failures:
                raise RuntimeError("; ".join(self.report.failures))
            if time.monotonic() > deadline:
                self.report.lost += len(missing)
                self._show_stacks(owner[missing].tolist())
                raise RuntimeError(
                    f"{len(missing)} records are lost: {missing.tolist()}, taken by {owner[missing].tolist()}; {size} are "
                    f"in the queue; killed: {sorted(self._killed)}"
                )
            time.sleep(0.2)

    def _show_stacks(self, owners: list[int]) -> None:
        """Has the ps and the living owners of missing records print what their threads do, and says it."""
        asked = [t for t in self._cluster.tasks if t.job == "ps" or t.pid in owners]
        with self._changed:
            self._showing = True
        for task in asked:
            if task.pid is not None and task.returncode is None:
                os.kill(task.pid, signal.SIGUSR1)
        time.sleep(2.0)

    # -- what is told --------------------------------------------------------------------------------------------

    def _measure(self, ps: Task) -> None:
        assert ps.pid is not None
        for name, pid in (("ps", ps.pid), ("client", os.getpid())):
            self.report.memory.setdefault(name, []).append(resident_kib(pid))

    def _tell(self, started: float) -> None:
        r = self.report
        self._say(
            f"{time.monotonic() - started:6.0f} s  epoch {r.epochs}  records {r.records}  kills {r.kills}  fed again "
            f"{r.redelivered}  lost {r.lost}  doubled {r.doubled}  ps {r.memory['ps'][-1]:,} KiB  client "
            f"{r.memory['client'][-1]:,} KiB"
        )
