"""`Reader`: produces records from the files whose names it takes from a queue."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from flowmesh.core import dtypes, errors
from flowmesh.core.cancellation import CancellationManager
from flowmesh.core.file_policy import FilePolicy
from flowmesh.resources.manager import Resource
from flowmesh.resources.queues import Queue
from flowmesh.resources.records import IteratedWork, Lot, Record, Records, Work

State: TypeAlias = tuple[int, int, int, bytes]
"""Work items started and completed, records produced, the last work item."""
OpenWork: TypeAlias = Callable[[bytes], "Iterator[Record] | Work"]
Spawn: TypeAlias = Callable[[Callable[[], None]], None]
"""Calls a function, in a thread that may wait for files."""


def _here(work: Callable[[], None]) -> None:
    work()


@dataclass(eq=False)
class _Request:
    """One read that may have to wait for the queue; `limit` None asks for one record."""

    queue: Queue
    limit: int | None
    cancellation: CancellationManager | None
    spawn: Spawn
    future: Future[Any] = field(default_factory=Future)
    records: Records = field(default_factory=Records)
    token: int | None = None


@dataclass(eq=False)
class Taken:
    """Records that `Reader.take` gave out."""

    records: Records
    work: Work


class Reader(Resource):
    """Reads one record after another through all work items (file names) that a queue delivers.

    Requests are served in order; a request that needs a work item the queue does not have yet holds no thread.
    """

    type_name = "N10tensorflow15ReaderInterfaceE"

    def __init__(
        self, name: str, open_work: OpenWork, one_record: bool = False, label: str = "Reader"
    ):
        """`open_work(item)` starts on a work item and yields its (key, value) records, or gives it as a `Work`.

        With `one_record` an item is complete once its only record is out. `label` is what messages call the class.
        """
        self.name = name
        self.label = label
        self._open = open_work
        self._one_record = one_record
        self._files: FilePolicy | None = None
        self._item = b""
        self._lock = threading.Lock()
        self._line: deque[_Request] = deque()
        self._serving = False
        self._work: Work | None = None
        self._broken: Exception | None = None  # what reading on in the work item ends with
        self._produced = 0
        self._started = 0
        self._completed = 0

    def restrict(self, files: FilePolicy | None) -> None:
        """From now on opens only what `files` allows; None changes nothing, and nothing lifts it again."""
        if files is not None:
            self._files = files

    def read(
        self,
        queue: Queue,
        cancellation: CancellationManager | None = None,
        spawn: Spawn = _here,
    ) -> Future[Record]:
        """The next (key, value). OutOfRangeError when the queue is closed and everything is read.

        A work item for which the reader had to wait is read by `spawn`, not in the thread that enqueued it.
        """
        return self._request(_Request(queue, None, cancellation, spawn))

    def read_up_to(
        self,
        queue: Queue,
        limit: int,
        cancellation: CancellationManager | None = None,
        spawn: Spawn = _here,
    ) -> Future[Records]:
        """Up to `limit` records, at least one; fewer only where a work item ends."""
        return self._request(_Request(queue, limit, cancellation, spawn))

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
        self.set_state((0, 0, 0, b""))

    @property
    def keeps_state(self) -> bool:
        """Whether `state` says all there is to say: items have one record each."""
        return self._one_record

    def state(self) -> State:
        """What a reader of `one_record` items needs to go on from here."""
        with self._lock:
            return self._started, self._completed, self._produced, self._item

    def set_state(self, state: State) -> None:
        """Goes on from where `state` was taken, with the next work item."""
        with self._lock:
            self._work = self._broken = None
            self._started, self._completed, self._produced, self._item = state

    def release(self) -> None:
        """Closes the file that is being read."""
        self.reset()

    # -- many at once, without waiting ------------------------------------------------------------------

    def take(self, limit: int) -> Taken | None:
        """Up to `limit` records that the current work item has, as that many reads would get them; None when one of these
        would have to wait. All other reads wait until `settle` is called."""
        if self._one_record:
            return None
        with self._lock:
            work = self._work
            if self._serving or work is None or self._broken is not None:
                return None
            self._serving = True
        records = Records()
        try:
            while len(records) < limit and records.add(work.take(limit - len(records))):
                pass
        except Exception as error:  # the read that comes upon it again tells it
            work.fail(error)
        if not len(records):
            self._serve()
            return None
        with self._lock:
            self._produced += len(records)
        return Taken(records, work)

    def settle(self, taken: Taken, used: int) -> None:
        """The first `used` of the records were of use, the others are as if they had not been read."""
        unused = len(taken.records) - used
        if unused:
            with self._lock:
                if self._work is taken.work:  # no reset meanwhile
                    taken.work.give_back(list(taken.records)[used:])
                    self._produced -= unused
        self._serve()

    # -- serving, one request at a time ---------------------------------------------------------------

    def _request(self, request: _Request) -> Future[Any]:
        with self._lock:
            self._line.append(request)
            serves = not self._serving
            self._serving = True
        if serves:
            self._serve()
        elif request.cancellation is not None:
            request.token = request.cancellation.register(lambda _: self._cancel(request))
        return request.future

    def _cancel(self, request: _Request) -> None:
        """Fails a request that waits behind others; the head of the line waits in the queue."""
        with self._lock:
            if request not in self._line or self._line[0] is request:
                return
            self._line.remove(request)
        request.future.set_exception(
            errors.CancelledError(None, None, "Dequeue operation was cancelled")
        )

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
                if len(request.records) or not limit:
                    return True
                _check_queue(request.queue)
                pending = request.queue.dequeue(request.cancellation)
                if not pending.done():
                    pending.add_done_callback(
                        lambda done: request.spawn(lambda: self._resume(request, done))
                    )
                    return False
                self._start_work(pending.result())
                continue
            while len(request.records) < limit:
                if not request.records.add(self._next(work, limit - len(request.records))):
                    break
            with self._lock:
                at_end = len(request.records) < limit or self._one_record
                if at_end and self._work is work:
                    self._work = None
                    self._completed += 1
            if len(request.records) >= limit:
                return True

    def _next(self, work: Work, limit: int) -> Lot:
        """The next records, none at the end. A work item that cannot be read fails each read again until `reset`: nothing of it
        is passed over silently. An item that cannot be opened is given up, except by readers of whole items.
        """
        if self._broken is not None:
            raise errors.make(errors.from_exception(self._broken).error_code, str(self._broken))
        try:
            return work.take(limit)
        except Exception as error:
            with self._lock:
                if self._one_record or isinstance(error, errors.DataLossError):
                    self._broken = error
                else:
                    self._work = None
            raise

    def _resume(self, request: _Request, done: Future[Any]) -> None:
        try:
            self._start_work(done.result())
        except Exception as error:
            self._finish(request, errors.from_exception(error))
        self._serve()

    def _start_work(self, element: tuple[Any, ...]) -> None:
        if element[0].size != 1:
            raise errors.InvalidArgumentError(
                None, None, "Expected to dequeue a one-element string tensor"
            )
        item = element[0].item()
        if self._files is not None:
            self._files.check(os.fsdecode(item))
        opened = self._open(item)
        work = opened if isinstance(opened, Work) else IteratedWork(opened)
        with self._lock:
            self._started += 1
            self._work, self._item, self._broken = work, item, None

    def _finish(self, request: _Request, error: Exception | None) -> None:
        with self._lock:
            self._line.popleft()
            if error is None:
                self._produced += len(request.records)
        if request.cancellation is not None and request.token is not None:
            request.cancellation.deregister(request.token)
        if error is not None:
            request.future.set_exception(error)
        elif request.limit is None:
            request.future.set_result(next(iter(request.records)))
        else:
            request.future.set_result(request.records)


def _check_queue(queue: Queue) -> None:
    """InvalidArgumentError unless the queue holds single strings."""
    if len(queue.component_types) != 1:
        raise errors.InvalidArgumentError(None, None, "Expected single component queue")
    if queue.component_types[0] != dtypes.string:
        raise errors.InvalidArgumentError(None, None, "Expected queue with single string component")
