"""Event files written by a thread of their own, so that a training does not wait for the disk."""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from typing import Any

from flowmesh.core import errors
from flowmesh.formats.events import EventsWriter

_CHECK_SECS = 1.0


class _Worker:
    """The queue of events and the thread that empties it into one file."""

    def __init__(self, writer: EventsWriter, max_queue: int, flush_secs: float) -> None:
        self._writer = writer
        self._max_queue = max(1, max_queue)
        self._flush_secs = flush_secs
        self._pending: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._added = 0
        self._flush_up_to = 0
        self._flushed = 0
        self._stopping = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="EventLoggerThread", daemon=True)
        self._thread.start()

    def add(self, event: bytes) -> None:
        with self._changed:
            self._raise_error()
            self._pending.append(event)
            self._added += 1
            if len(self._pending) >= self._max_queue:
                self._changed.notify_all()

    def flush(self) -> None:
        """Waits until all events added so far are on disk."""
        with self._changed:
            target = self._added
            self._flush_up_to = max(self._flush_up_to, target)
            self._changed.notify_all()
            while self._flushed < target:
                self._raise_error()
                if not self._thread.is_alive():
                    raise errors.InternalError(
                        None, None, f"the thread that writes {self._writer.path} has ended"
                    )
                self._changed.wait(_CHECK_SECS)
            self._raise_error()

    def close(self) -> None:
        """Writes what is left, ends the thread and closes the file; may be called again."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join()
        self._writer.close()
        with self._changed:
            self._raise_error()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise errors.from_exception(self._error)

    def _run(self) -> None:
        next_flush = time.monotonic() + self._flush_secs
        while True:
            with self._changed:
                while not (
                    self._stopping
                    or self._flush_up_to > self._flushed
                    or len(self._pending) >= self._max_queue
                ):
                    left = next_flush - time.monotonic()
                    if left <= 0:
                        break
                    self._changed.wait(left)
                events = list(self._pending)
                self._pending.clear()
                count, stopping = self._added, self._stopping
                due = stopping or self._flush_up_to > self._flushed
            due = due or time.monotonic() >= next_flush
            try:
                for event in events:
                    self._writer.write_serialized(event)
                if due:
                    self._writer.flush()
                    next_flush = time.monotonic() + self._flush_secs
            except Exception as error:
                with self._changed:
                    self._error = error
                    self._changed.notify_all()
                return
            with self._changed:
                if due:
                    self._flushed = count
                    self._changed.notify_all()
                if stopping and not self._pending:
                    return


class EventFileWriter:
    """Writes Event messages to a new event file in `logdir` (TensorFlow: `EventFileWriter`).

    Adding an event never waits: a thread writes when `max_queue` events are there, and puts them on disk every `flush_secs`
    seconds and on `flush`. An error of the disk is raised by the next call.
    """

    def __init__(
        self,
        logdir: str,
        max_queue: int = 10,
        flush_secs: float = 120,
        filename_suffix: str | None = None,
    ) -> None:
        self._logdir = str(logdir)
        self._max_queue = max_queue
        self._flush_secs = flush_secs
        self._writer = EventsWriter(self._logdir, filename_suffix or "")
        self._closed = True
        self._start()

    def _start(self) -> None:
        self._worker = _Worker(self._writer, self._max_queue, self._flush_secs)
        self._closed = False
        self._finalizer = weakref.finalize(self, self._worker.close)

    def get_logdir(self) -> str:
        """The directory of the event file."""
        return self._logdir

    @property
    def path(self) -> str:
        """The event file that is, or was last, written."""
        return self._writer.path

    @property
    def closed(self) -> bool:
        """Whether it is closed."""
        return self._closed

    def add_event(self, event: Any) -> None:
        """Adds an Event message; does nothing when closed."""
        if not self._closed:
            self._worker.add(event.SerializeToString())

    def flush(self) -> None:
        """Waits until all events added so far are on disk."""
        if not self._closed:
            self._worker.flush()

    def close(self) -> None:
        """Writes what is left and closes the file; may be called again."""
        if not self._closed:
            self._closed = True
            self._finalizer.detach()
            self._worker.close()

    def reopen(self) -> None:
        """Starts a new event file when closed, does nothing when open."""
        if self._closed:
            self._writer.reopen()
            self._start()
