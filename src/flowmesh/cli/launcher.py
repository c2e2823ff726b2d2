"""A local cluster: parameter servers and workers as processes of this machine.

    with LocalCluster([sys.executable, "train.py"], ps=1, workers=2, on_output=show) as cluster:
        code = cluster.wait()

Every task gets ``--ps_hosts --worker_hosts --job_name --task_index`` after its own arguments and
the same facts in ``TF_CONFIG``. The cluster ends when its workers have ended: the ps tasks are then
told to stop. No task is ever restarted unless `LocalCluster.restart` is called, and none outlives
this process, however it ends (see `flowmesh.cli.process`).

One thread per cluster starts the tasks, reads what they print, notices their ends and calls the
callbacks; every other method only asks it to do something. That the same thread starts the tasks
and stays until the last one has ended is what the kernel's parent-death signal needs.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from flowmesh.cli.process import AFTER_KILL_SECONDS, Guard, TaskProcess
from flowmesh.cli.task import Failure, Task
from flowmesh.distributed.ports import reserve

OutputCallback = Callable[[Task, str], None]
ExitCallback = Callable[[Task], None]

_POLL_SECONDS = 0.05  # only where the system cannot tell of a process's end
INTERRUPT_GRACE = 1.0


class LocalCluster:
    """The tasks of one command run as a cluster; see the module's text.

    Args:
        command: what every task runs; the four flags are appended unless `flags` is false.
        chief: TF_CONFIG calls the first worker the task `chief`, as `tf.estimator` wants it.
        ps, workers: how many tasks of each job; at least one worker.
        gpus: CUDA_VISIBLE_DEVICES for each worker; ps tasks then see no GPU.
        env, cwd: additions to this process's environment, and the tasks' folder.
        grace: seconds between asking a task to stop and killing it.
        fail_fast: stop everything when a task fails, instead of letting the others go on.
        on_output, on_exit: called from the cluster's thread with each line and at each task's end.
            An exception of theirs kills the tasks and comes out of `wait`.
        on_end: called from the cluster's thread when all is over and `wait` returns.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        ps: int = 1,
        workers: int = 2,
        gpus: Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        host: str = "127.0.0.1",
        flags: bool = True,
        chief: bool = False,
        grace: float = 5.0,
        fail_fast: bool = False,
        on_output: OutputCallback | None = None,
        on_exit: ExitCallback | None = None,
        on_end: Callable[[], None] | None = None,
    ) -> None:
        if ps < 0 or workers < 1:
            raise ValueError(f"a cluster needs a worker: got ps={ps}, workers={workers}")
        if gpus is not None and len(gpus) != workers:
            raise ValueError(f"gpus names {len(gpus)} workers, there are {workers}")
        self._command = list(command)
        self._flags = flags
        self._chief = chief
        self._gpus = gpus
        self._env = {**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})}
        self._cwd = cwd
        self._host = host
        self._counts = {"ps": ps, "worker": workers}
        self.grace = grace
        self.fail_fast = fail_fast
        self._on_output = on_output or (lambda task, line: None)
        self._on_exit = on_exit or (lambda task: None)
        self._on_end = on_end or (lambda: None)
        self.tasks: list[Task] = []
        self.failures: list[Failure] = []
        """What failed, the first one first; a restart takes nothing off."""
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._done = threading.Event()
        self._wake_write: socket.socket | None = None
        self._calls: deque[tuple[Callable[[], None], Future[None]]] = deque()
        self._asked_graces: deque[float] = deque()
        self._kill_at: float | None = None
        self._killed = False

    # What users call, from any thread.

    @property
    def spec(self) -> dict[str, list[str]]:
        """The addresses by job, without jobs that have no task."""
        spec: dict[str, list[str]] = {}
        for task in self.tasks:
            spec.setdefault(task.job, []).append(task.address)
        return spec

    def task(self, job: str, index: int) -> Task:
        """The task of that job and index; KeyError when there is none."""
        for task in self.tasks:
            if (task.job, task.index) == (job, index):
                return task
        raise KeyError(f"{job}/{index}")

    def start(self) -> Self:
        """Start every task; returns when all of them are started."""
        if self._thread is not None:
            raise RuntimeError("a LocalCluster is started only once")
        ports = iter(reserve(self._host, sum(self._counts.values())))
        for job, count in self._counts.items():
            self.tasks += [Task(job, index, next(ports)) for index in range(count)]
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_write.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_read, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._run, name="local-cluster", daemon=True)
        started = self._post(self._start_all)
        self._thread.start()
        try:
            started.result()
        except BaseException:
            self.stop(0)
            raise
        return self

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; 0, or the exit code of the first task that failed.

        Raises TimeoutError when the cluster still runs after `timeout` seconds.
        """
        if not self._done.wait(timeout):
            raise TimeoutError(f"the cluster still runs after {timeout:g} s")
        if self._error is not None:
            raise self._error
        return self.failures[0].exit_code if self.failures else 0

    def stop(self, grace: float | None = None) -> None:
        """Ask every task to stop, kill what has not after `grace` seconds, and wait for the end."""
        if self._thread is None:
            return
        self.request_stop(self.grace if grace is None else grace)
        if threading.current_thread() is not self._thread:
            self._done.wait()
            self._thread.join()

    def request_stop(self, grace: float = INTERRUPT_GRACE) -> None:
        """Like `stop` but returns at once; takes no lock, so a signal handler may call it."""
        self._asked_graces.append(grace)
        self._wake()

    def restart(self, task: Task) -> None:
        """Start a task that has ended once more, at its old address."""
        if threading.current_thread() is self._thread:
            self._start_task(task)
        else:
            self._post(lambda: self._start_task(task)).result()

    def __enter__(self) -> Self:
        return self if self._thread is not None else self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop(INTERRUPT_GRACE if kind is not None else None)

    # What the cluster's thread does.

    def _run(self) -> None:
        try:
            self._guard = guard = Guard()
            try:
                self._loop()
            except BaseException as error:
                self._error = error
            self._kill_all()
            guard.close()
        except BaseException as error:
            self._error = self._error or error
        finally:
            self._close()

    def _loop(self) -> None:
        while True:
            while self._calls:
                call, future = self._calls.popleft()
                self._answer(call, future)
            if not any(task.process for task in self.tasks):
                return
            for key, _ in self._selector.select(self._timeout()):
                self._handle(key.data, key.fd)
            for task in self.tasks:
                if task.process is not None and task.process.has_ended():
                    self._collect(task)
            self._follow_stop()

    def _handle(self, task: Task | None, fd: int) -> None:
        if task is None:
            self._wake_read.recv(4096)
        elif task.process is not None and fd == task.process.output:
            lines, ended = task.process.read()
            if ended:
                self._selector.unregister(fd)
            self._emit(task, lines)

    def _follow_stop(self) -> None:
        while self._asked_graces:
            self._begin_stop(self._asked_graces.popleft())
        if self._kill_at is None and all(
            task.process is None for task in self.tasks if task.job == "worker"
        ):
            self._begin_stop(self.grace)
        if self._kill_at is None or time.monotonic() < self._kill_at:
            return
        if self._killed:
            raise RuntimeError(f"tasks do not end even when killed: {self._running()}")
        self._signal_all(signal.SIGKILL)
        self._killed = True
        self._kill_at = time.monotonic() + AFTER_KILL_SECONDS

    def _begin_stop(self, grace: float) -> None:
        if self._killed:
            return
        if self._kill_at is None:
            self._signal_all(signal.SIGTERM)
        deadline = time.monotonic() + grace
        self._kill_at = deadline if self._kill_at is None else min(self._kill_at, deadline)

    def _collect(self, task: Task) -> None:
        """Take in the end of a task's process."""
        process = task.process
        assert process is not None
        for fd in (process.output, process.exit_fd):
            if fd is not None and fd in self._selector.get_map():
                self._selector.unregister(fd)
        task.process = None
        returncode, lines = process.finish()
        self._emit(task, lines)
        task.returncode = returncode
        task.failed = returncode != 0 and self._kill_at is None
        if task.failed:
            failure = Failure(task, task.exit_code or 1, task.describe_end(), list(task.last_lines))
            self.failures.append(failure)
            if self.fail_fast:
                self._begin_stop(self.grace)
        self._on_exit(task)

    def _emit(self, task: Task, lines: list[str]) -> None:
        for line in lines:
            task.last_lines.append(line)
            self._on_output(task, line)

    def _start_all(self) -> None:
        for task in self.tasks:
            self._start_task(task)

    def _start_task(self, task: Task) -> None:
        if task.process is not None:
            raise RuntimeError(f"{task.name} is still running")
        if self._kill_at is not None or self._asked_graces:
            raise RuntimeError(f"cannot start {task.name}: the cluster is stopping")
        command = self._command + (self._task_flags(task) if self._flags else [])
        task.reserved.release()
        process = TaskProcess(command, self._task_env(task), self._cwd, self._guard)
        task.process, task.pid = process, process.pid
        task.returncode, task.failed = None, False
        for fd in (process.output, process.exit_fd):
            if fd is not None:
                self._selector.register(fd, selectors.EVENT_READ, task)

    def _task_flags(self, task: Task) -> list[str]:
        spec = self.spec
        return [
            f"--ps_hosts={','.join(spec.get('ps', ()))}",
            f"--worker_hosts={','.join(spec['worker'])}",
            f"--job_name={task.job}",
            f"--task_index={task.index}",
        ]

    def _task_env(self, task: Task) -> dict[str, str]:
        env = {**self._env, "TF_CONFIG": json.dumps(self._tf_config(task))}
        if self._gpus is not None:
            env["CUDA_VISIBLE_DEVICES"] = self._gpus[task.index] if task.job == "worker" else ""
        return env

    def _tf_config(self, task: Task) -> dict[str, Any]:
        spec, job, index = self.spec, task.job, task.index
        if self._chief:
            chief, *workers = spec.pop("worker")
            spec = {**spec, "chief": [chief], **({"worker": workers} if workers else {})}
            if job == "worker":
                job, index = ("chief", 0) if index == 0 else ("worker", index - 1)
        return {"cluster": spec, "task": {"type": job, "index": index}}

    def _timeout(self) -> float | None:
        waits = [] if self._kill_at is None else [max(0.0, self._kill_at - time.monotonic())]
        if any(task.process and task.process.exit_fd is None for task in self.tasks):
            waits.append(_POLL_SECONDS)
        return min(waits, default=None)

    def _signal_all(self, number: int) -> None:
        for task in self.tasks:
            if task.process is not None:
                task.process.signal_group(number)

    def _running(self) -> str:
        return ", ".join(f"{task.name} (pid {task.pid})" for task in self.tasks if task.process)

    def _kill_all(self) -> None:
        """After an error in this thread: leave no process behind, call no callback."""
        self._signal_all(signal.SIGKILL)
        for task in self.tasks:
            if task.process is not None:
                with suppress(subprocess.TimeoutExpired):
                    task.returncode, _ = task.process.finish()
                task.process = None

    def _close(self) -> None:
        self._selector.close()
        self._wake_read.close()
        if self._wake_write is not None:
            self._wake_write.close()
        for task in self.tasks:
            task.reserved.close()
        self._done.set()
        while self._calls:
            _, future = self._calls.popleft()
            if future.set_running_or_notify_cancel():
                future.set_exception(self._error or RuntimeError("the cluster has ended"))
        self._on_end()

    # Asking the cluster's thread for something.

    def _post(self, call: Callable[[], None]) -> Future[None]:
        future: Future[None] = Future()
        self._calls.append((call, future))
        self._wake()
        if self._done.is_set() and future.cancel():
            raise RuntimeError("the cluster has ended")
        return future

    def _answer(self, call: Callable[[], None], future: Future[None]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            call()
        except Exception as error:
            future.set_exception(error)
        else:
            future.set_result(None)

    def _wake(self) -> None:
        if self._wake_write is None:
            return
        with suppress(
            OSError
        ):  # full, so it will wake anyway; or closed, for the cluster has ended
            self._wake_write.send(b"!")
