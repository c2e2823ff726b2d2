"""TFRecord files from Python: `tf.python_io.TFRecordWriter`, `TFRecordOptions`, `tf_record_iterator`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from flowmesh.core import errors
from flowmesh.formats.records import RecordReader, RecordWriter
from flowmesh.ops.io_ops import file_errors


class TFRecordCompressionType:
    """How a record file is compressed (TensorFlow: `tf.python_io.TFRecordCompressionType`)."""

    NONE = 0
    ZLIB = 1
    GZIP = 2


_NAMES = {
    TFRecordCompressionType.ZLIB: "ZLIB",
    TFRecordCompressionType.GZIP: "GZIP",
    TFRecordCompressionType.NONE: "",
}


class TFRecordOptions:
    """How a record file is written and read (TensorFlow: `tf.python_io.TFRecordOptions`).

    Of the parameters of zlib the level counts; the others are kept and have no effect on what is read back.
    """

    compression_type_map = _NAMES

    def __init__(
        self,
        compression_type: Any = None,
        flush_mode: int | None = None,
        input_buffer_size: int | None = None,
        output_buffer_size: int | None = None,
        window_bits: int | None = None,
        compression_level: int | None = None,
        compression_method: int | None = None,
        mem_level: int | None = None,
        compression_strategy: int | None = None,
    ) -> None:
        """`compression_type` is "GZIP", "ZLIB", "" or a TFRecordCompressionType; ValueError for another one."""
        self.get_compression_type_string(compression_type)
        self.compression_type = compression_type
        self.flush_mode = flush_mode
        self.input_buffer_size = input_buffer_size
        self.output_buffer_size = output_buffer_size
        self.window_bits = window_bits
        self.compression_level = compression_level
        self.compression_method = compression_method
        self.mem_level = mem_level
        self.compression_strategy = compression_strategy

    @classmethod
    def get_compression_type_string(cls, options: Any) -> str:
        """ "GZIP", "ZLIB" or "" of options, of a TFRecordCompressionType or of a string; ValueError otherwise."""
        if not options:
            return ""
        if isinstance(options, TFRecordOptions):
            return cls.get_compression_type_string(options.compression_type)
        if options in _NAMES:
            return _NAMES[options]
        if options in _NAMES.values():
            return str(options)
        raise ValueError(f'Not a valid compression_type: "{options}"')


class TFRecordWriter:
    """Writes records to a file (TensorFlow: `tf.python_io.TFRecordWriter`); a context manager that closes it."""

    def __init__(self, path: Any, options: Any = None) -> None:
        """`options` are TFRecordOptions or a kind of compression. NotFoundError when the folder does not exist."""
        name = os.fsdecode(path)
        compression = TFRecordOptions.get_compression_type_string(options)
        level = getattr(options, "compression_level", None)
        with file_errors(name):
            self._writer: RecordWriter | None = RecordWriter(
                name, compression, level=-1 if level is None else level
            )

    def __enter__(self) -> TFRecordWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def write(self, record: bytes) -> None:
        """Adds a record; FailedPreconditionError after `close`, TypeError for anything but bytes."""
        if not isinstance(record, (bytes, bytearray, memoryview)):
            raise TypeError(f"expected bytes, {type(record).__name__} found")
        self._open_writer().write(bytes(record))

    def flush(self) -> None:
        """Brings what was written so far to the file."""
        self._open_writer().flush()

    def close(self) -> None:
        """Completes the file; a second call does nothing."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _open_writer(self) -> RecordWriter:
        if self._writer is None:
            raise errors.FailedPreconditionError(
                None, None, "Writer not initialized or previously closed"
            )
        return self._writer


def tf_record_iterator(path: Any, options: Any = None) -> Iterator[bytes]:
    """The records of a file, one by one (TensorFlow: `tf.python_io.tf_record_iterator`).

    Raises NotFoundError when there is no such file, DataLossError where a record is damaged or cut off.
    """
    name = os.fsdecode(path)
    compression = TFRecordOptions.get_compression_type_string(options)
    with file_errors(name), RecordReader(name, compression) as reader:
        yield from reader
