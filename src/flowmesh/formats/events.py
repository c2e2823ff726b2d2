"""Event files, which TensorBoard reads."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator

from google.protobuf.message import DecodeError

from flowmesh.core.errors import DataLossError, FailedPreconditionError, from_exception, make
from flowmesh.formats.records import RecordReader, RecordWriter
from flowmesh.proto.event_pb2 import Event

FILE_VERSION = "brain.Event:2"


class EventsWriter:
    """Appends events to a new `events.out.tfevents.<secs>.<host>` file in a directory.

    Not thread-safe. The file is created at once, so that TensorBoard sees the run, and is never
    one that exists: within one second a further writer's file gets a counter behind its name.
    """

    def __init__(
        self,
        directory: str,
        suffix: str = "",
        *,
        clock: Callable[[], float] = time.time,
        hostname: str | None = None,
    ) -> None:
        self._directory = directory
        self._suffix = suffix
        self._clock = clock
        self._hostname = socket.gethostname() if hostname is None else hostname
        self._writer: RecordWriter | None = None
        self.reopen()

    @property
    def path(self) -> str:
        """The file that is, or was last, written."""
        return self._path

    @property
    def closed(self) -> bool:
        return self._writer is None

    def write(self, event: Event) -> None:
        self.write_serialized(event.SerializeToString())

    def write_serialized(self, event: bytes) -> None:
        if self._writer is None:
            raise FailedPreconditionError(None, None, f"{self._path} is closed; call reopen()")
        self._writer.write(event)

    def flush(self) -> None:
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Flushes and closes; may be called again."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def reopen(self) -> None:
        """Starts a new file if the last one was closed."""
        if self._writer is not None:
            return
        try:
            os.makedirs(self._directory, exist_ok=True)
        except OSError as error:
            why = f"{self._directory}; {error.strerror or error}"
            raise make(from_exception(error).error_code, why) from error
        now = self._clock()
        name = f"events.out.tfevents.{int(now):010d}.{self._hostname}"
        attempt = 0
        while self._writer is None:
            counter = f".{attempt}" if attempt else ""
            self._path = os.path.join(self._directory, name + counter + self._suffix)
            try:
                self._writer = RecordWriter(self._path, mode="xb")
            except FileExistsError:
                attempt += 1
        self.write(Event(wall_time=now, file_version=FILE_VERSION))
        self.flush()


def read_events(path: str, *, allow_partial: bool = False) -> Iterator[Event]:
    """The events of a file.

    With `allow_partial` a record cut off at the end of the file, as a writer at work leaves it,
    ends the iteration instead of raising DataLossError.
    """
    with RecordReader(path) as reader:
        while True:
            try:
                record = reader.read()
            except DataLossError as error:
                if allow_partial and error.message.startswith("truncated"):
                    return
                raise
            if record is None:
                return
            try:
                event = Event.FromString(record)
            except DecodeError as error:
                message = f"no event in the record before {reader.offset} in {path}"
                raise DataLossError(None, None, message) from error
            yield event
