"""Tasks of a cluster as real processes that start in milliseconds: they are forked from one that has imported everything."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from tests.distributed.clusters import cluster_spec

SECONDS = 60.0
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.training.forked_imports"])


class Task:
    """One process, and what it has said."""

    def __init__(self, name: str, target: Callable[..., None], *args: Any) -> None:
        self.name = name
        self.said: list[dict[str, Any]] = []
        self._heard = threading.Condition()
        self._over = False
        receiver, sender = _context.Pipe(duplex=False)
        self._process = _context.Process(
            target=_run, args=(target, sender, *args), name=name, daemon=True
        )
        self._process.start()
        sender.close()
        self._thread = threading.Thread(target=self._listen, args=(receiver,), daemon=True)
        self._thread.start()

    def _listen(self, receiver: Any) -> None:
        with suppress(EOFError, OSError):
            while True:
                message = receiver.recv()
                with self._heard:
                    self.said.append(message)
                    self._heard.notify_all()
        receiver.close()
        with self._heard:
            self._over = True
            self._heard.notify_all()

    def wait_for(self, key: str, test: Callable[[Any], bool] = lambda value: True) -> Any:
        """The value of the first message with this key that passes the test; AssertionError when none comes."""

        def found() -> list[Any]:
            return [m[key] for m in self.said if key in m and test(m[key])]

        with self._heard:
            self._heard.wait_for(lambda: found() or self._over, SECONDS)
            assert found(), f"{self.name} never said {key!r}: {self.said}"
            return found()[0]

    def end(self) -> int | None:
        """Waits for the end of the process; its exit code."""
        self._process.join(SECONDS)
        self._thread.join(SECONDS)
        assert not self._process.is_alive(), f"{self.name} does not end: {self.said}"
        return self._process.exitcode

    def signal(self, number: int) -> None:
        """Sends a signal."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        assert self.end() == -signal.SIGKILL

    def close(self) -> None:
        """Makes sure that nothing is left."""
        self._process.kill()
        self._process.join(SECONDS)
        self._thread.join(SECONDS)
        self._process.close()


def _run(target: Callable[..., None], sender: Any, *args: Any) -> None:
    def say(**facts: Any) -> None:
        sender.send(facts)

    try:
        target(say, *args)
    except BaseException as error:
        say(error=type(error).__name__, message=str(error))
        raise SystemExit(1) from None


def serve(
    say: Callable[..., None],
    spec: dict[str, list[str]],
    job: str,
    index: int,
    heartbeat_ms: int = 12_000,
) -> None:
    """A task that only serves."""
    import flowmesh as tf

    config = tf.ConfigProto()
    config.experimental.flowmesh.heartbeat_timeout_in_ms = heartbeat_ms
    server = tf.train.Server(spec, job, index, config=config)
    say(serving=True)
    server.join()


class Cluster:
    """One ps and workers; a context manager that leaves no process behind."""

    def __init__(self, workers: int, ps: int = 1, **serving: Any) -> None:
        """`serving` is for `serve`, by which each ps is started."""
        self._serving = serving
        self.spec = cluster_spec(ps=ps, worker=workers)
        self.tasks: list[Task] = []

    def __enter__(self) -> Cluster:
        for index in range(len(self.spec["ps"])):
            self.start_ps(index)
        return self

    def start_ps(self, index: int = 0) -> Task:
        """Starts a ps, which serves when this returns."""
        task = self.start(f"ps {index}", serve, "ps", index, **self._serving)
        task.wait_for("serving")
        return task

    def start(self, name: str, target: Callable[..., None], *args: Any, **kwargs: Any) -> Task:
        """Starts `target(say, spec, *args, **kwargs)` in a process."""
        task = Task(name, partial(target, **kwargs), self.spec, *args)
        self.tasks.append(task)
        return task

    def __exit__(self, *exc: object) -> None:
        for task in self.tasks:
            task.close()
