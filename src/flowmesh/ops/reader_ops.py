"""Readers: records from the files whose names a queue delivers, as ops and as Python objects."""

from __future__ import annotations

import io
import itertools
import os
import re
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np

from flowmesh.core import dtypes, errors
from flowmesh.core.shapes import TensorShape, scalar, vector
from flowmesh.formats import varint
from flowmesh.formats.records import RecordReader
from flowmesh.graph.op_def import Attr, Input, OpDef, Output
from flowmesh.graph.raw import raw
from flowmesh.ops.data_flow import QueueBase
from flowmesh.ops.io_ops import file_errors, string_scalar, string_vector
from flowmesh.ops.queue_ops import checked_handle, mapped, private_name
from flowmesh.ops.shape_rules import scalar_input
from flowmesh.resources.queues import Queue
from flowmesh.resources.readers import Reader, State, Taken
from flowmesh.resources.records import NOTHING, Lot, Record, Records, Work

_STATE_FIELDS = 4  # of TensorFlow's ReaderBaseState: three counts and the last work item


def _invalid(message: str) -> errors.InvalidArgumentError:
    return errors.InvalidArgumentError(None, None, message)


# -- how each reader reads -------------------------------------------------------------------------------


class _Lines(Work):
    """A file of lines, read as many at a time as are wanted."""

    def __init__(self, item: bytes, skip: int) -> None:
        super().__init__()
        self._item = item
        self._lots = _lots_of_lines(os.fsdecode(item), skip)
        next(self._lots)

    def _read(self, limit: int) -> Lot:
        try:
            number, lines = self._lots.send(limit)
        except StopIteration:
            return NOTHING
        return lines, lambda: [b"%s:%d" % (self._item, number + i) for i in range(len(lines))]


def _lots_of_lines(path: str, skip: int) -> Generator[tuple[int, list[bytes]], int, None]:
    """The number of the next line and so many lines as are sent for, without ends."""
    limit = yield 0, []
    with file_errors(path), open(path, "rb") as file:
        number = 1 + sum(1 for _ in itertools.islice(file, skip))
        while text := b"".join(itertools.islice(file, limit)):
            if b"\r" in text:
                text = text.replace(b"\r", b"")
            lines = text.split(b"\n")
            if text.endswith(b"\n"):
                del lines[-1]
            limit = yield number, lines
            number += len(lines)


def _records(item: bytes, compression: str) -> Iterator[Record]:
    path = os.fsdecode(item)
    with file_errors(path), RecordReader(path, compression) as reader:
        while True:
            offset = reader.offset
            record = reader.read()
            if record is None:
                return
            yield b"%s:%d" % (item, offset), record


def _whole_file(item: bytes) -> Iterator[Record]:
    path = os.fsdecode(item)
    with file_errors(path), open(path, "rb") as file:
        contents = file.read()
    yield item, contents


def _fixed_length(
    item: bytes, header: int, size: int, footer: int, hop: int, encoding: str
) -> Iterator[Record]:
    path = os.fsdecode(item)
    with file_errors(path), open(path, "rb") as stored:
        file: BinaryIO = stored
        if encoding == "ZLIB":
            try:
                file = io.BytesIO(zlib.decompress(stored.read()))
            except zlib.error as error:
                raise errors.DataLossError(None, None, f"{path}: {error}") from error
        length = file.seek(0, os.SEEK_END)
        if length < header:
            raise errors.OutOfRangeError(None, None, f"reached end of file in the header of {path}")
        starts = range(header, length - footer - size + 1, hop or size)
        for number, start in enumerate(starts):
            file.seek(start)
            yield b"%s:%d" % (item, number), file.read(size)


# -- sources ---------------------------------------------------------------------------------------------


class _Source(OpDef, abstract=True):
    """An op that makes a reader, or finds the one of its shared name."""

    stateful = True
    finds_resource = True
    one_record = False
    NotDifferentiable = True

    def infer(self, ctx: Any) -> TensorShape:
        return vector(2) if self.output_args[0].ref else scalar()

    def run(self, ctx: Any) -> Reader:  # type: ignore[override]
        shared = self.attrs["shared_name"].decode()
        if not shared:
            reader: Reader | None = ctx.state.get("reader")
            if reader is None:
                reader = ctx.state.setdefault("reader", self._make(private_name(ctx.name)))
            return reader
        found: Reader = ctx.resources.lookup_or_create(
            self.attrs["container"].decode() or ctx.container,
            shared,
            Reader,
            lambda: self._make(shared),
        )
        return found

    def _make(self, name: str) -> Reader:
        label = self.op_type.removesuffix("V2")
        return Reader(name, self._opener(), self.one_record, label)

    def _opener(self) -> Callable[[bytes], Iterator[Record] | Work]:
        raise NotImplementedError


class _TextLine(_Source, abstract=True):
    skip_header_lines = Attr("int", 0)
    container = Attr("string", "")
    shared_name = Attr("string", "")

    def _opener(self) -> Callable[[bytes], Work]:
        skip = self.attrs["skip_header_lines"]
        return lambda item: _Lines(item, skip)


class _TFRecord(_Source, abstract=True):
    container = Attr("string", "")
    shared_name = Attr("string", "")
    compression_type = Attr("string", "")

    def _opener(self) -> Callable[[bytes], Iterator[Record]]:
        compression = self.attrs["compression_type"].decode()
        return lambda item: _records(item, compression)


class _WholeFile(_Source, abstract=True):
    container = Attr("string", "")
    shared_name = Attr("string", "")
    one_record = True

    def _opener(self) -> Callable[[bytes], Iterator[Record]]:
        return _whole_file


class _Identity(_Source, abstract=True):
    container = Attr("string", "")
    shared_name = Attr("string", "")
    one_record = True

    def _opener(self) -> Callable[[bytes], Iterator[Record]]:
        return lambda item: iter([(item, item)])


class _FixedLength(_Source, abstract=True):
    header_bytes = Attr("int", 0)
    record_bytes = Attr("int")
    footer_bytes = Attr("int", 0)
    hop_bytes = Attr("int", 0)
    container = Attr("string", "")
    shared_name = Attr("string", "")

    def _opener(self) -> Callable[[bytes], Iterator[Record]]:
        sizes = [self.attrs[f"{name}_bytes"] for name in ("header", "record", "footer", "hop")]
        for name, size in zip(("header", "record", "footer", "hop"), sizes):
            if size < (name == "record"):
                least = "> 0" if name == "record" else ">= 0"
                raise _invalid(f"{name}_bytes must be {least} but is {size}")
        encoding = self.attrs.get("encoding", b"").decode()
        header, size, footer, hop = sizes
        return lambda item: _fixed_length(item, header, size, footer, hop, encoding)


def _source(name: str, base: type[OpDef], doc: str, **second: Callable[[], Any]) -> None:
    """Registers <name>V2, behind a resource handle, and <name>, behind a ref; `second` are attrs of V2 alone."""
    for suffix in ("V2", ""):
        dtype = dtypes.resource if suffix else dtypes.string
        body: dict[str, Any] = {
            "__module__": __name__,
            "__doc__": doc,
            "reader_handle": Output(dtype, ref=not suffix),
        }
        if suffix:
            body.update({attr: make() for attr, make in second.items()})
        type(name + suffix, (base,), body)


_source("TextLineReader", _TextLine, "Reads files line by line; the keys are `file:line`.")
_source("TFRecordReader", _TFRecord, "Reads the records of TFRecord files.")
_source("WholeFileReader", _WholeFile, "Reads whole files; the keys are their names.")
_source("IdentityReader", _Identity, "Gives the work items themselves, as keys and values.")
_source(
    "FixedLengthRecordReader",
    _FixedLength,
    "Reads records of a fixed size from files.",
    encoding=lambda: Attr("string", ""),
)


# -- operations ------------------------------------------------------------------------------------------


class _ReaderOp(OpDef, abstract=True):
    NotDifferentiable = True

    def infer(self, ctx: Any, *shapes: TensorShape) -> Any:
        return tuple(scalar() for _ in self.output_args)

    def _reader(self, handle: Any) -> Reader:
        reader: Reader = checked_handle(handle, Reader)
        return reader


class _TakenRecords:
    """Records that were taken on approval (see `Reader.take`)."""

    def __init__(self, reader: Reader, taken: Taken) -> None:
        self._reader, self._taken = reader, taken
        self.count = len(taken.records)

    def columns(self, wanted: Sequence[bool]) -> list[Any]:
        """The outputs of the op, an array with a row for each run; None for those that nobody wants."""
        records = self._taken.records
        return [
            string_vector(records.keys()) if wanted[0] else None,
            string_vector(records.values) if wanted[1] else None,
        ]

    def settle(self, used: int) -> None:
        """The first `used` were of use, the others were never read."""
        self._reader.settle(self._taken, used)


class _Read(_ReaderOp, abstract=True):
    slow = True

    @staticmethod
    def take_rows(limit: int, reader_handle: Any, queue_handle: Any) -> _TakenRecords | None:
        """What up to `limit` runs would give that need not wait; None when there is nothing of that kind."""
        reader: Reader = checked_handle(reader_handle, Reader)
        taken = reader.take(limit)
        return None if taken is None else _TakenRecords(reader, taken)

    def run(self, ctx: Any, reader_handle: Any, queue_handle: Any) -> Any:  # type: ignore[override]
        queue = checked_handle(queue_handle, Queue)
        reader = self._reader(reader_handle)
        reader.restrict(ctx.files)
        record = reader.read(queue, ctx.cancellation, ctx.spawn)
        return mapped(record, lambda r: (string_scalar(r[0]), string_scalar(r[1])))


class _ReadUpTo(_ReaderOp, abstract=True):
    slow = True

    def infer(self, ctx: Any, *shapes: TensorShape) -> Any:
        scalar_input(shapes[2])
        return vector(None), vector(None)

    def run(  # type: ignore[override]
        self, ctx: Any, reader_handle: Any, queue_handle: Any, num_records: Any
    ) -> Any:
        queue = checked_handle(queue_handle, Queue)
        reader = self._reader(reader_handle)
        reader.restrict(ctx.files)
        records = reader.read_up_to(queue, int(num_records), ctx.cancellation, ctx.spawn)
        wants_keys = ctx.wants(0)

        def outputs(found: Records) -> Any:
            keys = found.keys() if wants_keys else []
            return string_vector(keys), string_vector(found.values)

        return mapped(records, outputs)


class _Produced(_ReaderOp, abstract=True):
    def run(self, ctx: Any, reader_handle: Any) -> Any:  # type: ignore[override]
        return np.int64(self._reader(reader_handle).records_produced)


class _Completed(_ReaderOp, abstract=True):
    def run(self, ctx: Any, reader_handle: Any) -> Any:  # type: ignore[override]
        return np.int64(self._reader(reader_handle).work_units_completed)


class _Reset(_ReaderOp, abstract=True):
    def run(self, ctx: Any, reader_handle: Any) -> None:  # type: ignore[override]
        self._reader(reader_handle).reset()


class _SerializeState(_ReaderOp, abstract=True):
    def run(self, ctx: Any, reader_handle: Any) -> Any:  # type: ignore[override]
        reader = self._reader(reader_handle)
        if not reader.keeps_state:
            raise errors.UnimplementedError(None, None, "Reader SerializeState")
        return string_scalar(_encode_state(reader.state()))


class _RestoreState(_ReaderOp, abstract=True):
    def infer(self, ctx: Any, *shapes: TensorShape) -> Any:
        scalar_input(shapes[1])
        return ()

    def run(self, ctx: Any, reader_handle: Any, state: Any) -> None:  # type: ignore[override]
        reader = self._reader(reader_handle)
        if not reader.keeps_state:
            raise errors.UnimplementedError(None, None, "Reader RestoreState")
        data = np.asarray(state, object).item()
        try:
            reader.set_state(_decode_state(data))
        except varint.MalformedError:
            text = data.decode("utf-8", "backslashreplace")
            node = re.sub(r"^_\d+_", "", reader.name)
            raise _invalid(f"Could not parse state for {reader.label} '{node}': {text}") from None


def _encode_state(state: State) -> bytes:
    """The state as TensorFlow's ReaderBaseState message."""
    *counts, item = state
    out = b"".join(
        varint.encode(number << 3) + varint.encode(count)
        for number, count in enumerate(counts, start=1)
        if count
    )
    tag = varint.encode(_STATE_FIELDS << 3 | 2)
    return out + (tag + varint.encode(len(item)) + item if item else b"")


def _decode_state(data: bytes) -> State:
    counts, item, at = [0, 0, 0], b"", 0
    while at < len(data):
        tag, at = varint.decode(data, at)
        value, at = varint.decode(data, at)
        if tag == _STATE_FIELDS << 3 | 2 and at + value <= len(data):
            item, at = data[at : at + value], at + value
        elif tag in (8, 16, 24):
            counts[(tag >> 3) - 1] = value
        else:
            raise varint.MalformedError("not a reader's state")
    return counts[0], counts[1], counts[2], item


def _operation(name: str, base: type[OpDef], doc: str, **members: Callable[[str], Any]) -> None:
    """Registers <name>V2 on resource handles and <name> on refs."""
    for suffix in ("V2", ""):
        body: dict[str, Any] = {
            "__module__": __name__,
            "__doc__": doc,
            "stateful": bool(suffix),
            "reader_handle": _handle(suffix),
        }
        body.update({member: make(suffix) for member, make in members.items()})
        type(name + suffix, (base,), body)


def _handle(suffix: str) -> Any:
    return Input(dtypes.resource if suffix else dtypes.string, ref=not suffix)


def _text(_: str) -> Any:
    return Output(dtypes.string)


def _count(_: str) -> Any:
    return Output(dtypes.int64)


_operation("ReaderRead", _Read, "The next record.", queue_handle=_handle, key=_text, value=_text)
_operation(
    "ReaderReadUpTo",
    _ReadUpTo,
    "The next records, at most `num_records`.",
    queue_handle=_handle,
    num_records=lambda _: Input(dtypes.int64),
    keys=_text,
    values=_text,
)
_operation(
    "ReaderNumRecordsProduced", _Produced, "How many records were read.", records_produced=_count
)
_operation(
    "ReaderNumWorkUnitsCompleted",
    _Completed,
    "How many work items were read to their end.",
    units_completed=_count,
)
_operation("ReaderReset", _Reset, "Forgets the current work item and the counts.")
_operation("ReaderSerializeState", _SerializeState, "The reader's state.", state=_text)
_operation(
    "ReaderRestoreState",
    _RestoreState,
    "Sets the reader's state.",
    state=lambda _: Input(dtypes.string),
)


# -- Python objects --------------------------------------------------------------------------------------


class ReaderBase:
    """What all readers have in common (TensorFlow: `tf.ReaderBase`).

    A reader takes work items (mostly file names) from a queue of strings and gives their records one by one.
    Running a read waits for the queue, and raises OutOfRangeError once that is closed and all is read.
    """

    def __init__(self, reader_ref: Any, supports_serialize: bool = False):
        self._reader_ref = reader_ref
        self._supports_serialize = supports_serialize

    @property
    def reader_ref(self) -> Any:
        """The tensor that holds the handle of the reader."""
        return self._reader_ref

    @property
    def supports_serialize(self) -> bool:
        """Whether the state can be taken and restored."""
        return self._supports_serialize

    def _op(self, name: str) -> Callable[..., Any]:
        suffix = "V2" if self._reader_ref.dtype.base_dtype == dtypes.resource else ""
        builder: Callable[..., Any] = getattr(raw, name + suffix)
        return builder

    def read(self, queue: Any, name: str | None = None) -> Any:
        """The next (key, value), string scalars; `queue` is a queue or its handle."""
        return self._op("ReaderRead")(self._reader_ref, _queue_ref(queue), name=name)

    def read_up_to(self, queue: Any, num_records: Any, name: str | None = None) -> Any:
        """(keys, values), string vectors of up to `num_records` (int64 scalar) records, fewer where an item ends."""
        return self._op("ReaderReadUpTo")(
            self._reader_ref, _queue_ref(queue), num_records, name=name
        )

    def num_records_produced(self, name: str | None = None) -> Any:
        """How many records were read, an int64 scalar."""
        return self._op("ReaderNumRecordsProduced")(self._reader_ref, name=name)

    def num_work_units_completed(self, name: str | None = None) -> Any:
        """How many work items were read to their end, an int64 scalar."""
        return self._op("ReaderNumWorkUnitsCompleted")(self._reader_ref, name=name)

    def serialize_state(self, name: str | None = None) -> Any:
        """The state as a string scalar; running it raises UnimplementedError for readers that cannot."""
        return self._op("ReaderSerializeState")(self._reader_ref, name=name)

    def restore_state(self, state: Any, name: str | None = None) -> Any:
        """The operation that restores a state from `serialize_state`."""
        return self._op("ReaderRestoreState")(self._reader_ref, state, name=name)

    def reset(self, name: str | None = None) -> Any:
        """The operation that makes the reader as good as new."""
        return self._op("ReaderReset")(self._reader_ref, name=name)


def _queue_ref(queue: Any) -> Any:
    return queue.queue_ref if isinstance(queue, QueueBase) else queue


class WholeFileReader(ReaderBase):
    """Gives each file's name and contents (TensorFlow: `tf.WholeFileReader`)."""

    def __init__(self, name: str | None = None):
        super().__init__(raw.WholeFileReaderV2(name=name), supports_serialize=True)


class TextLineReader(ReaderBase):
    """Gives the lines of files without their ends (TensorFlow: `tf.TextLineReader`)."""

    def __init__(self, skip_header_lines: int | None = None, name: str | None = None):
        super().__init__(raw.TextLineReaderV2(skip_header_lines=skip_header_lines, name=name))


class FixedLengthRecordReader(ReaderBase):
    """Gives records of a fixed size (TensorFlow: `tf.FixedLengthRecordReader`)."""

    def __init__(
        self,
        record_bytes: int,
        header_bytes: int | None = None,
        footer_bytes: int | None = None,
        hop_bytes: int | None = None,
        name: str | None = None,
        encoding: str | None = None,
    ):
        """`hop_bytes` is the distance between the starts of records, 0 for `record_bytes`."""
        super().__init__(
            raw.FixedLengthRecordReaderV2(
                record_bytes=record_bytes,
                header_bytes=header_bytes,
                footer_bytes=footer_bytes,
                hop_bytes=hop_bytes,
                encoding=encoding,
                name=name,
            )
        )


class TFRecordReader(ReaderBase):
    """Gives the records of TFRecord files (TensorFlow: `tf.TFRecordReader`)."""

    def __init__(self, name: str | None = None, options: Any = None):
        """`options` is a `TFRecordOptions`, a compression name ("", "GZIP", "ZLIB") or None."""
        compression = getattr(options, "compression_type", options)
        names = {None: "", 0: "", 1: "ZLIB", 2: "GZIP"}
        kind = names.get(compression, compression)
        super().__init__(raw.TFRecordReaderV2(compression_type=kind, name=name))


class IdentityReader(ReaderBase):
    """Gives the work items themselves (TensorFlow: `tf.IdentityReader`)."""

    def __init__(self, name: str | None = None):
        super().__init__(raw.IdentityReaderV2(name=name), supports_serialize=True)
