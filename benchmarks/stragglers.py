"""`python -m benchmarks.stragglers`: backup workers against stragglers, in the setting of the OSDI'16 paper.

50 gradients make a step. Without backup workers a step is as slow as the slowest of 50 workers; with b of them it is over when 50 of
50 + b gradients have come, and the late ones are dropped. The training is real (`SyncReplicasOptimizer`: accumulators, tokens, a chief); only
the time that a worker computes is simulated: it sleeps, for a time drawn from a seeded log-normal distribution. How much backup workers
can gain follows from its sigma: at 0.3, the 50th of 54 draws is on average 0.77 of the largest of 50, as in the paper. A worker is a
thread with a session of its own, and all of them use the two servers of one process.

python -m benchmarks.stragglers                   all numbers of backup workers; writes the section of RESULTS.md
python -m benchmarks.stragglers --no-write --backups 0 4
"""

from __future__ import annotations

import argparse
import datetime
import platform
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import flowmesh as tf
from benchmarks import results
from flowmesh.distributed.ports import reserve
from flowmesh.resources.accumulators import Accumulator

PUBLISHED = "Published (OSDI'16, Inception v3 on real machines): 50 workers 2.5 s, with 4 backup workers 1.93 s, 0.77x."
Pause = Callable[[int, int], object]
"""`pause(replica, number)` lasts as long as the replica computes its gradient of that number, from 0."""


@dataclass
class Outcome:
    """One training: how long each step took, how many gradients were given, and how many of them dropped as too late."""

    seconds: list[float] = field(default_factory=list)
    given: int = 0
    dropped: int = 0
    value: float = 0.0

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)


class Replica:
    """One worker: a graph and a session of its own, whose gradient is 1."""

    def __init__(
        self, target: str, index: int, aggregate: int, total: int, policy: str | None
    ) -> None:
        graph = tf.Graph()
        with graph.as_default():
            with tf.device("/job:ps/task:0"):
                step = tf.train.get_or_create_global_step()
                self.w = tf.get_variable("w", initializer=tf.zeros([64]))
            with tf.device("/job:worker/task:0"), tf.name_scope(f"replica{index}"):
                self.optimizer = tf.train.SyncReplicasOptimizer(
                    tf.train.GradientDescentOptimizer(1.0),
                    aggregate,
                    total,
                    on_replica_loss=policy,
                    replica_name=f"replica {index}",
                )
                loss = tf.reduce_sum(self.w)
                self.train = self.optimizer.minimize(loss, global_step=step)
            self.update = self.optimizer.get_chief_queue_runner().enqueue_ops[0]
            self.init = tf.global_variables_initializer()
        self.session = tf.Session(target, graph=graph)
        self.given = 0
        self._thread = threading.Thread(target=self._work, args=(index,), daemon=True)
        self._pause: Pause = lambda replica, number: None

    def start(self, pause: Pause) -> None:
        """Trains until the session is closed."""
        self._pause = pause
        self._thread.start()

    def _work(self, index: int) -> None:
        try:
            while True:
                self._pause(index, self.given)
                self.session.run(self.train, options=None)
                self.given += 1
        except (tf.errors.OpError, RuntimeError):
            return  # the session was closed

    def close(self) -> None:
        """Ends the session and, once its pause is over, the thread."""
        self.session.close()
        if self._thread.ident is not None:
            self._thread.join()


def train(
    workers: int,
    backups: int,
    steps: int,
    pause: Pause,
    policy: str | None = None,
    before_end: Callable[[Accumulator], object] = lambda gradients: None,
) -> Outcome:
    """Trains `steps` steps of `workers` gradients with `workers + backups` replicas; `before_end(gradients)` is called
    after them, with the accumulator."""
    outcome = Outcome()
    with ExitStack() as stack:
        ports = reserve("127.0.0.1", 2)
        for port in ports:
            stack.callback(port.close)
            port.release()
        spec = {"ps": [ports[0].address], "worker": [ports[1].address]}
        ps = tf.train.Server(spec, "ps", 0)
        stack.callback(ps.stop)
        server = tf.train.Server(spec, "worker", 0)
        stack.callback(server.stop)
        total = workers + backups
        replicas = [Replica(server.target, i, workers, total, policy) for i in range(total)]
        for replica in replicas:
            stack.callback(replica.close)
        chief = replicas[0]
        chief.session.run(chief.init)
        for replica in replicas:
            replica.session.run(replica.optimizer.local_step_init_op)
        chief.session.run(chief.optimizer.chief_init_op)
        for replica in replicas:
            replica.start(pause)
        last = time.perf_counter()
        for _ in range(steps):
            chief.session.run(chief.update)
            now = time.perf_counter()
            outcome.seconds.append(now - last)
            last = now
        outcome.value = float(chief.session.run(chief.w)[0])
        (gradients,) = accumulators(ps)
        before_end(gradients)
        outcome.dropped = gradients.num_dropped
        outcome.given = steps * workers + gradients.num_accumulated + outcome.dropped
    return outcome


def accumulators(server: Any) -> list[Accumulator]:
    """The accumulators that a server of this process holds."""
    resources = server._worker.resources
    names = resources.names(kind=Accumulator)
    return [resources.lookup("", name, Accumulator) for name in names]


def sleeper(seed: int, median: float, sigma: float) -> Pause:
    """Sleeps for times of a log-normal distribution; the same for the same seed, replica and number."""
    draws: dict[int, Any] = {}

    def pause(replica: int, number: int) -> None:
        draw = draws.setdefault(replica, np.random.RandomState((seed, replica)))
        time.sleep(median * float(np.exp(sigma * draw.randn())))

    return pause


def section(table: Sequence[tuple[str, int, Outcome]], args: Any) -> str:
    """The section of RESULTS.md."""
    base = {way: outcome.median for way, backups, outcome in table if not backups}
    lines = [
        f"{datetime.date.today().isoformat()}, {platform.machine()}, Python {platform.python_version()}. {args.workers} gradients a "
        f"step, {args.steps} steps; computing takes a worker a log-normal time (median {args.median} s, sigma {args.sigma}, seed "
        f"{args.seed}: what could be gained is the paper's by this choice), everything else is the real thing in one process. "
        "`python -m benchmarks.stragglers`.",
        "",
        PUBLISHED,
        "",
        '"TensorFlow\'s tokens" is `SyncReplicasOptimizer` as TensorFlow has it: whoever comes takes the oldest token, and computes for a step '
        "that may be over. With `on_replica_loss` a replica goes on with the step under way.",
        "",
        "| way | backup workers | median step | x of none | gradients dropped |",
        "|---|---|---|---|---|",
    ]
    for way, backups, outcome in table:
        ratio = f"{outcome.median / base[way]:.2f}" if way in base else ""
        lines.append(
            f"| {way} | {backups} | {outcome.median * 1e3:.0f} ms | {ratio} | {outcome.dropped} of {outcome.given} |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.stragglers", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--workers", type=int, default=50)
    parser.add_argument("--backups", type=int, nargs="*", default=[0, 1, 2, 3, 4, 5])
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--median", type=float, default=0.3, help="seconds")
    parser.add_argument("--sigma", type=float, default=0.3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-write", action="store_true", help="do not write RESULTS.md")
    args = parser.parse_args()
    table = []
    for way, policy in (("TensorFlow's tokens", None), ("on_replica_loss", "wait")):
        for backups in args.backups:
            pause = sleeper(args.seed, args.median, args.sigma)
            outcome = train(args.workers, backups, args.steps, pause, policy)
            table.append((way, backups, outcome))
            print(
                f"{way}, {backups} backup workers: median step {outcome.median * 1e3:.0f} ms, {outcome.dropped} of "
                f"{outcome.given} gradients dropped",
                flush=True,
            )
    if not args.no_write:
        path = Path(__file__).parent / "RESULTS.md"
        results.write_section(path, "Stragglers", section(table, args))
        print(f"written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
