"""Datasets of the records of CSV files.

Lines are taken in blocks whose columns are converted at once. Where that does not work (quotes, missing values, errors), the block's lines are
read field by field, so that an error belongs to one record.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import IO, Any

import numpy as np

from flowmesh.core import dtypes
from flowmesh.core.dtypes import DType
from flowmesh.core.file_policy import FilePolicy
from flowmesh.graph.op_def import Attr, Input, Output
from flowmesh.ops.dataset_base import DatasetOp, invalid, scalar_of, text_of
from flowmesh.ops.dataset_files import Files, checked_compression, checked_filenames, open_plain
from flowmesh.ops.string_numbers import parse_number
from flowmesh.ops.string_support import as_bytes
from flowmesh.resources.datasets import END, DatasetIterator, IterationContext

_BLOCK = 1024
_FLOAT_BYTES = b"0123456789.eE+-"
_INT_BYTES = b"0123456789-"


class CSVRecords(Files):
    """The records of CSV files: one component for each column that is read."""

    compression = ""
    header = False
    delimiter = b","
    quotes = True
    missing = b""
    columns: tuple[int, ...] = ()
    """The numbers of the columns that are read; () for all."""
    defaults: tuple[Any, ...] = ()
    """The value of an empty field of each column that is read; None where there must be one."""

    def __init__(self, types: Any, shapes: Any, names: list[str], files: FilePolicy | None) -> None:
        super().__init__(types, shapes, names, files)

    def iterate(self, context: IterationContext) -> DatasetIterator:
        return _Iterator(self)

    def blocks(self, name: str) -> Iterator[list[bytes]]:
        """The records of a file as text, some at a time."""
        with open_plain(name, self.compression, self.files) as file:
            lines = self._lines(file)
            if self.header:
                next(lines, None)
            while block := list(islice(lines, _BLOCK)):
                yield block

    def _lines(self, file: IO[bytes]) -> Iterator[bytes]:
        """Lines without their ends; one whose quotes are open goes on in the next one."""
        if not self.quotes:
            yield from (line.rstrip(b"\r\n") for line in file)
            return
        for line in file:
            while line.count(b'"') % 2 and (more := file.readline()):
                line += more
            yield line[:-2] if line.endswith(b"\r\n") else line.removesuffix(b"\n")

    def convert(self, block: list[bytes]) -> list[np.ndarray] | None:
        """The columns of a block; None when it has to be read record by record."""
        if self.quotes and any(b'"' in line for line in block):
            return None
        rows = [line.split(self.delimiter) for line in block]
        width = len(rows[0])
        if any(len(row) != width for row in rows):
            return None
        if self.columns:
            if self.columns[-1] >= width:
                return None
            rows = [[row[c] for c in self.columns] for row in rows]
        elif width != len(self.types):
            return None
        columns = []
        for fields, dtype in zip(zip(*rows), self.types):
            column = self._column(fields, dtype)
            if column is None:
                return None
            columns.append(column)
        return columns

    def _column(self, fields: tuple[bytes, ...], dtype: DType) -> np.ndarray | None:
        if b"" in fields or self.missing in fields:
            return None
        if dtype == dtypes.string:
            values = np.empty(len(fields), object)
            values[:] = fields
            return values
        allowed = _INT_BYTES if dtype.is_integer else _FLOAT_BYTES
        if b"".join(fields).translate(None, allowed):
            return None
        try:
            values = np.array(fields).astype(dtype.as_numpy_dtype)
        except (ValueError, OverflowError):
            return None
        if not dtype.is_integer and not np.isfinite(values).all():
            return None
        return values

    def element(self, line: bytes) -> Any:
        """The element of one record."""
        fields = self._fields(line)
        types = self.types
        if self.columns:
            have = sum(column < len(fields) for column in self.columns)
            if have < len(self.columns):
                raise invalid(f"Expect {len(types)} fields but have {have} in record")
            fields = [fields[column] for column in self.columns]
        elif len(fields) > len(types):
            raise invalid(f"Expect {len(types)} fields but have more in record")
        elif len(fields) < len(types):
            raise invalid(f"Expect {len(types)} fields but have {len(fields)} in record")
        return tuple(self._value(i, field, types[i]) for i, field in enumerate(fields))

    def _value(self, number: int, field: bytes, dtype: DType) -> np.ndarray:
        if not field or field == self.missing:
            if self.defaults[number] is None:
                raise invalid(f"Field {number} is required but missing in record!")
            value = self.defaults[number]
        elif dtype == dtypes.string:
            value = field
        else:
            try:
                value = parse_number(field, dtype)
            except Exception:
                kind = {"float32": "float", "float64": "double"}.get(dtype.name, dtype.name)
                text = field.decode("utf-8", "replace")
                raise invalid(f"Field {number} in record is not a valid {kind}: {text}") from None
        out = np.empty((), dtype.as_numpy_dtype)
        out[()] = value
        return out

    def _fields(self, line: bytes) -> list[bytes]:
        if not self.quotes or b'"' not in line:
            return line.split(self.delimiter)
        fields, at = [], 0
        while at <= len(line):
            if line[at : at + 1] == b'"':
                field, at = _quoted(line, at + 1)
                if at < len(line) and line[at : at + 1] != self.delimiter:
                    raise invalid("Quote inside a string has to be escaped by another quote")
            else:
                end = line.find(self.delimiter, at)
                end = len(line) if end < 0 else end
                field, at = line[at:end], end
                if b'"' in field:
                    raise invalid("Unquoted fields cannot have quotes inside")
            fields.append(field)
            at += 1
        return fields


def _quoted(line: bytes, at: int) -> tuple[bytes, int]:
    """The contents of a quoted field that begins at `at`, and where it ends."""
    out = b""
    while True:
        end = line.find(b'"', at)
        if end < 0:
            raise invalid("Reached end of file without closing quoted field in record")
        out += line[at:end]
        if line[end + 1 : end + 2] != b'"':
            return out, end + 1
        out, at = out + b'"', end + 2


class _Iterator(DatasetIterator):
    def __init__(self, dataset: CSVRecords) -> None:
        self._dataset = dataset
        self._at = 0
        self._blocks: Iterator[list[bytes]] | None = None
        self._columns: list[np.ndarray] = []
        self._row = self._rows = 0
        self._raw: Iterator[bytes] = iter(())

    def next_rows(self, count: int) -> Any:
        row = self._row
        if row + count > self._rows:
            return None
        self._row = row + count
        return tuple([column[row : row + count] for column in self._columns])

    def next(self) -> Any:
        while True:
            row = self._row
            if row < self._rows:
                self._row = row + 1
                return tuple([column[row, ...] for column in self._columns])
            for line in self._raw:
                return self._dataset.element(line)
            if not self._more():
                return END

    def _more(self) -> bool:
        """Reads the next block; False behind the last file."""
        dataset = self._dataset
        while self._at < len(dataset.names):
            if self._blocks is None:
                self._blocks = dataset.blocks(dataset.names[self._at])
            try:
                block = next(self._blocks, None)
            except BaseException:
                self._blocks = None
                raise
            if block is not None:
                columns = dataset.convert(block)
                if columns is not None:
                    self._columns, self._row, self._rows = columns, 0, len(block)
                else:
                    self._raw = iter(block)
                return True
            self._blocks = None
            self._at += 1
        return False

    def close(self) -> None:
        self._at = len(self._dataset.names)
        if self._blocks is not None:
            self._blocks.close()  # type: ignore[attr-defined]  # a generator: closes its file
            self._blocks = None


class _CSV(DatasetOp, abstract=True):
    filenames = Input(dtypes.string)
    compression_type = Input(dtypes.string)
    buffer_size = Input(dtypes.int64)
    header = Input(dtypes.bool)
    field_delim = Input(dtypes.string)
    use_quote_delim = Input(dtypes.bool)
    na_value = Input(dtypes.string)
    select_cols = Input(dtypes.int64)
    record_defaults = Input(types="output_types")
    handle = Output(dtypes.variant)
    output_types = Attr("list(type)", minimum=1)
    output_shapes = Attr("list(shape)", minimum=1)
    stateful = True

    def run(  # type: ignore[override]
        self,
        ctx: Any,
        filenames: Any,
        compression: Any,
        buffer_size: Any,
        header: Any,
        delimiter: Any,
        quotes: Any,
        missing: Any,
        select_cols: Any,
        defaults: Any,
    ) -> Any:
        made = CSVRecords(
            self.element_types, self.element_shapes, checked_filenames(filenames), ctx.files
        )
        made.compression = checked_compression(compression)
        if scalar_of(buffer_size, "buffer_size") <= 0:
            raise invalid("buffer_size should be positive")
        made.header = bool(header)
        made.delimiter = text_of(delimiter, "field_delim").encode()
        if len(made.delimiter) != 1:
            raise invalid("field_delim should be only 1 char")
        made.quotes = bool(quotes)
        made.missing = text_of(missing, "na_value").encode()
        made.columns = tuple(int(c) for c in select_cols)
        if any(a >= b for a, b in zip(made.columns, made.columns[1:])):
            raise invalid("select_cols should be strictly increasing indices")
        if made.columns and made.columns[0] < 0:
            raise invalid("select_cols should be non-negative indices")
        if made.columns and len(made.columns) != len(defaults):
            raise invalid("select_cols should match output size")
        made.defaults = tuple(_default(d) for d in defaults)
        return made


def _default(value: Any) -> Any:
    array = np.asarray(value)
    if array.ndim > 1 or array.size > 1:
        raise invalid("Each record default should be at most rank 1 and have at most one element")
    if not array.size:
        return None
    item = array.reshape(-1)[0]
    return as_bytes(item) if array.dtype == object else item


class CSVDataset(_CSV):
    """The records of CSV files."""


class ExperimentalCSVDataset(_CSV):
    """An older name of CSVDataset."""
