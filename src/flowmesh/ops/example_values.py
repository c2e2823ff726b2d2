"""The values in Example and SequenceExample messages as arrays; kernels of the parsing ops are built from these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from flowmesh.core.dtypes import DType, float32, int64, string
from flowmesh.core.shapes import TensorShape
from flowmesh.ops.array_support import invalid, zeros_of
from flowmesh.resources.messages import dtype_string, shape_string

KINDS: dict[str, DType] = {"float_list": float32, "int64_list": int64, "bytes_list": string}


def decoded(message: Any, data: bytes) -> Any:
    """A message of the given class; InvalidArgumentError in TensorFlow's words when the bytes are none."""
    try:
        return message.FromString(bytes(data))
    except DecodeError:
        text = bytes(data).decode("utf-8", "backslashreplace")
        raise invalid(f"Could not parse example input, value: '{text}'") from None


def values_of(feature: Any) -> tuple[DType | None, Any]:
    """The dtype and the values of a Feature; (None, ()) when it has none."""
    kind = None if feature is None else feature.WhichOneof("kind")
    if kind is None:
        return None, ()
    return KINDS[kind], getattr(feature, kind).value


def feature_of(features: Any, key: bytes) -> Any:
    """The Feature with this key, or None."""
    name = key.decode()
    return features.feature.get(name)


def as_vector(values: Any, dtype: DType) -> np.ndarray:
    """Values as a 1-D array."""
    out = np.empty(len(values), dtype.as_numpy_dtype)
    if len(values):
        out[:] = values if dtype != string else list(values)
    return out


def elements(shape: TensorShape) -> int:
    """How many elements a shape has, unknown dimensions not counted."""
    return int(np.prod([d for d in shape.as_list() if d is not None], dtype=np.int64))


def is_variable(shape: TensorShape) -> bool:
    """Whether the first dimension is open: a dense feature of any length."""
    return bool(shape.key) and shape.key is not None and shape.key[0] is None


def type_text(dtype: DType) -> str:
    """A dtype as the errors of the parsing ops name it."""
    return dtype_string(dtype)


def ragged(parts: Sequence[np.ndarray], dtype: DType) -> tuple[Any, Any, Any]:
    """Rows of different lengths as a sparse matrix: indices [n, 2], values [n], shape [rows, longest]."""
    sizes = np.array([len(p) for p in parts], np.int64)
    rows = np.repeat(np.arange(len(parts), dtype=np.int64), sizes)
    columns = np.concatenate([np.arange(n, dtype=np.int64) for n in sizes]) if len(parts) else rows
    values = np.concatenate(parts) if len(parts) else as_vector([], dtype)
    shape = np.array([len(parts), sizes.max(initial=0)], np.int64)
    return np.stack([rows, columns], 1), values, shape


def padded(parts: Sequence[np.ndarray], row_shape: Sequence[int], fill: Any, dtype: DType) -> Any:
    """Rows of different lengths as one array [rows, longest, *row_shape]; `fill` stands in what is missing."""
    width = int(np.prod(row_shape, dtype=np.int64))
    longest = max((len(p) // max(width, 1) for p in parts), default=0)
    out = zeros_of(np, (len(parts), longest * width), dtype.as_numpy_dtype)
    out[...] = fill
    for row, part in zip(out, parts):
        row[: len(part)] = part
    return out.reshape(len(parts), longest, *row_shape)


def zero(dtype: DType) -> Any:
    """What padding is made of: b"" or 0."""
    return b"" if dtype == string else 0


def shape_text(shape: TensorShape) -> str:
    """A shape as the errors of the parsing ops show it."""
    return shape_string(shape)


# -- attrs -----------------------------------------------------------------------------------------------


def check_lengths(kind: str, keys: int, **others: int) -> None:
    """ValueError when attrs about features of one kind speak of more or fewer than there are keys."""
    for what, count in others.items():
        if count != keys:
            raise ValueError(f"len({kind}_keys) != len({kind}_{what})")


def check_number(kind: str, number: int, **sizes: int) -> None:
    """ValueError when attrs about features of one kind do not speak of this number of features."""
    if all(size == number for size in sizes.values()):
        return
    *names, last = (f"{kind}_{what} ({size})" for what, size in sizes.items())
    text = f"{', '.join(names)} and {last}"
    raise ValueError(f"num_{kind} ({number}) must match the size of {text}")
