"""Ops that parse Example messages: ParseExample, ParseSingleExample, DecodeJSONExample, DecodeCompressed."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from google.protobuf import json_format

from flowmesh.core import errors
from flowmesh.core.dtypes import DType, float32, int64, string
from flowmesh.core.shapes import TensorShape
from flowmesh.graph.op_def import Attr, Input, OpDef, Output
from flowmesh.ops.array_support import invalid
from flowmesh.ops.example_values import (
    as_vector,
    check_lengths,
    check_number,
    decoded,
    elements,
    feature_of,
    is_variable,
    padded,
    ragged,
    shape_text,
    type_text,
    values_of,
)
from flowmesh.ops.shape_rules import scalar_input, with_rank
from flowmesh.ops.string_support import map_strings
from flowmesh.proto.example_pb2 import Example

FEATURE_TYPES = (float32, int64, string)


def _texts(tensors: Sequence[Any]) -> list[bytes]:
    return [np.asarray(t, object).item() for t in tensors]


def list_of_shapes(count: int, *dims: int | None) -> list[TensorShape]:
    """The same shape `count` times."""
    return [TensorShape(list(dims)) for _ in range(count)]


# -- batches ---------------------------------------------------------------------------------------------


class _Columns:
    """How the features of several examples become dense columns; knows the names for errors."""

    def __init__(self, names: Any) -> None:
        flat = np.asarray(names, object).reshape(-1).tolist()
        self._names = [bytes(n).decode("utf-8", "replace") for n in flat]

    def name(self, row: int) -> str:
        return self._names[row] if row < len(self._names) and self._names[row] else "<unknown>"

    def sparse(self, row: int, feature: Any, key: bytes, dtype: DType) -> np.ndarray:
        """The values of a feature of any length."""
        found, values = values_of(feature)
        if found is not None and found != dtype:
            raise invalid(
                f"Name: {self.name(row)}, Key: {key.decode()}, Index: {row}.  Data types don't match. Expected type: "
                f"{type_text(dtype)}, Actual type: {type_text(found)}"
            )
        return as_vector(values, dtype)

    def dense(
        self, row: int, feature: Any, key: bytes, dtype: DType, shape: TensorShape, default: Any
    ) -> np.ndarray:
        """The values of a feature of one shape, or of any number of rows of a shape."""
        start = f"Name: {self.name(row)}, Key: {key.decode()}, Index: {row}.  "
        found, values = values_of(feature)
        size = elements(shape)
        if found is None:
            if is_variable(shape):
                return as_vector([], dtype)
            if not np.size(default) and size:
                raise invalid(
                    f"Name: {self.name(row)}, Feature: {key.decode()} (data type: {type_text(dtype)}) is required "
                    "but could not be found."
                )
            return np.asarray(default).reshape(-1)
        if found != dtype:
            raise invalid(
                f"{start}Data types don't match. Data type: {type_text(found)} but expected type: {type_text(dtype)}"
            )
        if is_variable(shape):
            if size and len(values) % size:
                raise invalid(
                    f"{start}Number of {type_text(dtype)} values is not a multiple of stride length. Saw "
                    f"{len(values)} values but output shape is: {shape_text(shape)}"
                )
        elif len(values) != size:
            raise invalid(
                f"{start}Number of {type_text(dtype)} values != expected.  Values size: {len(values)} but output "
                f"shape: {shape_text(shape)}"
            )
        return as_vector(values, dtype)


def stacked(parts: Sequence[np.ndarray], dtype: DType, shape: TensorShape, default: Any) -> Any:
    """The dense column of a batch."""
    if is_variable(shape):
        inner = [d or 0 for d in shape.as_list()[1:]]
        return padded(parts, inner, np.asarray(default).reshape(-1)[0], dtype)
    sizes = [d or 0 for d in shape.as_list()]
    if not len(parts):
        return as_vector([], dtype).reshape(0, *sizes)
    return np.stack(parts).reshape(len(parts), *sizes)


class ParseExample(OpDef):
    """Features of a batch of serialized Examples."""

    serialized = Input(string)
    names = Input(string)
    sparse_keys = Input(string, number="Nsparse")
    dense_keys = Input(string, number="Ndense")
    dense_defaults = Input(types="Tdense")
    sparse_indices = Output(int64, number="Nsparse")
    sparse_values = Output(types="sparse_types")
    sparse_shapes = Output(int64, number="Nsparse")
    dense_values = Output(types="Tdense")
    Nsparse = Attr("int", minimum=0)
    Ndense = Attr("int", minimum=0)
    sparse_types = Attr("list(type)", minimum=0, allowed=FEATURE_TYPES)
    Tdense = Attr("list(type)", minimum=0, allowed=FEATURE_TYPES)
    dense_shapes = Attr("list(shape)", minimum=0)
    slow = True
    numpy_only = True
    NotDifferentiable = True

    def infer(self, ctx: Any, serialized: TensorShape, *_: Any) -> Any:
        batch = with_rank(serialized, 1)
        a = self.attrs
        count = a["Nsparse"]
        check_lengths("sparse", count, types=len(a["sparse_types"]))
        types, shapes = len(a["Tdense"]), len(a["dense_shapes"])
        check_lengths("dense", a["Ndense"], types=types, shapes=shapes)
        return (
            list_of_shapes(count, None, 2),
            list_of_shapes(count, None),
            list_of_shapes(count, 2),
            [batch.concatenate(shape) for shape in self.attrs["dense_shapes"]],
        )

    def compute(self, xp: Any, *inputs: Any) -> Any:
        serialized, names, sparse_keys, dense_keys, defaults = inputs
        attrs, columns = self.attrs, _Columns(names)
        examples = [decoded(Example, data).features for data in np.asarray(serialized, object)]
        indices: list[Any] = []
        values: list[Any] = []
        shapes: list[Any] = []
        for key, dtype in zip(_texts(sparse_keys), attrs["sparse_types"]):
            parts = [
                columns.sparse(row, feature_of(features, key), key, dtype)
                for row, features in enumerate(examples)
            ]
            for target, part in zip((indices, values, shapes), ragged(parts, dtype)):
                target.append(part)
        dense = []
        specs = zip(_texts(dense_keys), attrs["Tdense"], attrs["dense_shapes"], defaults)
        for key, dtype, shape, default in specs:
            parts = [
                columns.dense(row, feature_of(features, key), key, dtype, shape, default)
                for row, features in enumerate(examples)
            ]
            dense.append(stacked(parts, dtype, shape, default))
        return indices, values, shapes, dense


# -- one example -----------------------------------------------------------------------------------------


class ParseSingleExample(OpDef):
    """Features of one serialized Example."""

    serialized = Input(string)
    dense_defaults = Input(types="Tdense")
    sparse_indices = Output(int64, number="num_sparse")
    sparse_values = Output(types="sparse_types")
    sparse_shapes = Output(int64, number="num_sparse")
    dense_values = Output(types="Tdense")
    num_sparse = Attr("int", minimum=0)
    sparse_keys = Attr("list(string)", minimum=0)
    dense_keys = Attr("list(string)", minimum=0)
    sparse_types = Attr("list(type)", minimum=0, allowed=FEATURE_TYPES)
    Tdense = Attr("list(type)", minimum=0, allowed=FEATURE_TYPES)
    dense_shapes = Attr("list(shape)", minimum=0)
    numpy_only = True
    NotDifferentiable = True

    def infer(self, ctx: Any, serialized: TensorShape, *_: Any) -> Any:
        scalar_input(serialized)
        a = self.attrs
        count = a["num_sparse"]
        keys, types = len(a["sparse_keys"]), len(a["sparse_types"])
        check_number("sparse", count, keys=keys, types=types)
        types, shapes = len(a["Tdense"]), len(a["dense_shapes"])
        check_lengths("dense", len(a["dense_keys"]), types=types, shapes=shapes)
        return (
            list_of_shapes(count, None, 1),
            list_of_shapes(count, None),
            list_of_shapes(count, 1),
            list(self.attrs["dense_shapes"]),
        )

    def compute(self, xp: Any, *inputs: Any) -> Any:
        serialized, defaults = inputs
        attrs = self.attrs
        features = decoded(Example, np.asarray(serialized, object).item()).features
        indices, values, shapes = [], [], []
        for key, dtype in zip(attrs["sparse_keys"], attrs["sparse_types"]):
            found, items = values_of(feature_of(features, key))
            if found is not None and found != dtype:
                raise invalid(
                    f"Key: {key.decode()}.  Data types don't match. Expected type: {type_text(dtype)}, Actual type: "
                    f"{type_text(found)}"
                )
            indices.append(np.arange(len(items), dtype=np.int64).reshape(-1, 1))
            values.append(as_vector(items, dtype))
            shapes.append(np.array([len(items)], np.int64))
        dense = [
            _dense_single(feature_of(features, key), key, dtype, shape, default)
            for key, dtype, shape, default in zip(
                attrs["dense_keys"], attrs["Tdense"], attrs["dense_shapes"], defaults
            )
        ]
        return indices, values, shapes, dense


def _dense_single(
    feature: Any, key: bytes, dtype: DType, shape: TensorShape, default: Any
) -> np.ndarray:
    found, values = values_of(feature)
    size, sizes = elements(shape), [-1 if d is None else d for d in shape.as_list()]
    if found is None:
        if is_variable(shape):
            return as_vector([], dtype).reshape(0, *sizes[1:])
        if not np.size(default) and size:
            raise invalid(
                f"Feature: {key.decode()} (data type: {type_text(dtype)}) is required but could not be found."
            )
        return np.asarray(default).reshape(sizes)
    if found != dtype:
        raise invalid(
            f"Key: {key.decode()}.  Data types don't match. Data type: {type_text(found)} but expected type: "
            f"{type_text(dtype)}"
        )
    fits = len(values) % max(size, 1) == 0 if is_variable(shape) else len(values) == size
    if not fits:
        raise invalid(f"Key: {key.decode()}.  Can't parse serialized Example.")
    return as_vector(values, dtype).reshape(sizes)


# -- other decoders --------------------------------------------------------------------------------------


class DecodeJSONExample(OpDef):
    """Examples in JSON as serialized Examples."""

    json_examples = Input(string)
    binary_examples = Output(string)
    slow = True
    numpy_only = True
    NotDifferentiable = True

    def infer(self, ctx: Any, json_examples: TensorShape) -> TensorShape:
        return json_examples

    def compute(self, xp: Any, *inputs: Any) -> Any:
        def convert(text: bytes) -> bytes:
            try:
                message = json_format.Parse(text, Example())
            except (json_format.ParseError, UnicodeDecodeError) as error:
                raise invalid(f"Error while parsing JSON: {error}") from None
            data: bytes = message.SerializeToString(deterministic=True)
            return data

        return map_strings(convert, inputs[0])


_WINDOW_BITS = {b"ZLIB": zlib.MAX_WBITS, b"GZIP": zlib.MAX_WBITS | 16}


class DecodeCompressed(OpDef):
    """Each string out of zlib or gzip compression."""

    bytes = Input(string)
    output = Output(string)
    compression_type = Attr("string", "")
    slow = True
    numpy_only = True
    NotDifferentiable = True

    def infer(self, ctx: Any, bytes: TensorShape) -> TensorShape:
        return bytes

    def compute(self, xp: Any, *inputs: Any) -> Any:
        kind = self.attrs["compression_type"]
        if kind not in (b"", b"ZLIB", b"GZIP"):
            raise invalid("Only ZLIB, GZIP or NONE are supported compressions")
        if not kind:
            return inputs[0]

        def inflate(data: Any) -> Any:
            try:
                return zlib.decompress(data, _WINDOW_BITS[kind])
            except zlib.error as error:
                reason = (
                    str(error).replace("Error", "error").replace(" while decompressing data", "")
                )
                raise errors.DataLossError(None, None, f"inflate() failed with {reason}") from None

        return map_strings(inflate, inputs[0])
