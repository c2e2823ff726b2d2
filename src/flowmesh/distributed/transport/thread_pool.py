"""Threads for calls that may block: as many as there are calls under way, none when there are none."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent import futures
from typing import Any

_IDLE_SECONDS = 5.0


class ElasticPool(futures.Executor):
    """Runs callables at once, on an idle thread or a new one, up to a limit. Threads are daemons and end when idle."""

    def __init__(self, limit: int, name: str):
        self._limit = limit
        self._name = name
        self._condition = threading.Condition()
        self._jobs: deque[Callable[[], None]] = deque()
        self._threads = 0
        self._idle = 0
        self._made = 0
        self._shut = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> futures.Future[Any]:
        future: futures.Future[Any] = futures.Future()

        def job() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as exc:
                future.set_exception(exc)
            else:
                future.set_result(result)

        with self._condition:
            if self._shut:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._jobs.append(job)
            if self._idle >= len(self._jobs) or self._threads >= self._limit:
                self._condition.notify()
                return future
            self._threads += 1
            self._made += 1
            name = f"{self._name}-{self._made}"
        threading.Thread(target=self._work, name=name, daemon=True).start()
        return future

    def _work(self) -> None:
        while True:
            with self._condition:
                self._idle += 1
                self._condition.wait_for(lambda: self._jobs or self._shut, _IDLE_SECONDS)
                self._idle -= 1
                if not self._jobs:
                    self._threads -= 1
                    self._condition.notify_all()
                    return
                job = self._jobs.popleft()
            job()
            del job

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Idle threads end now, busy ones after their call; waits for them a few seconds at most."""
        with self._condition:
            self._shut = True
            if cancel_futures:
                self._jobs.clear()
            self._condition.notify_all()
            if wait:
                self._condition.wait_for(lambda: not self._threads, _IDLE_SECONDS)
