"""Datasets of the records of files: lines, TFRecords, records of a fixed size."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from flowmesh.core import dtypes, errors
from flowmesh.core.file_policy import FilePolicy
from flowmesh.core.shapes import scalar
from flowmesh.formats.records import RecordReader
from flowmesh.graph.op_def import Input, Output
from flowmesh.ops.dataset_base import DatasetOp, invalid, scalar_of, text_of
from flowmesh.ops.io_ops import file_errors
from flowmesh.resources.datasets import END, Dataset, DatasetIterator, IterationContext


def open_plain(path: str, compression: str, files: FilePolicy | None) -> IO[bytes]:
    """The decompressed contents of a file, to be read; TensorFlow's errors for one that cannot be opened."""
    with file_errors(path, files):
        file = open(path, "rb")  # noqa: SIM115 - closed by whoever reads it
    if compression == "GZIP":
        return gzip.GzipFile("", "rb", fileobj=file)  # type: ignore[return-value]
    if compression == "ZLIB":
        with file:
            try:
                return io.BytesIO(zlib.decompress(file.read()))
            except zlib.error as error:
                raise errors.DataLossError(None, None, f"{path}: {error}") from error
    return file


def checked_compression(value: Any) -> str:
    """The compression type that a tensor holds; InvalidArgumentError for an unknown one."""
    compression = text_of(value, "compression_type")
    if compression not in ("", "GZIP", "ZLIB"):
        raise invalid("Unsupported compression_type.")
    return compression


def checked_filenames(value: Any) -> list[str]:
    """The file names in a scalar or vector."""
    if np.ndim(value) > 1:
        raise invalid("`filenames` must be a scalar or a vector.")
    return [os.fsdecode(name) for name in np.asarray(value, object).reshape(-1)]


class Files(Dataset):
    """The records of files, one file after the other."""

    def __init__(self, types: Any, shapes: Any, names: list[str], files: FilePolicy | None) -> None:
        super().__init__(types, shapes)
        self.names = names
        self.files = files

    def iterate(self, context: IterationContext) -> DatasetIterator:
        return _FilesIterator(self)

    def records(self, name: str) -> Iterator[Any]:
        """The elements of one file. Opens it before the first one."""
        raise NotImplementedError


class _FilesIterator(DatasetIterator):
    """A file that cannot be opened is tried again each time; one that is broken is left for the next one."""

    def __init__(self, dataset: Files) -> None:
        self._dataset = dataset
        self._at = 0
        self._records: Iterator[Any] | None = None
        self._begun = False

    def next(self) -> Any:
        while self._at < len(self._dataset.names):
            if self._records is None:
                self._records = self._dataset.records(self._dataset.names[self._at])
                self._begun = False
            try:
                element = next(self._records, END)
            except BaseException:
                self._records = None
                self._at += self._begun
                raise
            if element is not END:
                self._begun = True
                return element
            self._records = None
            self._at += 1
        return END

    def close(self) -> None:
        self._at = len(self._dataset.names)
        if self._records is not None:
            self._records.close()  # type: ignore[attr-defined]  # a generator: closes its file
            self._records = None


def string_element(value: bytes) -> tuple[np.ndarray]:
    """An element of one string."""
    out = np.empty((), object)
    out[()] = value
    return (out,)


class _Strings(Files):
    def __init__(self, names: list[str], compression: str, files: FilePolicy | None) -> None:
        super().__init__((dtypes.string,), (scalar(),), names, files)
        self.compression = compression


class _TextLines(_Strings):
    def records(self, name: str) -> Iterator[Any]:
        with open_plain(name, self.compression, self.files) as file:
            for line in file:
                yield string_element(line.rstrip(b"\n").replace(b"\r", b""))


class TextLineDataset(DatasetOp):
    """The lines of text files."""

    filenames = Input(dtypes.string)
    compression_type = Input(dtypes.string)
    buffer_size = Input(dtypes.int64)
    handle = Output(dtypes.variant)
    stateful = True

    def run(self, ctx: Any, filenames: Any, compression: Any, buffer_size: Any) -> Any:  # type: ignore[override]
        if scalar_of(buffer_size, "buffer_size") < 0:
            raise invalid("`buffer_size` must be >= 0 (0 == default)")
        return _TextLines(checked_filenames(filenames), checked_compression(compression), ctx.files)


class _TFRecords(_Strings):
    def records(self, name: str) -> Iterator[Any]:
        with file_errors(name, self.files):
            reader = RecordReader(name, self.compression)
        with reader:
            for record in reader:
                yield string_element(record)


class TFRecordDataset(DatasetOp):
    """The records of TFRecord files."""

    filenames = Input(dtypes.string)
    compression_type = Input(dtypes.string)
    buffer_size = Input(dtypes.int64)
    handle = Output(dtypes.variant)
    stateful = True

    def run(self, ctx: Any, filenames: Any, compression: Any, buffer_size: Any) -> Any:  # type: ignore[override]
        if scalar_of(buffer_size, "buffer_size") < 0:
            raise invalid("`buffer_size` must be >= 0 (0 == no buffering)")
        return _TFRecords(checked_filenames(filenames), checked_compression(compression), ctx.files)


class _FixedLength(_Strings):
    header = record = footer = 0

    def records(self, name: str) -> Iterator[Any]:
        with open_plain(name, self.compression, self.files) as file:
            data = file.read()
        body = len(data) - self.header - self.footer
        if body % self.record:
            raise invalid(
                f'Excluding the header ({self.header} bytes) and footer ({self.footer} bytes), input file "{name}" has body '
                f"length {body} bytes, which is not an exact multiple of the record length ({self.record} bytes)."
            )
        for start in range(self.header, self.header + body, self.record):
            yield string_element(data[start : start + self.record])


def _fixed(
    ctx: Any, filenames: Any, header: Any, record: Any, footer: Any, compression: str
) -> Dataset:
    made = _FixedLength(checked_filenames(filenames), compression, ctx.files)
    made.header = scalar_of(header, "header_bytes")
    made.record = scalar_of(record, "record_bytes")
    made.footer = scalar_of(footer, "footer_bytes")
    if made.header < 0:
        raise invalid("header_bytes must be >= 0")
    if made.record <= 0:
        raise invalid("record_bytes must be > 0")
    if made.footer < 0:
        raise invalid("footer_bytes must be >= 0")
    return made


class FixedLengthRecordDataset(DatasetOp):
    """The records of files of records of one size."""

    filenames = Input(dtypes.string)
    header_bytes = Input(dtypes.int64)
    record_bytes = Input(dtypes.int64)
    footer_bytes = Input(dtypes.int64)
    buffer_size = Input(dtypes.int64)
    handle = Output(dtypes.variant)
    stateful = True

    def run(
        self, ctx: Any, filenames: Any, header: Any, record: Any, footer: Any, size: Any
    ) -> Any:  # type: ignore[override]
        return _fixed(ctx, filenames, header, record, footer, "")


class FixedLengthRecordDatasetV2(DatasetOp):
    """As FixedLengthRecordDataset, of files that may be compressed."""

    filenames = Input(dtypes.string)
    header_bytes = Input(dtypes.int64)
    record_bytes = Input(dtypes.int64)
    footer_bytes = Input(dtypes.int64)
    buffer_size = Input(dtypes.int64)
    compression_type = Input(dtypes.string)
    handle = Output(dtypes.variant)
    stateful = True

    def run(  # type: ignore[override]
        self, ctx: Any, filenames: Any, header: Any, record: Any, footer: Any, size: Any, kind: Any
    ) -> Any:
        return _fixed(ctx, filenames, header, record, footer, checked_compression(kind))
