"""DecodeCSV: lines of comma-separated values to tensors."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from flowmesh.core.dtypes import float32, float64, int32, int64, string
from flowmesh.core.shapes import TensorShape
from flowmesh.formats.decimal_fields import nearest_single
from flowmesh.graph.op_def import Attr, Input, OpDef, Output
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.array_support import dims_of, invalid
from flowmesh.ops.csv_blocks import CsvBlock
from flowmesh.ops.string_numbers import parse_number
from flowmesh.ops.string_support import as_bytes, strings

_SEVERAL = 8  # lines from which on it may be worth to look at the text as a whole


def _fields(line: bytes, delimiter: int, quotes: bool) -> list[bytes]:
    """The fields of one line."""
    fields: list[bytes] = []
    at, size = 0, len(line)
    while at <= size:
        if quotes and at < size and line[at] == 0x22:
            field, at = _quoted(line, at + 1)
            if at < size and line[at] != delimiter:
                raise invalid("Quote inside a string has to be escaped by another quote")
        else:
            end = line.find(delimiter, at)
            end = size if end < 0 else end
            field, at = line[at:end], end
            if quotes and any(c in field for c in b'"\n\r'):
                raise invalid("Unquoted fields cannot have quotes/CRLFs inside")
        fields.append(field)
        at += 1
    return fields


def _quoted(line: bytes, at: int) -> tuple[bytes, int]:
    """(the contents of a quoted field that starts at `at`, where it ends)."""
    out = bytearray()
    while True:
        end = line.find(b'"', at)
        if end < 0:
            raise invalid("Quoted field has to end with quote followed by delim or end")
        out += line[at:end]
        if line[end + 1 : end + 2] == b'"':
            out += b'"'
            at = end + 2
            continue
        return bytes(out), end + 1


def _is_foreign(text: bytes) -> bool:
    """Whether there is something that Python's numbers may hold and TensorFlow's may not."""
    return b"_" in text or b"+" in text


def _converted(column: Sequence[bytes], dtype: Any, foreign: bool) -> Sequence[Any] | None:
    """A column's values; None when one of them is not plainly a number of this type. `foreign`: what `_is_foreign` says of the records."""
    if dtype == string or not column:
        return column
    if foreign and _is_foreign(b"".join(column)):
        return None
    try:
        values = list(map(int if dtype.is_integer else float, column))
    except ValueError:
        return None
    if dtype == float32:
        return list(map(nearest_single, column, values))
    if dtype.is_integer and not dtype.min <= min(values) <= max(values) <= dtype.max:
        return None
    return values


class DecodeCSV(OpDef):
    """The columns of CSV records."""

    records = Input(string)
    record_defaults = Input(types="OUT_TYPE")
    output = Output(types="OUT_TYPE")
    OUT_TYPE = Attr("list(type)", allowed=(float32, float64, int32, int64, string), minimum=1)
    field_delim = Attr("string", b",")
    use_quote_delim = Attr("bool", True)
    na_value = Attr("string", b"")
    select_cols = Attr("list(int)", ())
    slow = True
    numpy_only = True

    def infer(self, ctx: Any, records: TensorShape, record_defaults: Any) -> Any:
        for shape in record_defaults:
            dims = dims_of(shape)
            if dims is None:
                continue
            if len(dims) > 1:
                raise ValueError(f"Shape must be at most rank 1 but is rank {len(dims)}")
            if len(dims) == 1 and dims[0] is not None and dims[0] > 1:
                raise ValueError(
                    "Shape of a default must be a length-0 or length-1 vector, or a scalar."
                )
        return [[records] * len(record_defaults)]

    def compute(self, xp: Any, records: Any, record_defaults: Any) -> Any:
        lines = np.asarray(records, object)
        delimiter = self.attrs["field_delim"]
        if len(delimiter) != 1:
            raise invalid("field_delim should be only 1 char")
        flat = lines.reshape(-1).tolist()
        if set(map(type, flat)) - {bytes}:
            flat = [as_bytes(line) for line in flat]
        columns = self._plain(flat, record_defaults)
        if columns is None:
            columns = self._careful(flat, record_defaults)
        outputs = []
        for values, dtype in zip(columns, self.attrs["OUT_TYPE"]):
            if dtype == string:
                outputs.append(strings(values, lines.shape))
            else:
                outputs.append(np.asarray(values, dtype.as_numpy_dtype).reshape(lines.shape))
        return (outputs,)

    def _plain(self, lines: list[bytes], record_defaults: Any) -> list[Any] | None:
        """The columns, each converted as a whole; None for what is to be read with more care: empty lines, quotes, missing and bad fields."""
        text = b"".join(lines) if len(lines) != 1 else lines[0]
        quotes = b'"' in text or b"\n" in text or b"\r" in text
        if not lines or b"" in lines or (quotes and self.attrs["use_quote_delim"]):
            return None
        delimiter, chosen = self.attrs["field_delim"], self.attrs["select_cols"]
        types = self.attrs["OUT_TYPE"]
        if len(lines) >= _SEVERAL:
            block = CsvBlock(delimiter, types, chosen, self.attrs["na_value"], record_defaults)
            at_once = block.columns(lines) if block.is_worth(len(lines)) else None
            if at_once is not None:
                return at_once
        foreign = _is_foreign(text)
        rows = [line.split(delimiter) for line in lines]
        widths = set(map(len, rows))
        if (max(chosen) >= min(widths)) if chosen else (widths != {len(types)}):
            return None
        columns = list(zip(*rows))
        if chosen:
            columns = [columns[c] for c in chosen]
        found: list[Any] = []
        for column, dtype in zip(columns, types):
            if b"" in column or self.attrs["na_value"] in column:
                return self._filled(columns, record_defaults, foreign)
            values = _converted(column, dtype, foreign)
            if values is None:
                return None
            found.append(values)
        return found

    def _filled(self, columns: list[Any], record_defaults: Any, foreign: bool) -> list[Any] | None:
        """The same where fields are missing."""
        absent = {b"", self.attrs["na_value"]}
        found: list[Any] = []
        for column, dtype, default in zip(columns, self.attrs["OUT_TYPE"], record_defaults):
            present = [field for field in column if field not in absent]
            values = _converted(present, dtype, foreign)
            if values is None:
                return None
            if len(present) < len(column):
                fill = np.asarray(default).reshape(-1)
                if not fill.size:
                    return None
                item = as_bytes(fill[0]) if dtype == string else fill[0]
                left = iter(values)
                values = [item if field in absent else next(left) for field in column]
            found.append(values)
        return found

    def _careful(self, lines: list[bytes], record_defaults: Any) -> list[Any]:
        """The columns, field by field in the order of the records: the first bad field is the one that is told."""
        types = self.attrs["OUT_TYPE"]
        delimiter = self.attrs["field_delim"][0]
        defaults = [np.asarray(d).reshape(-1) for d in record_defaults]
        columns: list[list[Any]] = [[] for _ in types]
        for row, line in enumerate(lines):
            fields = self._row(line, delimiter, len(types), row)
            for i, (field, dtype) in enumerate(zip(fields, types)):
                columns[i].append(self._value(field, dtype, defaults[i], i, row))
        return columns

    def _row(self, line: bytes, delimiter: int, count: int, row: int) -> list[bytes]:
        fields = _fields(line, delimiter, self.attrs["use_quote_delim"]) if line else []
        chosen = self.attrs["select_cols"]
        if chosen:
            if max(chosen) >= len(fields):
                raise invalid(
                    f"Expect {count} fields but have {sum(c < len(fields) for c in chosen)} in record {row}"
                )
            return [fields[c] for c in chosen]
        if len(fields) != count:
            raise invalid(f"Expect {count} fields but have {len(fields)} in record {row}")
        return fields

    def _value(self, field: bytes, dtype: Any, default: Any, i: int, row: int) -> Any:
        if not field or field == self.attrs["na_value"]:
            if not default.size:
                raise invalid(f"Field {i} is required but missing in record {row}!")
            return as_bytes(default[0]) if dtype == string else default[0]
        if dtype == string:
            return field
        try:
            return parse_number(field, dtype)
        except Exception:
            kind = {"float32": "float", "float64": "double"}.get(dtype.name, dtype.name)
            raise invalid(
                f"Field {i} in record {row} is not a valid {kind}: {field.decode('utf-8', 'replace')}"
            ) from None


def decode_csv(
    records: Any,
    record_defaults: Any,
    field_delim: str = ",",
    use_quote_delim: bool = True,
    name: str | None = None,
    na_value: str = "",
    select_cols: Any = None,
) -> list[Tensor]:
    """One tensor, shaped like `records`, for each column of the CSV lines `records` (tf.decode_csv, tf.io.decode_csv).

    Args:
      record_defaults: for each column a scalar or vector of one (its dtype and value for empty fields) or of none (required).
      na_value: another text that stands for an empty field.
      select_cols: the increasing numbers of the columns to read (default: all).

    Raises ValueError for unsorted `select_cols`; bad lines raise InvalidArgumentError when run.
    """
    if select_cols is not None and any(a >= b for a, b in itertools.pairwise(select_cols)):
        raise ValueError("select_cols is not strictly increasing.")
    if select_cols is not None and select_cols[0] < 0:
        raise ValueError("select_cols contains negative values.")
    if select_cols is not None and len(select_cols) != len(record_defaults):
        raise ValueError("Length of select_cols and record_defaults do not match.")
    return raw.DecodeCSV(
        records,
        record_defaults,
        field_delim=field_delim,
        use_quote_delim=use_quote_delim,
        na_value=na_value,
        select_cols=list(select_cols or ()),
        name=name,
    )
