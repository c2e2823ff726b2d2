"""Sparse tensors in other forms: as strings (SerializeSparse ...) and as handles of a map (AddSparseToTensorsMap ...)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from flowmesh.core import dtypes
from flowmesh.core.dtypes import int64, string
from flowmesh.core.shapes import TensorShape, scalar, unknown_shape, vector
from flowmesh.formats.tensor import from_tensor_proto, to_tensor_proto
from flowmesh.graph.composite import SparseTensor, SparseTensorValue
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.array_support import invalid
from flowmesh.ops.io_ops import string_scalar, string_vector
from flowmesh.ops.shape_rules import with_rank
from flowmesh.proto.tensor_pb2 import TensorProto
from flowmesh.resources.messages import dtype_string, shape_string
from flowmesh.resources.sparse_map import Sparse, SparseTensorsMap

# -- what all share --------------------------------------------------------------------------------------


def _checked(indices: Any, values: Any, shape: Any) -> Sparse:
    """The parts of a sparse tensor; InvalidArgumentError where they do not fit together."""
    indices, values, shape = np.asarray(indices), np.asarray(values), np.asarray(shape)
    if indices.ndim != 2:
        raise invalid(
            f"Input indices should be a matrix but received shape {shape_string(indices.shape)}"
        )
    if values.ndim != 1:
        raise invalid(
            f"Input values should be a vector but received shape {shape_string(values.shape)}"
        )
    if shape.ndim != 1:
        raise invalid(
            f"Input shape should be a vector but received shape {shape_string(shape.shape)}"
        )
    return indices, values, tuple(int(d) for d in shape)


def _rows(indices: Any, values: Any, shape: tuple[int, ...]) -> list[Sparse]:
    """The rows of a sparse tensor (by its first dimension), without that dimension."""
    if len(shape) <= 1:
        raise invalid(f"Rank of input SparseTensor should be > 1, but saw rank: {len(shape)}")
    listed = ",".join(map(str, shape))
    previous: tuple[int, ...] = ()
    for i, row in enumerate(map(tuple, indices.tolist())):
        shown = ",".join(map(str, row))
        if any(not 0 <= v < d for v, d in zip(row, shape)):
            raise invalid(
                f"indices[{i}] = [{shown}] is out of bounds: need 0 <= index < [{listed}]"
            )
        if row == previous:
            raise invalid(f"indices[{i}] = [{shown}] is repeated")
        if row < previous:
            raise invalid(
                f"indices[{i}] = [{shown}] is out of order. Many sparse ops require sorted indices.\n"
                "    Use `tf.sparse.reorder` to create a correctly ordered copy.\n\n"
            )
        previous = row
    cuts = np.searchsorted(indices[:, 0], np.arange(shape[0] + 1))
    return [(indices[a:b, 1:], values[a:b], shape[1:]) for a, b in itertools.pairwise(cuts)]


def _stacked(tensors: Sequence[Sparse], dtype: Any) -> tuple[Any, Any, Any]:
    """Sparse tensors of one rank as one, along a new first dimension; its other sizes are the largest."""
    rank = len(tensors[0][2])
    shape = np.zeros(rank, np.int64)
    parts = []
    for i, (indices, values, dims) in enumerate(tensors):
        if values.dtype != np.dtype(dtype.as_numpy_dtype):
            raise invalid(
                f"Requested SparseTensor of type {dtype_string(dtype)} but SparseTensor[{i}].values.dtype() == "
                f"{dtype_string(dtypes.as_dtype(values.dtype))}"
            )
        if len(dims) != rank:
            raise invalid(
                f"Inconsistent rank across SparseTensors: rank prior to SparseTensor[{i}] was: {rank + 1} but rank "
                f"of SparseTensor[{i}] is: {len(dims) + 1}"
            )
        shape = np.maximum(shape, dims)
        first = np.full((len(indices), 1), i, np.int64)
        parts.append(np.concatenate([first, np.asarray(indices, np.int64).reshape(-1, rank)], 1))
    return (
        np.concatenate(parts),
        np.concatenate([values for _, values, _ in tensors]),
        np.concatenate([np.array([len(tensors)], np.int64), shape]).astype(np.int64),
    )


class _Takes(OpDef, abstract=True):
    """An op on the three parts of a sparse tensor."""

    NotDifferentiable = True

    def _check(self, indices: TensorShape, values: TensorShape, shape: TensorShape) -> TensorShape:
        with_rank(indices, 2)
        with_rank(values, 1)
        return with_rank(shape, 1)


def _gives(ctx: Any) -> tuple[TensorShape, TensorShape, TensorShape]:
    return unknown_shape(2), vector(None), vector(None)


# -- strings ---------------------------------------------------------------------------------------------


def serialized_tensor(array: Any) -> bytes:
    """A serialized TensorProto with the array."""
    array = np.asarray(array)
    content = array.dtype != np.dtype(object)
    data: bytes = to_tensor_proto(array, as_content=content).SerializeToString()
    return data


def _strings(tensor: Sparse) -> list[bytes]:
    indices, values, shape = tensor
    return [serialized_tensor(a) for a in (indices, values, np.array(shape, np.int64))]


def _parsed(row: Any) -> Sparse:
    try:
        parts = [from_tensor_proto(TensorProto.FromString(bytes(data))) for data in row]
    except DecodeError:
        raise invalid("Could not parse serialized proto") from None
    return _checked(*parts)


class SerializeSparse(_Takes):
    """A sparse tensor as three strings: its indices, values and shape."""

    sparse_indices, sparse_values, sparse_shape = Input(int64), Input("T"), Input(int64)
    serialized_sparse = Output("out_type")
    T = type_attr()
    out_type = type_attr({string, dtypes.variant}, string)
    numpy_only = True

    def infer(self, ctx: Any, *shapes: TensorShape) -> TensorShape:
        self._check(*shapes)
        return vector(3)

    def compute(self, xp: Any, *parts: Any) -> Any:
        return string_vector(_strings(_checked(*parts)))


class SerializeManySparse(_Takes):
    """The rows of a sparse tensor, each as three strings."""

    sparse_indices, sparse_values, sparse_shape = Input(int64), Input("T"), Input(int64)
    serialized_sparse = Output("out_type")
    T = type_attr()
    out_type = type_attr({string, dtypes.variant}, string)
    numpy_only = True

    def infer(self, ctx: Any, *shapes: TensorShape) -> TensorShape:
        self._check(*shapes)
        return TensorShape([None, 3])

    def compute(self, xp: Any, *parts: Any) -> Any:
        rows = _rows(*_checked(*parts))
        flat = [text for row in rows for text in _strings(row)]
        return string_vector(flat).reshape(len(rows), 3)


class DeserializeManySparse(OpDef):
    """Serialized sparse tensors as one, along a new first dimension."""

    serialized_sparse = Input(string)
    sparse_indices, sparse_values, sparse_shape = Output(int64), Output("dtype"), Output(int64)
    dtype = type_attr()
    numpy_only = True
    NotDifferentiable = True

    def infer(self, ctx: Any, serialized_sparse: TensorShape) -> Any:
        serialized = with_rank(serialized_sparse, 2).as_list()
        if serialized[1] not in (None, 3):
            raise ValueError(f"Dimension must be 3 but is {serialized[1]}")
        return _gives(ctx)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        table = np.asarray(inputs[0], object)
        if table.shape[0] == 0:
            raise invalid(
                "Must have at least 1 serialized SparseTensor, but input matrix has 0 rows"
            )
        return _stacked([_parsed(row) for row in table], self.attrs["dtype"])


class DeserializeSparse(OpDef):
    """Serialized sparse tensors [..., 3] as one; the leading dimensions become its own."""

    serialized_sparse = Input("Tserialized")
    sparse_indices, sparse_values, sparse_shape = Output(int64), Output("dtype"), Output(int64)
    dtype = type_attr()
    Tserialized = type_attr({string, dtypes.variant}, string)
    numpy_only = True
    NotDifferentiable = True

    def infer(self, ctx: Any, serialized_sparse: TensorShape) -> Any:
        key = serialized_sparse.key
        if key and key[-1] not in (None, 3):
            raise ValueError(f"Dimension must be 3 but is {key[-1]}")
        return _gives(ctx)

    def compute(self, xp: Any, *inputs: Any) -> Any:
        table = np.asarray(inputs[0], object)
        if table.ndim == 0 or table.shape[-1] != 3:
            raise invalid(
                "Serialized sparse should have 3 as the last dimension but has "
                f"{table.shape[-1] if table.ndim else 'none'}"
            )
        lead, rows = table.shape[:-1], table.reshape(-1, 3)
        if not len(rows):
            raise invalid("Must have at least 1 serialized SparseTensor, but input has 0")
        indices, values, shape = _stacked([_parsed(row) for row in rows], self.attrs["dtype"])
        if len(lead) == 1 and len(rows) == 1:  # a tensor serialized as the only row of a matrix
            return indices, values, shape
        places = np.stack(np.unravel_index(indices[:, 0], lead), 1) if lead else indices[:, :0]
        full = np.concatenate([places, indices[:, 1:]], 1).astype(np.int64)
        return full, values, np.concatenate([np.array(lead, np.int64), shape[1:]]).astype(np.int64)


class ParseTensor(OpDef):
    """The tensor in a serialized TensorProto."""

    serialized = Input(string)
    output = Output("out_type")
    out_type = type_attr()
    numpy_only = True
    NotDifferentiable = True

    def infer(self, ctx: Any, serialized: TensorShape) -> TensorShape:
        return unknown_shape()

    def compute(self, xp: Any, *inputs: Any) -> Any:
        if np.ndim(inputs[0]) != 0:
            raise invalid(
                f"Expected `serialized` to be a scalar, got shape: {shape_string(np.shape(inputs[0]))}"
            )
        data = np.asarray(inputs[0], object).item()
        try:
            proto = TensorProto.FromString(data)
        except DecodeError:
            text = data.decode("utf-8", "backslashreplace")
            raise invalid(f"Could not parse `serialized` as TensorProto: '{text}'") from None
        wanted = self.attrs["out_type"]
        if proto.dtype != wanted.as_datatype_enum:
            found = dtype_string(dtypes.as_dtype(proto.dtype))
            raise invalid(
                f"Type mismatch between parsed tensor ({found}) and dtype ({dtype_string(wanted)})"
            )
        return from_tensor_proto(proto)


class SerializeTensor(OpDef):
    """A tensor as a serialized TensorProto."""

    tensor = Input("T")
    serialized = Output(string)
    T = type_attr()
    numpy_only = True
    NotDifferentiable = True

    def infer(self, ctx: Any, tensor: TensorShape) -> TensorShape:
        return scalar()

    def compute(self, xp: Any, *inputs: Any) -> Any:
        return string_scalar(serialized_tensor(inputs[0]))


# -- handles of a map ------------------------------------------------------------------------------------


def _map_name(attrs: Any, ctx: Any) -> str:
    shared: str = attrs["shared_name"].decode()
    return shared or ctx.name


def _map_of(attrs: Any, ctx: Any) -> SparseTensorsMap:
    """The map of this node: of its shared name, else of its own."""
    name = _map_name(attrs, ctx)
    found: SparseTensorsMap = ctx.resources.lookup_or_create(
        attrs["container"].decode() or ctx.container,
        name,
        SparseTensorsMap,
        lambda: SparseTensorsMap(name),
    )
    return found


class AddSparseToTensorsMap(_Takes):
    """Puts a sparse tensor into a map and gives its handle."""

    sparse_indices, sparse_values, sparse_shape = Input(int64), Input("T"), Input(int64)
    sparse_handle = Output(int64)
    T = type_attr()
    container = Attr("string", "")
    shared_name = Attr("string", "")
    stateful = True

    def infer(self, ctx: Any, *shapes: TensorShape) -> TensorShape:
        self._check(*shapes)
        return scalar()

    def run(self, ctx: Any, *parts: Any) -> Any:  # type: ignore[override]
        (handle,) = _map_of(self.attrs, ctx).add([_checked(*parts)])
        return np.int64(handle)


class AddManySparseToTensorsMap(_Takes):
    """Puts the rows of a sparse tensor into a map and gives their handles."""

    sparse_indices, sparse_values, sparse_shape = Input(int64), Input("T"), Input(int64)
    sparse_handles = Output(int64)
    T = type_attr()
    container = Attr("string", "")
    shared_name = Attr("string", "")
    stateful = True

    def infer(self, ctx: Any, *shapes: TensorShape) -> TensorShape:
        self._check(*shapes)
        return vector(None)

    def run(self, ctx: Any, *parts: Any) -> Any:  # type: ignore[override]
        handles = _map_of(self.attrs, ctx).add(_rows(*_checked(*parts)))
        return np.array(handles, np.int64)


class TakeManySparseFromTensorsMap(OpDef):
    """Takes sparse tensors out of a map, as one along a new first dimension."""

    sparse_handles = Input(int64)
    sparse_indices, sparse_values, sparse_shape = Output(int64), Output("dtype"), Output(int64)
    dtype = type_attr()
    container = Attr("string", "")
    shared_name = Attr("string", "")
    stateful = True
    NotDifferentiable = True

    def infer(self, ctx: Any, sparse_handles: TensorShape) -> Any:
        with_rank(sparse_handles, 1)
        return _gives(ctx)

    def run(self, ctx: Any, sparse_handles: Any) -> Any:  # type: ignore[override]
        handles = [int(h) for h in np.asarray(sparse_handles)]
        if not handles:
            raise invalid("Must have at least 1 serialized SparseTensor, but input has 0")
        return _stacked(_map_of(self.attrs, ctx).take(handles), self.attrs["dtype"])


# -- functions -------------------------------------------------------------------------------------------


def _sparse(value: Any) -> SparseTensor:
    if isinstance(value, SparseTensorValue):
        return SparseTensor.from_value(value)
    if not isinstance(value, SparseTensor):
        raise TypeError("Input must be a SparseTensor.")
    return value


def serialize_sparse(sp_input: Any, name: str | None = None, out_type: Any = string) -> Tensor:
    """A SparseTensor as a string vector of three (tf.serialize_sparse); TypeError for anything else."""
    s = _sparse(sp_input)
    return raw.SerializeSparse(s.indices, s.values, s.dense_shape, name=name, out_type=out_type)


def serialize_many_sparse(sp_input: Any, name: str | None = None, out_type: Any = string) -> Tensor:
    """The rows of a SparseTensor of rank 2 or more as a string matrix [rows, 3] (tf.serialize_many_sparse)."""
    s = _sparse(sp_input)
    return raw.SerializeManySparse(s.indices, s.values, s.dense_shape, name=name, out_type=out_type)


def _made(parts: Any, rank: int | None) -> SparseTensor:
    indices, values, shape = parts
    indices.set_shape([None, rank])
    shape.set_shape([rank])
    return SparseTensor(indices, values, shape)


def deserialize_many_sparse(
    serialized_sparse: Any, dtype: Any, rank: int | None = None, name: str | None = None
) -> SparseTensor:
    """The serialized tensors [n, 3] as one SparseTensor with a new first dimension (tf.deserialize_many_sparse).

    `rank` is that of the result. Running it raises InvalidArgumentError for another dtype, or ranks that differ.
    """
    parts = raw.DeserializeManySparse(serialized_sparse, dtype=dtypes.as_dtype(dtype), name=name)
    return _made(parts, rank)


def deserialize_sparse(
    serialized_sparse: Any, dtype: Any, rank: int | None = None, name: str | None = None
) -> SparseTensor:
    """The serialized tensors [..., 3] as one SparseTensor (tf.io.deserialize_sparse)."""
    parts = raw.DeserializeSparse(serialized_sparse, dtype=dtypes.as_dtype(dtype), name=name)
    return _made(parts, rank)


def add_sparse_to_tensors_map(
    sp_input: Any,
    container: str | None = None,
    shared_name: str | None = None,
    name: str | None = None,
) -> Tensor:
    """The handle, an int64 scalar, of a SparseTensor in the map of `shared_name` (or of the node)."""
    s = _sparse(sp_input)
    return raw.AddSparseToTensorsMap(
        s.indices,
        s.values,
        s.dense_shape,
        container=container or "",
        shared_name=shared_name or "",
        name=name,
    )


def add_many_sparse_to_tensors_map(
    sp_input: Any,
    container: str | None = None,
    shared_name: str | None = None,
    name: str | None = None,
) -> Tensor:
    """The handles, an int64 vector, of the rows of a SparseTensor in a map."""
    s = _sparse(sp_input)
    return raw.AddManySparseToTensorsMap(
        s.indices,
        s.values,
        s.dense_shape,
        container=container or "",
        shared_name=shared_name or "",
        name=name,
    )


def take_many_sparse_from_tensors_map(
    sparse_map_op: Any, sparse_handles: Any, rank: int | None = None, name: str | None = None
) -> SparseTensor:
    """The tensors behind handles as one SparseTensor; `sparse_map_op` is the operation that put them into the map."""
    if sparse_map_op.type not in ("AddSparseToTensorsMap", "AddManySparseToTensorsMap"):
        raise TypeError(
            "sparse_map_op must be one of AddSparseToTensorsMap or AddManySparseToTensorsMap. Instead, found "
            f"`{sparse_map_op.type}`."
        )
    with sparse_map_op.graph.colocate_with(sparse_map_op):
        shared = sparse_map_op.get_attr("shared_name") or sparse_map_op.name
        parts = raw.TakeManySparseFromTensorsMap(
            sparse_handles,
            dtype=sparse_map_op.get_attr("T"),
            container=sparse_map_op.get_attr("container"),
            shared_name=shared,
            name=name,
        )
    return _made(parts, rank)


def parse_tensor(serialized: Any, out_type: Any, name: str | None = None) -> Tensor:
    """The tensor in a serialized TensorProto, a string scalar (tf.io.parse_tensor).

    Running it raises InvalidArgumentError for bad data or another dtype.
    """
    return raw.ParseTensor(serialized, out_type=dtypes.as_dtype(out_type), name=name)


def serialize_tensor(tensor: Any, name: str | None = None) -> Tensor:
    """A tensor as a serialized TensorProto, a string scalar (tf.io.serialize_tensor)."""
    return raw.SerializeTensor(tensor, name=name)
