"""Event files."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from flowmesh.core.errors import DataLossError, FailedPreconditionError
from flowmesh.formats import summary
from flowmesh.formats.events import EventsWriter, read_events
from flowmesh.formats.records import encode_record
from flowmesh.proto.event_pb2 import Event

from .cases import FIXTURES


def new_writer(directory: Path, suffix: str = "", clock: float = 1234.5) -> EventsWriter:
    return EventsWriter(str(directory), suffix, clock=lambda: clock, hostname="host")


def test_name_and_first_event(tmp_path: Path) -> None:
    writer = new_writer(tmp_path / "new" / "logs", ".v2")
    assert Path(writer.path).name == "events.out.tfevents.0000001234.host.v2"
    (first,) = read_events(writer.path)
    assert (first.wall_time, first.file_version) == (1234.5, "brain.Event:2")
    writer.close()


def test_file_of_tensorflow() -> None:
    first, *others = read_events(str(FIXTURES / "events"))
    assert first.file_version == "brain.Event:2"
    assert [event.step for event in others] == [1, 2]
    assert others[1].summary.value[0].simple_value == 0.25


def test_bytes_equal_tensorflows(tmp_path: Path) -> None:
    theirs = FIXTURES / "events"
    first, *others = read_events(str(theirs))
    writer = new_writer(tmp_path, clock=first.wall_time)
    for event in others:
        writer.write(event)
    writer.close()
    assert Path(writer.path).read_bytes() == theirs.read_bytes()


def test_flush_close_reopen(tmp_path: Path) -> None:
    ticks = itertools.count(100)
    writer = EventsWriter(str(tmp_path), clock=lambda: next(ticks), hostname="h")
    writer.reopen()
    first = writer.path
    writer.write(Event(step=1))
    writer.flush()
    assert [event.step for event in read_events(first)] == [0, 1]
    writer.close()
    writer.close()
    writer.flush()
    assert writer.closed
    with pytest.raises(FailedPreconditionError, match="closed"):
        writer.write(Event(step=2))
    writer.reopen()
    assert writer.path != first
    writer.write(Event(step=3))
    writer.close()
    assert [event.step for event in read_events(writer.path)] == [0, 3]


def test_two_writers_in_one_second_do_not_share_a_file(tmp_path: Path) -> None:
    first, second = new_writer(tmp_path), new_writer(tmp_path)
    assert first.path != second.path
    first.close()
    second.close()


def test_partial_last_record(tmp_path: Path) -> None:
    path = tmp_path / "events"
    whole = (FIXTURES / "events").read_bytes()
    path.write_bytes(whole[:-1])
    assert len(list(read_events(str(path), allow_partial=True))) == 2
    with pytest.raises(DataLossError, match="truncated"):
        list(read_events(str(path)))
    path.write_bytes(whole[:-1] + b"\xff")
    with pytest.raises(DataLossError, match="corrupted"):
        list(read_events(str(path), allow_partial=True))
    path.write_bytes(encode_record(b"\xff\xff"))
    with pytest.raises(DataLossError, match="no event"):
        list(read_events(str(path)))


def test_tensorboard_reads_it(tmp_path: Path) -> None:
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    writer = new_writer(tmp_path)
    event = Event(wall_time=2.0, step=7)
    event.summary.MergeFrom(summary.scalar("loss", 0.5))
    event.summary.MergeFrom(summary.histogram("h", np.arange(10.0)))
    event.summary.MergeFrom(summary.image("i", np.zeros((1, 2, 3, 1), np.uint8)))
    writer.write(event)
    writer.close()
    raw = list(loader.RawEventFileLoader(writer.path).Load())
    assert len(raw) == 2
    assert raw[1] == event.SerializeToString()
    (_, read) = loader.LegacyEventFileLoader(writer.path).Load()
    assert read.step == 7
    assert [value.tag for value in read.summary.value] == ["loss", "h", "i/image/0"]
