"""TensorProto to and from NumPy arrays, with TensorFlow 1.15's choice of fields.

Arrays that come out may be read-only and may share memory with the message or repeat one
value without storing it; copy them before writing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError

from flowmesh.core import dtypes
from flowmesh.core.errors import InvalidArgumentError
from flowmesh.formats import varint
from flowmesh.proto import resource_handle_pb2, tensor_pb2, types_pb2
from flowmesh.proto.tensor_pb2 import TensorProto

MAX_CONTENT_BYTES = 1 << 31
"""A protobuf message cannot be larger."""

MAX_RANK = 254

_MAX_STORED_FILL_BYTES = 1 << 20


class _Field(NamedTuple):
    """Where a dtype's values stand when they are not in `tensor_content`."""

    name: str
    storage: str  # NumPy dtype of the values in that field
    content: bool  # does TensorFlow's Python client write several values as tensor_content?


_FIELDS: dict[int, _Field] = {
    types_pb2.DT_FLOAT: _Field("float_val", "f4", True),
    types_pb2.DT_DOUBLE: _Field("double_val", "f8", True),
    types_pb2.DT_INT32: _Field("int_val", "i4", True),
    types_pb2.DT_UINT8: _Field("int_val", "u1", True),
    types_pb2.DT_INT16: _Field("int_val", "i2", True),
    types_pb2.DT_INT8: _Field("int_val", "i1", True),
    types_pb2.DT_INT64: _Field("int64_val", "i8", True),
    types_pb2.DT_UINT16: _Field("int_val", "u2", False),
    types_pb2.DT_UINT32: _Field("uint32_val", "u4", True),
    types_pb2.DT_UINT64: _Field("uint64_val", "u8", True),
    types_pb2.DT_QINT8: _Field("int_val", "i1", True),
    types_pb2.DT_QUINT8: _Field("int_val", "u1", True),
    types_pb2.DT_QINT16: _Field("int_val", "i2", True),
    types_pb2.DT_QUINT16: _Field("int_val", "u2", True),
    types_pb2.DT_QINT32: _Field("int_val", "i4", True),
    types_pb2.DT_BOOL: _Field("bool_val", "?", False),
    types_pb2.DT_HALF: _Field("half_val", "u2", False),
    types_pb2.DT_BFLOAT16: _Field("half_val", "u2", False),
    types_pb2.DT_COMPLEX64: _Field("scomplex_val", "f4", False),
    types_pb2.DT_COMPLEX128: _Field("dcomplex_val", "f8", False),
}
_OBJECT_FIELDS: dict[int, str] = {
    types_pb2.DT_STRING: "string_val",
    types_pb2.DT_RESOURCE: "resource_handle_val",
    types_pb2.DT_VARIANT: "variant_val",
}
_MESSAGES: dict[int, Any] = {
    types_pb2.DT_RESOURCE: resource_handle_pb2.ResourceHandleProto,
    types_pb2.DT_VARIANT: tensor_pb2.VariantTensorDataProto,
}
_BIT_FIELDS = frozenset((types_pb2.DT_HALF, types_pb2.DT_BFLOAT16))
_PAIR_FIELDS = frozenset((types_pb2.DT_COMPLEX64, types_pb2.DT_COMPLEX128))


def to_tensor_proto(
    array: np.ndarray, dtype: dtypes.DType | None = None, *, as_content: bool = False
) -> TensorProto:
    """`array` as a message; `dtype` converts it first and is needed for resources and variants.

    The fields are those that TensorFlow's Python client chooses, or with `as_content`
    `tensor_content` whatever the type, as TensorFlow's workers send tensors to each other.
    Strings may be `bytes`, `str` (written as UTF-8), or NumPy's fixed-width strings.
    """
    array = np.asarray(array)
    dtype = dtype_of(array) if dtype is None else dtype.base_dtype
    enum: Any = int(dtype.as_datatype_enum)
    proto = TensorProto(dtype=enum)
    proto.tensor_shape.SetInParent()
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if enum in _OBJECT_FIELDS:
        _put_objects(proto, _objects(array, enum), as_content)
    elif enum in _FIELDS:
        _put_numbers(proto, np.asarray(array, numpy_dtype(enum)), as_content)
    else:
        raise _invalid(f"Tensors of type {dtype} have no message form")
    return proto


def from_tensor_proto(proto: TensorProto) -> np.ndarray:
    """The array that a message stands for; raises InvalidArgumentError where it stands for none."""
    enum = proto.dtype
    shape = shape_of(proto.tensor_shape)
    count = math.prod(shape)
    if enum in _OBJECT_FIELDS:
        flat = _object_values(proto, enum, count)
    elif enum in _FIELDS:
        dtype = numpy_dtype(enum)
        if count * dtype.itemsize >= 1 << 63:
            raise _invalid(f"Shape {list(shape)} has too many elements for {_name(enum)}")
        if proto.tensor_content:
            flat = _content(proto.tensor_content, dtype, count, shape)
        else:
            flat = _field_values(proto, enum, dtype, count)
    else:
        raise _invalid(f"Tensor message has unknown or unsupported dtype {enum}")
    try:
        return flat.reshape(shape)
    except ValueError as error:
        raise _invalid(f"Shape {list(shape)} is not representable: {error}") from error


def shape_of(shape: Any) -> tuple[int, ...]:
    """The dimensions of a fully known TensorShapeProto."""
    if shape.unknown_rank:
        raise _invalid("Tensor message has a shape of unknown rank")
    if len(shape.dim) > MAX_RANK:
        raise _invalid(f"Shape has {len(shape.dim)} dimensions; the limit is {MAX_RANK}")
    sizes = tuple(int(dim.size) for dim in shape.dim)
    if any(size < 0 for size in sizes):
        raise _invalid(f"Shape {list(sizes)} is not fully defined: all dimensions must be >= 0")
    if math.prod(sizes) >= 1 << 63:
        raise _invalid(f"Shape {list(sizes)} has too many elements")
    return sizes


def numpy_dtype(enum: int) -> np.dtype:
    """The NumPy dtype in which arrays of a DataType are held."""
    if enum in _OBJECT_FIELDS:
        return np.dtype(object)
    if enum not in _FIELDS:
        raise _invalid(f"Unknown or unsupported dtype {enum}")
    return np.dtype(dtypes.as_dtype(enum).as_numpy_dtype)


def dtype_of(array: np.ndarray) -> dtypes.DType:
    """The type of the tensor that an array stands for; arrays of objects are strings."""
    if array.dtype.kind in "OSU":
        return dtypes.as_dtype(types_pb2.DT_STRING)
    try:
        return dtypes.as_dtype(array.dtype)
    except TypeError as error:
        raise _invalid(f"NumPy type {array.dtype} has no message form") from error


def to_bytes_list(array: np.ndarray) -> list[bytes]:
    """The elements of an array of strings, text as UTF-8."""
    return [_as_bytes(value) for value in array.reshape(-1).tolist()]


def _invalid(message: str) -> InvalidArgumentError:
    return InvalidArgumentError(None, None, message)


def _name(enum: int) -> str:
    return str(types_pb2.DataType.Name(enum))


def _put_numbers(proto: TensorProto, values: np.ndarray, as_content: bool) -> None:
    if values.nbytes >= MAX_CONTENT_BYTES:
        raise _invalid("Cannot create a tensor proto whose content is larger than 2GB.")
    field = _FIELDS[proto.dtype]
    if as_content or (field.content and values.size > 1):
        proto.tensor_content = _little_endian(values).tobytes()
    else:
        flat = np.ascontiguousarray(values).reshape(-1).view(field.storage)
        getattr(proto, field.name).extend(flat.tolist())


def _put_objects(proto: TensorProto, values: Sequence[Any], as_content: bool) -> None:
    if not as_content:
        getattr(proto, _OBJECT_FIELDS[proto.dtype]).extend(values)
        return
    if proto.dtype != types_pb2.DT_STRING:
        values = [value.SerializeToString() for value in values]
    proto.tensor_content = varint.encode_strings(values)


def _little_endian(values: np.ndarray) -> np.ndarray:
    swapped = values.dtype.newbyteorder("<")
    return values if swapped == values.dtype else values.astype(swapped)


def _objects(array: np.ndarray, enum: int) -> list[Any]:
    if enum == types_pb2.DT_STRING:
        return to_bytes_list(array)
    flat = array.reshape(-1).tolist()
    for value in flat:
        if not isinstance(value, _MESSAGES[enum]):
            raise _invalid(f"Expected {_MESSAGES[enum].__name__} elements, got {value!r}")
    return flat


def _as_bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    raise _invalid(f"Expected bytes or str in a string tensor, got {value!r}")


def _content(content: bytes, dtype: np.dtype, count: int, shape: Sequence[int]) -> np.ndarray:
    if len(content) != count * dtype.itemsize:
        raise _invalid(
            f"tensor_content has {len(content)} bytes, but shape {list(shape)} of {dtype} "
            f"needs {count * dtype.itemsize}"
        )
    if dtype == np.bool_:
        return np.frombuffer(content, np.uint8) != 0
    return np.frombuffer(content, dtype.newbyteorder("<")).astype(dtype, copy=False)


def _field_values(proto: TensorProto, enum: int, dtype: np.dtype, count: int) -> np.ndarray:
    field = _FIELDS[enum]
    stored = getattr(proto, field.name)
    width = 2 if enum in _PAIR_FIELDS else 1
    if len(stored) % width:
        raise _invalid(f"{field.name} has {len(stored)} numbers; complex values need two each")
    _check_count(field.name, len(stored) // width, count)
    if field.storage in ("i1", "u1", "i2", "u2") or enum in _BIT_FIELDS:
        # Narrow values ride in int32 fields; what does not fit wraps, as a C++ cast would.
        wide = np.fromiter(stored, np.int64, len(stored))
        values = wide.astype(field.storage).view(dtype)
    else:
        values = np.fromiter(stored, np.dtype(field.storage), len(stored)).view(dtype)
    return _fill(values, count, np.zeros((), dtype))


def _object_values(proto: TensorProto, enum: int, count: int) -> np.ndarray:
    field = _OBJECT_FIELDS[enum]
    if proto.tensor_content:
        stored = _objects_in_content(proto.tensor_content, enum, count)
    else:
        stored = list(getattr(proto, field))
    _check_count(field, len(stored), count)
    values = np.empty(len(stored), object)
    values[:] = stored
    empty = np.empty((), object)
    empty[()] = b"" if enum == types_pb2.DT_STRING else _MESSAGES[enum]()
    return _fill(values, count, empty)


def _objects_in_content(content: bytes, enum: int, count: int) -> list[Any]:
    try:
        stored = varint.decode_strings(content, count)
        if enum == types_pb2.DT_STRING:
            return stored
        return [_MESSAGES[enum].FromString(value) for value in stored]
    except (varint.MalformedError, DecodeError) as error:
        raise _invalid(f"tensor_content is no {_name(enum)} tensor: {error}") from error


def _check_count(field: str, found: int, count: int) -> None:
    if found > count:
        raise _invalid(f"{field} has {found} values, but the shape has {count} elements")


def _fill(values: np.ndarray, count: int, default: np.ndarray) -> np.ndarray:
    """`values` continued to `count` elements by the last one, or by `default` if there is none."""
    missing = count - values.size
    if not missing:
        return values
    if values.size > 1:
        if count * values.itemsize >= MAX_CONTENT_BYTES:
            raise _invalid(f"{values.size} values cannot be repeated to {count} elements")
        return np.concatenate([values, np.broadcast_to(values[-1:], (missing,))])
    last = values[-1:].reshape(()) if values.size else default
    if count * values.itemsize <= _MAX_STORED_FILL_BYTES:
        return np.full(count, last, values.dtype)
    return np.broadcast_to(last, (count,))
