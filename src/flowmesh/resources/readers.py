"""`Reader`: produces records from the files whose names it takes from a queue."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from flowmesh.core import errors
from flowmesh.core.cancellation import CancellationManager
from flowmesh.resources.manager import Resource
from flowmesh.resources.queues import Queue

Record: TypeAlias = tuple[bytes, bytes]
OpenWork: TypeAlias = Callable[[bytes], Iterator[Record]]


@dataclass(eq=False)
class _Request:
    """One read that may have to wait for the queue; `limit` None asks for one record."""

    queue: Queue
    limit: int | None
    cancellation: CancellationManager | None
    future: Future[Any] = field(default_factory=Future)
    records: list[Record] = field(default_factory=list)


class Reader(Resource):
    """Reads one record after another through all work items (file names) that a queue delivers.

    Requests are served in order; a request that needs a work item the queue does not have yet holds no thread.
    """

    type_name = "N10tensorflow15ReaderInterfaceE"

    def __init__(self, name: str, open_work: OpenWork):
        """`open_work(item)` starts on a work item and yields its (key, value) records."""
        self.name = name
        self._open = open_work
        self._lock = threading.Lock()
        self._line: deque[_Request] = deque()
        self._serving = False
        self._work: Iterator[Record] | None = None
        self._produced = 0
        self._started = 0
        self._completed = 0

    def read(self, queue: Queue, cancellation: CancellationManager | None = None) -> Future[Record]:
        """The next (key, value). OutOfRangeError when the queue is closed and everything is read."""
        return self._request(_Request(queue, None, cancellation))

    def read_up_to(
        self, queue: Queue, limit: int, cancellation: CancellationManager | None = None
    ) -> Future[list[Record]]:
        """Up to `limit` records, at least one; fewer only where a work item ends."""
        return self._request(_Request(queue, limit, cancellation))

    @property
    def records_produced(self) -> int:
        """How many records `read` has returned since the last reset."""
        with self._lock:
            return self._produced

    @property
    def work_units_completed(self) -> int:
        """How many work items were read to their end since the last reset."""
        with self._lock:
            return self._completed

    def reset(self) -> None:
        """Forgets the current work item and the counts."""
        with self._lock:
            self._work = None
            self._produced = self._started = self._completed = 0

    def release(self) -> None:
        """Closes the file that is being read."""
        self.reset()

    # -- serving, one request at a time ---------------------------------------------------------------

    def _request(self, request: _Request) -> Future[Any]:
        with self._lock:
            self._line.append(request)
            if self._serving:
                return request.future
            self._serving = True
        self._serve()
        return request.future

    def _serve(self) -> None:
        """Serves the line until it is empty or its head waits for the queue; the caller has set `_serving`."""
        while True:
            with self._lock:
                if not self._line:
                    self._serving = False
                    return
                request = self._line[0]
            try:
                finished = self._advance(request)
            except Exception as error:
                self._finish(request, errors.from_exception(error))
                continue
            if not finished:
                return
            self._finish(request, None)

    def _advance(self, request: _Request) -> bool:
        """Reads for `request`; False if it now waits for a work item (and `_serve` will be called again)."""
        limit = 1 if request.limit is None else request.limit
        while True:
            with self._lock:
                work = self._work
            if work is None:
                if request.records:
                    return True
                pending = request.queue.dequeue(request.cancellation)
                if not pending.done():
                    pending.add_done_callback(lambda done: self._resume(request, done))
                    return False
                self._start_work(pending.result())
                continue
            while len(request.records) < limit:
                record = next(work, None)
                if record is None:
                    break
                request.records.append(record)
            with self._lock:
                if len(request.records) < limit and self._work is work:
                    self._work = None
                    self._completed += 1
            if len(request.records) >= limit:
                return True

    def _resume(self, request: _Request, done: Future[Any]) -> None:
        try:
            self._start_work(done.result())
        except Exception as error:
            self._finish(request, errors.from_exception(error))
        self._serve()

    def _start_work(self, element: tuple[Any, ...]) -> None:
        if len(element) != 1 or getattr(element[0], "size", 0) != 1:
            raise errors.InvalidArgumentError(
                None, None, "Expected to dequeue a single string tensor"
            )
        item = element[0].item()
        if not isinstance(item, bytes):
            raise errors.InvalidArgumentError(
                None, None, "Expected to dequeue a single string tensor"
            )
        work = self._open(item)
        with self._lock:
            self._started += 1
            self._work = work

    def _finish(self, request: _Request, error: Exception | None) -> None:
        with self._lock:
            self._line.popleft()
            if error is None:
                self._produced += len(request.records)
            else:
                self._work = None
        if error is not None:
            request.future.set_exception(error)
        elif request.limit is None:
            request.future.set_result(request.records[0])
        else:
            request.future.set_result(request.records)
