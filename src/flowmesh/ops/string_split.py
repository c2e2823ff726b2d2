"""StringSplit: strings cut at delimiters into a SparseTensor."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from flowmesh.core.dtypes import int64, string
from flowmesh.core.shapes import TensorShape, unknown_shape
from flowmesh.graph.composite import SparseTensor
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.op_def import Attr, Input, OpDef, Output
from flowmesh.graph.raw import raw
from flowmesh.ops.array_support import invalid, with_rank
from flowmesh.ops.constant import constant
from flowmesh.ops.naming import name_scope
from flowmesh.ops.string_support import as_bytes, strings


def _sparse(rows: list[list[bytes]]) -> tuple[Any, Any, Any]:
    """The coordinates, values and shape of ragged rows."""
    where = [(i, j) for i, row in enumerate(rows) for j in range(len(row))]
    indices = np.array(where, np.int64).reshape(len(where), 2)
    values = strings([piece for row in rows for piece in row], [len(where)])
    width = max((len(row) for row in rows), default=0)
    return indices, values, np.array([len(rows), width], np.int64)


def _shapes() -> Any:
    return TensorShape([None, 2]), unknown_shape(rank=1), TensorShape([2])


class StringSplit(OpDef):
    """Each string cut at any byte of `delimiter` (at every byte when empty)."""

    input = Input(string)
    delimiter = Input(string)
    indices = Output(int64)
    values = Output(string)
    shape = Output(int64)
    skip_empty = Attr("bool", True)
    numpy_only = True
    NotDifferentiable = True

    def infer(self, ctx: Any, input: TensorShape, delimiter: TensorShape) -> Any:
        with_rank(input, 1)
        with_rank(delimiter, 0)
        return _shapes()

    def compute(self, xp: Any, input: Any, delimiter: Any) -> Any:
        if np.ndim(input) != 1:
            raise invalid(f"input must be a vector, got shape: {list(np.shape(input))}")
        marks = as_bytes(np.asarray(delimiter, object).item())
        return _sparse([self._cut(as_bytes(v), marks) for v in np.asarray(input, object)])

    def _cut(self, text: bytes, marks: bytes) -> list[bytes]:
        if not marks:
            return [text[i : i + 1] for i in range(len(text))]
        pieces = re.split(b"[" + re.escape(marks) + b"]", text)
        return [p for p in pieces if p] if self.attrs["skip_empty"] else pieces


class StringSplitV2(OpDef):
    """Each string cut at the string `sep`, or at white space when it is empty."""

    input = Input(string)
    sep = Input(string)
    indices = Output(int64)
    values = Output(string)
    shape = Output(int64)
    maxsplit = Attr("int", -1)
    numpy_only = True

    def infer(self, ctx: Any, input: TensorShape, sep: TensorShape) -> Any:
        with_rank(input, 1)
        with_rank(sep, 0)
        return _shapes()

    def compute(self, xp: Any, input: Any, sep: Any) -> Any:
        mark = as_bytes(np.asarray(sep, object).item()) or None
        limit = self.attrs["maxsplit"]
        return _sparse([as_bytes(v).split(mark, limit) for v in np.asarray(input, object)])


def string_split(
    source: Any, delimiter: Any = " ", skip_empty: bool = True, sep: Any = None
) -> SparseTensor:
    """The strings of the vector `source` cut at any byte of `delimiter`, as a SparseTensor [n, most pieces]
    (tf.string_split). With `skip_empty` empty pieces are left out; an empty delimiter cuts at every byte."""
    delimiter = delimiter if sep is None else sep
    with name_scope(None, "StringSplit", [source]):
        delimiter = convert_to_tensor(delimiter, string)
        source = convert_to_tensor(source, string)
        found = raw.StringSplit(source, delimiter, skip_empty=skip_empty)
        indices, values, shape = found
        indices.set_shape([None, 2])
        values.set_shape([None])
        shape.set_shape([2])
        return SparseTensor(indices, values, shape)


def string_split_v2(
    source: Any, sep: Any = None, maxsplit: int = -1, name: str | None = None
) -> SparseTensor:
    """The strings of the vector `source` cut at the string `sep` (white space by default) at most `maxsplit` times."""
    with name_scope(name, "StringSplit", [source]):
        mark = constant("" if sep is None else sep) if not hasattr(sep, "op") else sep
        return SparseTensor(*raw.StringSplitV2(source, mark, maxsplit=maxsplit))
